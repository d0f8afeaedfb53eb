"""JSON values to Python values and back, by Python type, on cattrs.

cattrs looks up the hook for a type, and takes the hooks of the program. This module alone knows
which hooks stand behind those, how they are put together once for each type, and which member of a
union is meant. How values without parts are read is known to `_leaves`, and how values are written
to `_unstructure`.

A value that fits the schema arrives unchanged. What else is taken is listed in `_leniency`; null
for a parameter that has a default means the default, and unknown keys are ignored. The exact
converter, for what a program sends, takes nothing else.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import NoneType
from typing import Any, Final, TypeVar, cast

from cattrs import BaseConverter
from cattrs.errors import BaseValidationError, ForbiddenExtraKeysError

from ._foreign import ForeignMismatch, ForeignType
from ._leaves import Hook, constrained, leaf_hook
from ._leniency import Memo, Tolerance, Trial, container_of, in_text, tolerate, trial
from ._mismatch import (
    MAX_PROBLEMS,
    Mismatch,
    Missing,
    Problem,
    Refusal,
    Refused,
    Unknown,
    describe,
    mismatch,
    refused,
)
from ._own_types import Registry, check_schema, is_ours, recognise, union_of_subclasses
from ._shapes import (
    Alias,
    Array,
    Choice,
    Custom,
    Field,
    FixedTuple,
    Foreign,
    Member,
    OneOf,
    Record,
    Shape,
    StringKeyed,
    Types,
    UnsupportedType,
    accepts_null,
    hashable,
    peel,
    read_metadata,
    upper_bound,
)
from ._unions import Option, may_be_meant, ranked, sole_option, union_mismatch
from ._unstructure import BY_CLASS, Writer, writer

__all__ = ["Converter", "make_converter"]

T = TypeVar("T")
FieldsHook = Callable[[Mapping[str, Any]], dict[str, Any]]

_BUILT_IN: Final = (*BY_CLASS, int, float, bool)
"""Classes whose hooks cattrs looks up by the class alone, before it asks any predicate."""


class Converter(BaseConverter):
    """Reads and writes values of types that a program knows and this library does not.

    It is a converter of cattrs, whose hooks, hook factories and strategies work on it, with the
    strict rules of this library for everything else. Say what a type of yours is in JSON, how it
    is read, and how it is written::

        converter = make_converter()
        converter.register_json_schema(Money, {"type": "string", "description": "like 5.00 EUR"})
        converter.register_structure_hook(Money, lambda text, _: Money.parse(text))
        converter.register_unstructure_hook(Money, str)

    and hand it to `function_tool` or `LLM`. They take a copy, so what is registered later does not
    concern them. A hook refuses a value by raising `ValueError` or `TypeError`, whose text a model
    reads; any other exception is taken for a mistake in the hook, and is not caught.

    Neither the global converter of cattrs nor any other is touched by it.
    """

    def __init__(self, *, _types: Types | None = None, _is_exact: bool = False) -> None:
        super().__init__()
        self._registry = Registry()
        self._registered: list[Callable[[Converter], object]] = []
        self._types = Types(own=self._registry) if _types is None else _types
        self._is_exact = _is_exact
        self._bound: dict[Any, Hook] = {}
        self._making: set[Any] = set()
        self._writes: set[Any] = set()
        self._writes_declared = False

        def structure_built_in(value: Any, type_: Any) -> Any:
            return self._bound_hook(type_)(value, type_)

        for class_ in _BUILT_IN:
            super().register_structure_hook(class_, structure_built_in)
        for class_, write in BY_CLASS.items():
            super().register_unstructure_hook(class_, functools.partial(write, self.unstructure))
        # The first that are registered are the last that are asked.
        self._structure_func.register_func_list([(_always, self._late, True)])
        self._unstructure_func.register_func_list([(_always, self._make_writer, True)])

    # --- What a program registers ----------------------------------------------------------------

    def register_json_schema(self, type_: Any, schema: Mapping[str, Any]) -> None:
        """Say what values of a type look like in JSON.

        The schema is sent in place of what the fields of the type would give. It needs a hook that
        reads what it describes. Its ``description`` is also what a model is told that was expected
        where something else was found.

        Args:
            type_: A class, a union, a ``NewType`` or an alias.
            schema: The JSON Schema of its values, with definitions under ``$defs``. It is copied.

        Raises:
            TypeError: If it is no mapping of JSON values.
            ValueError: If it refers to a definition that it does not have.
        """
        self._registry.add_schema(type_, check_schema(type_, schema))
        self._forget(lambda other: other.register_json_schema(type_, schema))

    # The parameters are those of cattrs, which leaves types out that a checker would want.
    def register_structure_hook(self, cl: Any, func: Any = None) -> Any:
        """Register a function that reads a type: ``hook(value, type)``. Works as a decorator, too.

        Args:
            cl: The type. A hook for a class is used for its subclasses, too.
            func: Takes the JSON value and the type, and returns the Python value.

        Returns:
            The function where it works as a decorator.
        """
        if func is None:
            return super().register_structure_hook(cl)
        strategy = recognise(func)
        if strategy is not None:
            self._registry.add_strategy(cl, strategy)
        else:
            hook = functools.partial(func) if is_ours(func) else func
            self._registry.add_hook(cl)
            self._register_hook(cl, hook)
        return self._forget(lambda other: other.register_structure_hook(cl, func))

    def _register_hook(self, type_: Any, hook: Hook) -> None:
        if isinstance(type_, type):
            try:
                return super().register_structure_hook(type_, hook)
            except NameError:
                # cattrs evaluates the annotations of attrs classes, and knows of no local scope.
                pass
        # Equality is how cattrs compares unions; it asks its own predicates for them too early.
        return super().register_structure_hook_func(lambda known: bool(known == type_), hook)

    def register_structure_hook_func(self, check_func: Any, func: Any) -> None:
        """Register a function that reads all types for which a predicate holds.

        Args:
            check_func: Takes a type, and says whether the hook reads it.
            func: Takes the JSON value and the type, and returns the Python value.
        """
        self._forget(lambda other: other.register_structure_hook_func(check_func, func))
        class_ = _class_of_strategy(check_func)
        if class_ is not None:
            if is_ours(func):
                # How the class is read without the strategy, which is what is done anyway.
                return
            strategy = recognise(func) or self._registry.strategy_of(union_of_subclasses(func))
            if strategy is not None:
                self._registry.add_strategy(class_, strategy)
                return
        self._registry.add_hook(None, check_func)
        super().register_structure_hook_func(check_func, func)

    def register_structure_hook_factory(self, predicate: Any, factory: Any = None) -> Any:
        """Register a function that makes hooks for all types for which a predicate holds.

        Args:
            predicate: Takes a type, and says whether the factory makes a hook for it.
            factory: Takes the type, and the converter if it wants it; returns the hook.

        Returns:
            The factory, or a decorator without one.
        """
        if factory is None:
            return functools.partial(self.register_structure_hook_factory, predicate)
        self._registry.add_hook(None, predicate)
        super().register_structure_hook_factory(predicate, factory)
        self._forget(lambda other: other.register_structure_hook_factory(predicate, factory))
        return factory

    def register_unstructure_hook(self, cls: Any, func: Any = None) -> Any:
        """Register a function that writes a type: ``hook(value)``. Works as a decorator, too.

        Args:
            cls: The type. A hook for a class is used for its subclasses, too.
            func: Takes the Python value, and returns the JSON value.

        Returns:
            The function where it works as a decorator.
        """
        if func is None:
            return super().register_unstructure_hook(cls)
        if isinstance(cls, type):
            super().register_unstructure_hook(cls, func)
        else:
            super().register_unstructure_hook_func(lambda known: bool(known == cls), func)
        self._writes_declared |= not isinstance(cls, type)
        self._registry.add_writer(cls)
        return self._forget(lambda other: other.register_unstructure_hook(cls, func))

    def register_unstructure_hook_func(self, check_func: Any, func: Any) -> None:
        """Register a function that writes all types for which a predicate holds.

        Args:
            check_func: Takes a type, and says whether the hook writes it.
            func: Takes the Python value, and returns the JSON value.
        """
        self._forget(lambda other: other.register_unstructure_hook_func(check_func, func))
        if _class_of_strategy(check_func) is not None and is_ours(func):
            return
        self._writes_declared = True
        self._registry.add_writer(None, check_func)
        super().register_unstructure_hook_func(check_func, func)

    def register_unstructure_hook_factory(self, predicate: Any, factory: Any = None) -> Any:
        """Register a function that makes hooks for all types for which a predicate holds.

        Args:
            predicate: Takes a type, and says whether the factory makes a hook for it.
            factory: Takes the type, and the converter if it wants it; returns the hook.

        Returns:
            The factory, or a decorator without one.
        """
        if factory is None:
            return functools.partial(self.register_unstructure_hook_factory, predicate)
        self._writes_declared = True
        self._registry.add_writer(None, predicate)
        super().register_unstructure_hook_factory(predicate, factory)
        self._forget(lambda other: other.register_unstructure_hook_factory(predicate, factory))
        return factory

    def _forget(self, registration: Callable[[Converter], object]) -> None:
        """Take note of a registration, and forget what was made without it."""
        self._registered.append(registration)
        self._bound.clear()
        self._types = Types(own=self._registry)

    def copy(self, *args: object, **kwargs: object) -> Converter:
        """Make a converter with the same hooks and schemas.

        Args:
            *args: None. The settings of other converters of cattrs are no settings of this one.
            **kwargs: None, either.

        Returns:
            A converter that does not change with this one.
        """
        if args or kwargs:
            raise TypeError("a Converter has no settings; copy() takes no arguments")
        return self.copy_for({})

    def copy_for(self, scope: Mapping[str, Any], *, with_docstrings: bool = True) -> Converter:
        """Make a converter with the same hooks, for types of a local scope.

        Args:
            scope: Names that string annotations may use.
            with_docstrings: Whether descriptions are read from the docstrings of classes.

        Returns:
            The converter.
        """
        other = Converter()
        for register in self._registered:
            register(other)
        other._types = Types(scope, own=other._registry, with_docstrings=with_docstrings)
        return other

    # --- Reading ---------------------------------------------------------------------------------

    @property
    def types(self) -> Types:
        """What reads the types that it converts."""
        return self._types

    @property
    def version(self) -> int:
        """Another number after each registration."""
        return len(self._registered)

    def structure(self, obj: Any, cl: Any) -> Any:
        """Make a Python value of a JSON value.

        Args:
            obj: A value made of dict, list, str, int, finite float, bool and None.
            cl: The type that is wanted.

        Returns:
            The Python value.

        Raises:
            Mismatch: If it does not fit.
            TypeError: If the type has no JSON form.
        """
        return self._hook(hashable(cl))(obj, cl)

    def fields_hook(self, fields: Sequence[Field]) -> FieldsHook:
        """Make a function that reads the arguments of a call.

        Args:
            fields: The parameters.

        Returns:
            Takes a JSON object and returns the Python values by the names of their arguments;
            those that are to have their default are not among them. It raises `Mismatch`.
        """
        is_exact = self._is_exact
        known = {field.name: None for field in fields}
        plan = [
            (
                field,
                field.name,
                self._hook(field.type),
                # Null where the default is meant. What a program sends is sent.
                not is_exact and not field.required and not accepts_null(field.shape),
            )
            for field in fields
        ]

        def structure(value: Mapping[str, Any]) -> dict[str, Any]:
            arguments: dict[str, Any] = {}
            problems: list[Problem] = []
            for field, name, hook, null_is_default in plan:
                if name not in value:
                    if field.make_default is not None and not is_exact:
                        arguments[field.argument] = field.make_default()
                    elif field.required:
                        problems.append(Problem((name,), Missing(field, value, known)))
                    continue
                member = value[name]
                if member is None and null_is_default:
                    if field.make_default is not None:
                        arguments[field.argument] = field.make_default()
                    continue
                try:
                    arguments[field.argument] = hook(member, field.type)
                except Mismatch as misfit:
                    problems += misfit.under(name)
                    if len(problems) >= MAX_PROBLEMS:
                        break
            if is_exact and value.keys() - known:
                problems += [
                    Problem((name,), Unknown(list(known))) for name in value if name not in known
                ]
            if problems:
                raise Mismatch(problems[:MAX_PROBLEMS])
            return arguments

        return structure

    def _hook(self, type_: Any) -> Hook:
        """The hook for a type, to be part of another or to be called."""
        hook = self._bound.get(type_)
        if hook is None:
            try:
                hook = self._bound_hook(type_)
            except RecursionError:
                # The type holds itself, and its hook is just being made.
                return _called_late(lambda: self._hook(type_))
            self._bound[type_] = hook
        return hook

    def _bound_hook(self, type_: Any) -> Hook:
        found: Hook = self.get_structure_hook(type_)
        if is_ours(found) or not self._registry.reads(type_):
            return self._make_once(type_)
        return _guarded(found, type_, self._registry.custom(type_))

    def _late(self, type_: Any) -> Hook:
        """What cattrs is given for a type that the program has no hook for.

        It is made when it is first called: strategies ask for hooks before they have said all.
        """
        return _called_late(lambda: self._make_once(type_))

    def _make_once(self, type_: Any) -> Hook:
        if type_ in self._making:
            raise RecursionError
        self._making.add(type_)
        try:
            return self._make(type_)
        finally:
            self._making.discard(type_)

    def _make(self, type_: Any) -> Hook:
        if isinstance(type_, TypeVar):
            return self._hook(upper_bound(type_))
        if isinstance(type_, Member):
            return self._member_hook(type_)
        shape = self._types.shape(type_)
        inner, metadata = type_, ()
        while (inner is type_ or not self._registry.reads(inner)) and (peeled := peel(inner)):
            inner, metadata = peeled[0], (*peeled[1], *metadata)
        if inner is not type_:
            constraints, *_ = read_metadata(metadata)
            hook = self._hook(inner)
            return hook if constraints is None else constrained(hook, inner, constraints)
        leaf = leaf_hook(shape, is_exact=self._is_exact)
        if leaf is not None:
            return leaf
        hook = self._parts_hook(type_, shape)
        if self._is_exact or not isinstance(shape, Record | Array | FixedTuple | StringKeyed):
            return hook
        return _or_its_text(shape, hook)

    def _parts_hook(self, type_: Any, shape: Shape) -> Hook:
        match shape:
            case OneOf():
                return self._union_hook(shape)
            case Array():
                return self._array_hook(shape)
            case FixedTuple():
                return self._tuple_hook(shape)
            case StringKeyed():
                return self._mapping_hook(shape)
            case Record():
                return self._record_hook(shape, self.fields_hook(shape.fields))
            case Foreign():
                return _foreign_hook(shape)
            case Alias():
                # It may hold itself.
                return _called_late(lambda: self._hook(shape.target_type))
            case _:
                raise UnsupportedType(f"{type_} has a schema and no hook")

    # --- Hooks for values with parts -------------------------------------------------------------

    def _record_hook(self, record: Record, structure_fields: FieldsHook) -> Hook:
        names = {field.name for field in record.fields}
        mappings = Mapping if self._is_exact else dict

        def structure(value: Any, _: Any) -> Any:
            named = value
            if record.is_tuple and isinstance(value, list):
                named = _named(cast("list[object]", value), record)
            if not isinstance(named, mappings):
                raise mismatch(record, value)
            members = cast("Mapping[str, object]", named)
            if trial.get() is not None and not members.keys() <= names:
                tolerate(Tolerance.UNKNOWN_KEYS)
            arguments = structure_fields(members)
            try:
                return record.build(**arguments)
            except (ValueError, TypeError) as error:
                # The class has rules of its own.
                raise refused(f"refused by {record.name}: {error}") from error

        return structure

    def _member_hook(self, member: Member) -> Hook:
        name = member.tag_name
        shape = self._types.shape(member)
        hook: Hook
        if self._registry.reads(member.type):
            hook, has_tag = self._hook(member.type), True
        else:
            assert isinstance(shape, Record)
            plain = self._types.shape(Member(member.type))
            assert isinstance(plain, Record)
            hook = self._record_hook(plain, self.fields_hook(plain.fields))
            has_tag = any(field.name == name for field in plain.fields)
        if name is None:
            return hook
        tag_name, tag_shape = name, Choice(tuple((tag, tag) for tag in member.tags))

        def structure(value: Any, _: Any) -> Any:
            if not isinstance(value, dict):
                raise mismatch(shape, value)
            members = cast("dict[str, Any]", value)
            tag: object = members.get(tag_name, _MISSING)
            if not _is_among(tag, member.tags) and (
                not member.is_default or _is_among(tag, member.other_tags)
            ):
                if tag is _MISSING:
                    misfit = refused(f"expected {describe(tag_shape)}, got nothing")
                else:
                    misfit = mismatch(tag_shape, tag)
                raise Mismatch(misfit.under(tag_name))
            if not has_tag:
                members = {key: part for key, part in members.items() if key != tag_name}
            return hook(members, member.type)

        return structure

    def _array_hook(self, array: Array) -> Hook:
        hook, item_type = self._hook(array.item_type), array.item_type
        sequences = (list, tuple) if self._is_exact else list

        def structure(value: Any, _: Any) -> Any:
            if not isinstance(value, sequences):
                raise mismatch(array, value)
            structured: list[Any] = []
            problems: list[Problem] = []
            for index, item in enumerate(cast("Sequence[Any]", value)):
                try:
                    structured.append(hook(item, item_type))
                except Mismatch as misfit:
                    problems += misfit.under(index)
                    if len(problems) >= MAX_PROBLEMS:
                        break
            if problems:
                raise Mismatch(problems[:MAX_PROBLEMS])
            if array.build is list:
                return structured
            try:
                return array.build(structured)
            except TypeError:
                pass
            raise refused("objects and arrays cannot be items of this set")

        return structure

    def _tuple_hook(self, fixed: FixedTuple) -> Hook:
        hooks = [self._hook(item_type) for item_type in fixed.item_types]
        places = list(zip(range(len(hooks)), hooks, fixed.item_types, strict=True))

        def structure(value: Any, _: Any) -> Any:
            if not isinstance(value, list) or len(cast("list[object]", value)) != len(places):
                raise mismatch(fixed, value)
            items = cast("list[object]", value)
            structured: list[Any] = []
            problems: list[Problem] = []
            for index, hook, item_type in places:
                try:
                    structured.append(hook(items[index], item_type))
                except Mismatch as misfit:
                    problems += misfit.under(index)
            if problems:
                raise Mismatch(problems[:MAX_PROBLEMS])
            return tuple(structured)

        return structure

    def _mapping_hook(self, mapping: StringKeyed) -> Hook:
        key_hook, key_type = self._hook(mapping.key_type), mapping.key_type
        hook, value_type = self._hook(mapping.value_type), mapping.value_type
        mappings = Mapping if self._is_exact else dict

        def structure(value: Any, _: Any) -> Any:
            if not isinstance(value, mappings):
                raise mismatch(mapping, value)
            structured: dict[Any, Any] = {}
            problems: list[Problem] = []
            current = trial.get()
            for key, member in cast("Mapping[str, Any]", value).items():
                try:
                    if current is None:
                        structured_key = key_hook(key, key_type)
                    else:
                        # JSON writes every key as a string: reading a number is no liberty.
                        trial.set(None)
                        try:
                            structured_key = key_hook(key, key_type)
                        finally:
                            trial.set(current)
                    structured[structured_key] = hook(member, value_type)
                except Mismatch as misfit:
                    problems += misfit.under(key)
                    if len(problems) >= MAX_PROBLEMS:
                        break
            if problems:
                raise Mismatch(problems[:MAX_PROBLEMS])
            return mapping.build(structured)

        return structure

    def _union_hook(self, union: OneOf) -> Hook:
        options = [
            Option(shape, type_, self._hook(type_), is_own=self._registry.reads(type_))
            for shape, type_ in zip(union.members, union.member_types, strict=True)
        ]
        reads_text = not self._is_exact and any(
            may_be_meant(option, list[Any]()) or may_be_meant(option, dict[str, Any]())
            for option in options
        )
        choose = sole_option(options)

        def try_options(value: Any, memo: Memo) -> _Outcome:
            failures: dict[int, tuple[Problem, ...]] = {}
            best: _Outcome | None = None
            only = None if choose is None else choose(value)
            for place in ranked(options, value) if only is None else only:
                option = options[place]
                attempt = Trial(memo)
                token = trial.set(attempt)
                try:
                    structured = option.hook(value, option.type)
                except Mismatch as misfit:
                    failures[place] = misfit.problems
                    continue
                finally:
                    trial.reset(token)
                if best is None or attempt.tolerated < best[1]:
                    best = structured, attempt.tolerated, None
                    if attempt.tolerated is Tolerance.NOTHING:
                        break
            if best is not None:
                return best
            problems = union_mismatch(union, options, value, failures, names_all=self._is_exact)
            return None, Tolerance.NOTHING, problems

        def try_text(text: str, memo: Memo) -> _Outcome:
            # First as the string it is. None of the members is to read it as the text of another.
            attempt = Trial(memo)
            tokens = trial.set(attempt), in_text.set(True)
            try:
                outcome = try_options(text, memo)
            finally:
                in_text.reset(tokens[1])
                trial.reset(tokens[0])
            if outcome[2] is None and outcome[1] is not Tolerance.LIBERTIES:
                return outcome
            tokens = trial.set(attempt), in_text.set(in_text.get())
            try:
                container = container_of(text)
                if not any(may_be_meant(option, container) for option in options):
                    return outcome
                in_text.set(True)
                structured = structure(container, None)
            except Mismatch as misfit:
                return None, Tolerance.NOTHING, misfit.problems
            finally:
                in_text.reset(tokens[1])
                trial.reset(tokens[0])
            return structured, Tolerance.LIBERTIES, None

        def structure(value: Any, _: Any) -> Any:
            current = trial.get()
            memo: Memo = {} if current is None else current.memo
            if isinstance(value, dict | list):
                # A part of a value is looked at again for every member its parents may be. What
                # was found the first time is kept, or the work would double with every level.
                key = id(cast("object", value)), id(union)
                if key not in memo:
                    memo[key] = value, try_options(value, memo)
                outcome: _Outcome = memo[key][1]
            elif reads_text and isinstance(value, str):
                outcome = try_text(value, memo)
            else:
                outcome = try_options(value, memo)
            structured, tolerated, problems = outcome
            if problems is not None:
                raise Mismatch(problems)
            tolerate(tolerated)
            return structured

        others = [place for place, option in enumerate(options) if option.type is not NoneType]
        if len(others) > 1 or len(options) > 2:
            return structure
        # Nothing has to be tried where there is one member besides None.
        (place,) = others
        hook, type_ = options[place].hook, options[place].type

        def structure_optional(value: Any, _: Any) -> Any:
            if value is None:
                return None
            if reads_text and isinstance(value, str):
                return structure(value, None)
            try:
                return hook(value, type_)
            except Mismatch as misfit:
                failures = {place: misfit.problems}
            raise Mismatch(
                union_mismatch(union, options, value, failures, names_all=self._is_exact)
            )

        return structure_optional

    # --- Writing ---------------------------------------------------------------------------------

    def unstructure(self, obj: Any, unstructure_as: Any = None) -> Any:
        """Make a JSON value of a Python value.

        Args:
            obj: Any value of a type that can be read, or that has a hook which writes it.
            unstructure_as: Its type, where a hook was registered for something else than a class:
                a union, for example, or an alias. The class of the value by default.

        Returns:
            A value made of dict, list, str, int, float, bool and None.

        Raises:
            TypeError: If it, or something in it, has no JSON form.
        """
        if unstructure_as is None or not self._writes_declared:
            return super().unstructure(obj)
        return super().unstructure(obj, hashable(unstructure_as))

    def writes(self, class_: type[Any]) -> bool:
        """Whether the program has registered a hook that writes a class.

        Args:
            class_: The class.

        Returns:
            True if it has.
        """
        return self._registry.writes(class_)

    def _make_writer(self, type_: Any) -> Writer:
        return writer(type_, self, declared=self._writes_declared)

    def field_types(self, class_: type[Any]) -> Mapping[str, Any]:
        """The types of the fields of a class, by the names of their arguments.

        Args:
            class_: The class.

        Returns:
            The types. Empty if they are not known.
        """
        try:
            shape = self._types.shape(Member(class_))
        except UnsupportedType:
            return {}
        fields = shape.fields if isinstance(shape, Record) else ()
        return {field.argument: field.type for field in fields}


_Outcome = tuple[Any, Tolerance, tuple[Problem, ...] | None]
_MISSING: Final = object()


def make_converter() -> Converter:
    """Make a converter that knows what this library knows, to be taught types of your own.

    A function that registers all your types on whatever converter it is given serves both this
    library and a converter of cattrs that you have already::

        def configure(converter):
            converter.register_structure_hook(Money, lambda text, _: Money.parse(text))
            converter.register_unstructure_hook(Money, str)


        configure(my_cattrs_converter)
        converter = lktrio.make_converter()
        configure(converter)
        converter.register_json_schema(Money, {"type": "string"})

    Returns:
        A new `Converter`.
    """
    return Converter()


def _always(_: Any) -> bool:
    return True


def _class_of_strategy(predicate: Callable[..., Any]) -> Any:
    """The class for which a strategy registers a hook by a predicate of its own."""
    if not getattr(predicate, "__module__", "").startswith("cattrs.strategies."):
        return None
    defaults: tuple[Any, ...] = getattr(predicate, "__defaults__", None) or (None,)
    return defaults[0]


def _named(items: list[object], record: Record) -> dict[str, Any]:
    if len(items) > len(record.fields):
        raise mismatch(record, items)
    return {field.name: item for field, item in zip(record.fields, items, strict=False)}


def _is_among(tag: object, tags: Iterable[object]) -> bool:
    return any(type(tag) is type(known) and tag == known for known in tags)


def _called_late(make: Callable[[], Hook]) -> Hook:
    hook: Hook | None = None

    def structure(value: Any, type_: Any) -> Any:
        nonlocal hook
        if hook is None:
            hook = make()
        return hook(value, type_)

    return structure


def _or_its_text(shape: Shape, hook: Hook) -> Hook:
    """A hook that also reads an array or object that was sent as JSON text."""

    def structure(value: Any, type_: Any) -> Any:
        if not isinstance(value, str):
            return hook(value, type_)
        container = container_of(value)
        if container is None:
            raise mismatch(shape, value)
        tolerate(Tolerance.LIBERTIES)
        token = in_text.set(True)
        try:
            return hook(container, type_)
        finally:
            in_text.reset(token)

    return structure


def _foreign_hook(foreign: Foreign) -> Hook:
    type_ = ForeignType(foreign.python)

    def structure(value: Any, _: Any) -> Any:
        if trial.get() is not None:
            try:
                return type_.structure(value, lenient=False)
            except ForeignMismatch:
                tolerate(Tolerance.LIBERTIES)
        try:
            return type_.structure(value, lenient=True, in_text=in_text.get())
        except ForeignMismatch as error:
            problems = error.problems
        raise Mismatch(Problem(path, Refusal(message)) for path, message in problems[:MAX_PROBLEMS])

    return structure


# --- Hooks of the program ------------------------------------------------------------------------


def _guarded(hook: Hook, type_: Any, custom: Custom | None) -> Hook:
    """A hook of the program, whose refusals are mismatches."""
    name = getattr(type_, "__name__", None) or str(type_).replace("typing.", "")

    def structure(value: Any, _: Any) -> Any:
        try:
            return hook(value, type_)
        except Mismatch:
            raise
        except BaseValidationError as error:
            # It was made by code of cattrs, which takes every exception for a problem.
            raise Mismatch(_problems_of(error)[:MAX_PROBLEMS]) from error
        except (ValueError, TypeError) as error:
            cause = Refused(name, custom, value, str(error))
            raise Mismatch([Problem((), cause)]) from error

    return structure


def _problems_of(error: BaseValidationError) -> list[Problem]:
    """What is wrong by the word of cattrs, if nothing in it is a mistake of the program."""
    problems: list[Problem] = []
    for each in cast("Sequence[Exception]", error.exceptions):
        step = _step_of(each)
        if isinstance(each, BaseValidationError):
            found = _problems_of(each)
        elif isinstance(each, Mismatch):
            found = list(each.problems)
        elif isinstance(each, KeyError) and each.args == (step,):
            found = [Problem((), Refusal("required but missing"))]
        elif isinstance(each, ValueError | TypeError | ForbiddenExtraKeysError):
            found = [Problem((), Refusal(str(each)))]
        else:
            raise each
        problems += found if step is None else Mismatch(found).under(step)
    return problems


def _step_of(error: Exception) -> str | int | None:
    for note in getattr(error, "__notes__", ()):
        step: object = getattr(note, "name", getattr(note, "index", None))
        if isinstance(step, str | int):
            return step
    return None
