"""Values checked against Python types, strictly: what does not fit is refused, never converted.

This module alone knows how cattrs is kept from converting (by default it makes True of
``"false"``) and how a refusal is put in words. It does not know what the values are for.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Literal,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from ._json_values import check_json, shown

if TYPE_CHECKING:
    from cattrs import Converter

__all__ = ["Refused", "accepts", "structure"]

_T = TypeVar("_T")


class Refused(Exception):
    """A value does not fit the type it was checked against.

    Args:
        value: The value.
        wanted: The type.
        wrong_type: Whether its type is wrong, not only the value.
        problem: A clause that says more than that it does not fit.
    """

    value: object
    """What did not fit: the whole value, or something in it."""

    wanted: object
    """The type it does not fit."""

    wrong_type: bool
    """True if `TypeError` describes it, False if `ValueError` does."""

    problem: str
    """What is wrong with it, if that is more than not fitting; for example ``" is nan, ..."``."""

    path: str
    """Where `value` is, for example ``.a[0]``; empty for the whole value."""

    def __init__(
        self, value: object, wanted: object, *, wrong_type: bool, problem: str = ""
    ) -> None:
        super().__init__()
        self.value = value
        self.wanted = wanted
        self.wrong_type = wrong_type
        self.problem = problem
        self.path = ""

    @property
    def is_unknown_word(self) -> bool:
        """Whether it is a string where only certain others are accepted."""
        return isinstance(self.value, str) and not (self.wrong_type or self.problem)


def structure(value: object, wanted: object) -> Any:
    """Check a value and copy its containers.

    Known types are str, int, float, bool, None, string literals, typed dicts, and lists,
    mappings with string keys and unions of known types; `object` stands for any JSON value.

    - A bool is no number; an integer is a float, and stays an integer.
    - Integers have at most 64 bits, floats are finite, text can be encoded as UTF-8, and nesting
      is bounded: see `check_json`.
    - A tuple is a list. Mappings become dicts, enum members of str or int become plain values.
    - A typed dict has its required members and no unknown ones.

    Args:
        value: Anything.
        wanted: One of the known types.

    Returns:
        A value made of dict, list, str, int, float, bool and None that shares no container with
        ``value``.

    Raises:
        Refused: If it does not fit.
    """
    return _converter().structure(value, cast("Any", wanted))


def accepts(wanted: object) -> str:
    """Say in words what fits a type, for the second half of an error message."""
    *others, last = _alternatives(wanted)
    return f"{', '.join(others)} or {last}" if others else last


_SENTENCES: Final[dict[object, str]] = {
    str: "a string",
    int: "an integer",
    float: "a number",
    NoneType: "None",
    object: "a JSON value",
}


def _alternatives(wanted: object) -> list[str]:
    origin, args = get_origin(wanted), get_args(wanted)
    if origin is Literal:
        return [repr(arg) for arg in args]
    if origin in (Union, UnionType):
        return [alternative for arg in args for alternative in _alternatives(arg)]
    if origin in (list, Sequence):
        return [f"a list (each item: {accepts(args[0])})"]
    if origin in (dict, Mapping):
        return [f"a mapping with string keys (each value: {accepts(args[1])})"]
    if wanted is bool:
        return ["True", "False"]
    if is_typeddict(wanted):
        members = get_type_hints(wanted).items()
        return ["{" + ", ".join(f"{name!r}: {accepts(member)}" for name, member in members) + "}"]
    return [_SENTENCES[wanted]]


def _check_json(value: object, wanted: object) -> None:
    try:
        check_json(value, "")
    except (TypeError, ValueError) as error:
        wrong_type = isinstance(error, TypeError)
        raise Refused(value, wanted, wrong_type=wrong_type, problem=str(error)) from None


def _structure_str(value: object, _: object = str) -> str:
    if not isinstance(value, str):
        raise Refused(value, str, wrong_type=True)
    _check_json(value, str)
    # The text of a member of a string enum is wanted, not its name.
    return str.__str__(value)


def _structure_bool(value: object, _: object = bool) -> bool:
    if not isinstance(value, bool):
        raise Refused(value, bool, wrong_type=True)
    return value


def _structure_int(value: object, wanted: object = int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise Refused(value, wanted, wrong_type=True)
    _check_json(value, wanted)
    return int(value)


def _structure_float(value: object, _: object = float) -> float:
    if not isinstance(value, float):
        return _structure_int(value, float)
    _check_json(value, float)
    return float(value)


def _structure_none(value: object, _: object = NoneType) -> None:
    if value is not None:
        raise Refused(value, NoneType, wrong_type=True)


def _structure_literal(value: object, literal: object) -> str:
    if not isinstance(value, str):
        raise Refused(value, literal, wrong_type=True)
    if value not in get_args(literal):
        raise Refused(value, literal, wrong_type=False)
    return str.__str__(value)


def _structure_union(value: object, union: object) -> object:
    wrong_type = True
    for member in get_args(union):
        try:
            return cast("object", _converter().structure(value, member))
        except Refused as refused:
            if refused.path or refused.problem:
                # This was the right member, so what it says is the more helpful.
                raise
            wrong_type = wrong_type and refused.wrong_type
    raise Refused(value, union, wrong_type=wrong_type)


def _structure_list(value: object, list_type: object) -> list[object]:
    if not isinstance(value, list | tuple):
        raise Refused(value, list_type, wrong_type=True)
    (item_type,) = get_args(list_type)
    items = cast("Sequence[object]", value)
    return [_inside(i, _converter().structure, item, item_type) for i, item in enumerate(items)]


def _structure_mapping(value: object, mapping_type: object) -> dict[str, object]:
    if not isinstance(value, Mapping):
        raise Refused(value, mapping_type, wrong_type=True)
    _, member_type = get_args(mapping_type)
    members = cast("Mapping[object, object]", value).items()
    return {
        _inside(key, _structure_str, key): _inside(key, _converter().structure, member, member_type)
        for key, member in members
    }


def _structure_json(value: object, _: object = object) -> object:
    _check_json(value, object)
    return _plain(value)


def _plain(value: object) -> object:
    """Copy a JSON value that was checked."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Mapping):
        members = cast("Mapping[str, object]", value).items()
        return {str.__str__(name): _plain(member) for name, member in members}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in cast("Sequence[object]", value)]
    if value is None or isinstance(value, bool):
        return value
    return int(value) if isinstance(value, int) else float(cast("float", value))


def _inside(key: object, function: Callable[..., _T], *args: object) -> _T:
    """Structure what is in a container; a refusal then says where it was."""
    try:
        return function(*args)
    except Refused as refused:
        step = f".{key}" if isinstance(key, str) and key.isidentifier() else f"[{shown(key)}]"
        refused.path = step + refused.path
        raise


def _typed_dict_hook(typed_dict: Any) -> Callable[[object, object], object]:
    from cattrs.errors import ForbiddenExtraKeysError

    structure_members = cast(
        "Callable[[dict[str, object], object], object]",
        # cattrs leaves the parameters of its dicts out.
        _converter().gen_structure_typeddict(typed_dict),  # pyright: ignore[reportUnknownMemberType]
    )

    def structure_typed_dict(value: object, _: object) -> object:
        if not isinstance(value, Mapping):
            raise Refused(value, typed_dict, wrong_type=True)
        mapping = cast("Mapping[str, object]", value)
        try:
            return structure_members(dict(mapping), typed_dict)
        except (KeyError, ForbiddenExtraKeysError):
            raise Refused(mapping, typed_dict, wrong_type=False) from None
        except Refused as refused:
            # cattrs does not say which member it was, so all are shown.
            raise Refused(mapping, typed_dict, wrong_type=refused.wrong_type) from None

    return structure_typed_dict


def _origin_in(*origins: object) -> Callable[[Any], bool]:
    return lambda wanted: get_origin(wanted) in origins


def _is(type_: object) -> Callable[[Any], bool]:
    return lambda wanted: wanted is type_


@functools.cache
def _converter() -> Converter:
    # Imported here because it is the largest thing that is imported for options, and programs that
    # set none do without.
    from cattrs import Converter

    # Never the global converter: hooks on that would change other people's programs.
    converter = Converter(forbid_extra_keys=True, detailed_validation=False)
    converter.register_structure_hook(str, _structure_str)
    converter.register_structure_hook(bool, _structure_bool)
    converter.register_structure_hook(int, _structure_int)
    converter.register_structure_hook(float, _structure_float)
    converter.register_structure_hook_func(_is(NoneType), _structure_none)
    converter.register_structure_hook_func(_is(object), _structure_json)
    converter.register_structure_hook_func(_origin_in(Literal), _structure_literal)
    converter.register_structure_hook_func(_origin_in(Union, UnionType), _structure_union)
    converter.register_structure_hook_func(_origin_in(list, Sequence), _structure_list)
    converter.register_structure_hook_func(_origin_in(dict, Mapping), _structure_mapping)
    converter.register_structure_hook_factory(is_typeddict, _typed_dict_hook)
    return converter
