"""The shape an answer must have: a Python type, its JSON Schema, and the way from text to value.

This module knows what ``response_format`` accepts and what is sent for it. It does not know how
the answer arrives.

Source: https://platform.openai.com/docs/guides/structured-outputs
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from lktrio._answers import APIRefusalError, APIResponseFormatError, CollectedResponse
from lktrio._json import MISSING, Mismatch, PartialJSON, is_object, parse_arguments, refused

# What reads types is a quarter of the package, and only programs that ask for one need it: it is
# imported where a type is read.
if TYPE_CHECKING:
    from .converter import Converter

__all__ = ["AnswerShape", "PartialValue", "answer_shape"]

_WRAPPED: Final = "value"
_NAME_PARTS: Final = re.compile(r"[^a-zA-Z0-9_-]+")
_MAX_NAME: Final = 64
_EVERY_PIECE_UP_TO: Final = 8192
"""Characters of an answer of which each piece that arrives may give another value."""
_READ_AT_ONCE: Final = 8 * 1024
"""Characters that are read in one step."""
_LOOKS: Final = 64
"""Where an answer is longer, it has grown by this part of its length between two values."""


class AnswerShape:
    """A type that answers are structured to.

    Args:
        type_: The type: a class with typed fields, a union, a list, or any other that has a JSON
            form. What is no object is sent as the member ``value`` of one, because the dialect
            wants an object, and unwrapped again.
        converter: Knows the types of the program's own that are in it.

    Raises:
        TypeError: The type has no JSON form.
        ValueError: Its schema cannot be put in the strict dialect.
    """

    def __init__(self, type_: Any, converter: Converter | None = None) -> None:
        from .introspection import Types
        from .json_schema import object_schema, root_schema
        from .shapes import Field
        from .type_hints import UnsupportedType, hashable

        self._type_name = getattr(type_, "__name__", None) or str(type_)
        self._type = hashable(type_)
        self._converter = None if converter is None else converter.copy()
        self._types = Types() if self._converter is None else self._converter.types
        try:
            shape = self._types.shape(self._type)
        except UnsupportedType as exc:
            fault = self._fault_of_value(type_) or exc
            raise TypeError(
                f"response_format={self._type_name} cannot be asked for: {fault}"
            ) from None
        field = Field(name=_WRAPPED, argument=_WRAPPED, shape=shape, required=True, type=self._type)
        self._structure: Callable[[dict[str, Any]], Any] | None = None
        self._fields = [field]
        plain = root_schema(shape, tuples_as_objects=True, write=self._write)
        self.is_wrapped: bool = plain.get("type") != "object"
        """Whether the value is a member of the object that is sent."""
        if self.is_wrapped:
            plain = object_schema(self._fields, tuples_as_objects=True, write=self._write)
        self.schema: dict[str, Any] = self._make_strict(plain)
        """The strict schema."""

    def _fault_of_value(self, value: object) -> str | None:
        """What to say of a value that stands where its type should; None if it is none."""
        from .type_hints import UnsupportedType

        if isinstance(value, str):
            return "it is a string; give a type, or {'type': 'json_object'} for any JSON object"
        if isinstance(value, type) or type(value).__module__ == "builtins":
            return None
        try:
            self._types.shape(type(value))
        except UnsupportedType:
            return None
        return f"it is a value; give its type, {type(value).__name__}"

    def _make_strict(self, plain: dict[str, Any]) -> dict[str, Any]:
        from .strict import UnsupportedSchema, strict_schema

        try:
            return strict_schema(plain)
        except UnsupportedSchema as exc:
            raise ValueError(
                f"response_format={self._type_name} has no strict schema: {exc}. Change the type, "
                "or give the response_format as a dict: {'type': 'json_object'}, or one with a "
                "schema of your own"
            ) from None

    def to_json(self) -> dict[str, Any]:
        """The ``response_format`` of the request."""
        name = _NAME_PARTS.sub("_", self._type_name).strip("_")[:_MAX_NAME] or "response"
        return {
            "type": "json_schema",
            "json_schema": {"name": name, "strict": True, "schema": self.schema},
        }

    def parse(self, answer: CollectedResponse[Any]) -> Any:
        """Make the value of a whole answer.

        Raises:
            APIRefusalError: The model declined.
            APIResponseFormatError: The answer does not fit.
        """
        if answer.refusal and not answer.text:
            raise APIRefusalError(answer.refusal)
        reasons: list[str]
        try:
            if self._structure is None:
                self._structure = self._make_structure()
            return self._structure(_decode(answer.text))
        except Mismatch as exc:
            reasons = [str(problem) for problem in exc.problems]
        if answer.finish_reason == "length":
            reasons.insert(0, "the answer was cut off: the model reached its limit of tokens")
        raise APIResponseFormatError(
            f"the answer does not fit response_format={self._type_name}: {'; '.join(reasons)}",
            text=answer.text,
            reasons=tuple(reasons),
        )

    def _own_converter(self) -> Converter:
        if self._converter is None:
            from .converter import Converter

            self._converter = Converter(_types=self._types)
        return self._converter

    def _write(self, value: Any) -> Any:
        return self._own_converter().unstructure(value)

    def _make_structure(self) -> Callable[[dict[str, Any]], Any]:
        converter = self._own_converter()
        if self.is_wrapped:
            structure_fields = converter.fields_hook(self._fields)
            return lambda value: structure_fields(value)[_WRAPPED]
        return lambda value: converter.structure(value, self._type)


class PartialValue:
    """The best value of an answer that is still arriving, as plain JSON values.

    Each value is made anew, so a long answer is looked at in steps that grow with it: the work
    stays linear. What is too much for one step is read by `read_on`.

    Args:
        shape: What the answer will be; None if only that it is JSON is known.
    """

    def __init__(self, shape: AnswerShape | None) -> None:
        self._is_wrapped = shape is not None and shape.is_wrapped
        self._json = PartialJSON()
        self._last: Any = MISSING
        self._waiting: list[str] = []
        self._text = ""
        self._position = 0
        self._length = 0
        self._next_look = 0
        self.is_behind = False
        """Whether there is text that `read_on` has begun to read, and has not read."""

    def feed(self, text: str) -> Any:
        """Take a piece of the answer's text; the value if it is another one now, or `MISSING`."""
        return self.look() if self.take(text) else MISSING

    def take(self, text: str) -> bool:
        """Take a piece of the answer's text. Whether it is time to `read_on`, and to `look`."""
        if not self._json.is_broken:
            self._waiting.append(text)
        self._length += len(text)
        if self._length < self._next_look:
            return False
        if self._length > _EVERY_PIECE_UP_TO:
            self._next_look = self._length + self._length // _LOOKS
        return True

    def read_on(self) -> bool:
        """Read as much as may be read in one step. Whether there is more to be read."""
        if self._waiting:
            self._text = self._text[self._position :] + "".join(self._waiting)
            self._position = 0
            self._waiting.clear()
        start, self._position = self._position, self._position + _READ_AT_ONCE
        self._json.feed(self._text[start : self._position])
        self.is_behind = self._position < len(self._text)
        return self.is_behind

    def look(self) -> Any:
        """The value of all that was fed if it is another one now, or `MISSING`."""
        while self._waiting or self.is_behind:
            self.read_on()
        value = self._json.value()
        if self._is_wrapped and value is not MISSING:
            value = value.get(_WRAPPED, MISSING) if is_object(value) else MISSING
        if value is MISSING or value == self._last:
            return MISSING
        self._last = value
        return value


def answer_shape(response_format: object, converter: Converter | None = None) -> AnswerShape | None:
    """The shape for a ``response_format`` argument; None for a raw mapping or None.

    Args:
        response_format: The argument.
        converter: Knows the types of the program's own that are in it.

    Raises:
        TypeError: It is neither a mapping nor a type with a JSON form.
        ValueError: The type cannot be put in the strict dialect.
    """
    if response_format is None or isinstance(response_format, Mapping):
        return None
    try:
        hash(response_format)
    except TypeError:
        # What a type is annotated with need not be hashable.
        return AnswerShape(response_format, converter)
    return _cached_shape(response_format, converter, 0 if converter is None else converter.version)


# Reading a class costs more than a request; a program asks for few different ones.
@functools.lru_cache(maxsize=64)
def _cached_shape(
    response_format: object,
    converter: Converter | None,
    version: int,  # noqa: ARG001  a part of the key
) -> AnswerShape:
    return AnswerShape(response_format, converter)


def _about_the_answer(text: str) -> str:
    """What is wrong, said of one answer in place of a call's arguments."""
    for plural, singular in (
        ("The arguments are", "the answer is"),
        ("The arguments hold", "the answer holds"),
        ("The arguments contain", "the answer contains"),
        ("The arguments", "the answer"),
    ):
        text = text.replace(plural, singular)
    return text


def _decode(text: str) -> dict[str, Any]:
    if not text.strip():
        raise refused("the answer is empty")
    try:
        return parse_arguments(text).values
    except Mismatch as mismatch:
        reason = _about_the_answer(str(mismatch))
    raise refused(reason)
