"""JSON values to Python values and back, by Python type, on cattrs.

cattrs looks up the hook for a type, and takes the hooks of the program. This module alone knows
how cattrs is asked, and what a program registers. Which hook of ours reads a type is known to
`_structure`, and how values are written to `_unstructure`.

A value that fits the schema arrives unchanged. What else is taken is listed in `_leniency`. The
exact converter, for what a program sends, takes nothing else.
"""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from types import NoneType
from typing import Any, Final, TypeVar, overload

from cattrs import BaseConverter

from lktrio._definitions import public

from .introspection import Types
from .leaves import Hook
from .own_types import (
    Family,
    Predicate,
    Registry,
    check_schema,
    guarded,
    is_of_strategy,
    is_ours,
    recognise,
    union_of_subclasses,
)
from .parts import FieldsHook
from .shapes import Field, Member, Record
from .structure import HookMaker, called_late
from .type_hints import UnsupportedType, hashable
from .unstructure import BY_CLASS, Writer, writer

__all__ = ["Converter", "make_converter"]

T = TypeVar("T")

_BUILT_IN: Final = (str, bytes, int, float, bool, pathlib.Path)
"""Classes whose hooks cattrs looks up by the class alone, before it asks any predicate."""


@public
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
        self._is_exact = _is_exact
        self._use(Types(own=self._registry) if _types is None else _types)
        self._bound: dict[Any, Hook] = {}
        self._making: set[Any] = set()

        # The first that are registered are the last that are asked.
        self._structure_func.register_func_list([(_always, self._late, True)])
        self._unstructure_func.register_func_list([(_always, self._make_writer, True)])
        # cattrs leaves out of which types these lists are.
        self._structure_func.register_cls_list(  # pyright: ignore[reportUnknownMemberType]
            [(class_, self._structure_built_in) for class_ in _BUILT_IN]
        )
        self._unstructure_func.register_cls_list(  # pyright: ignore[reportUnknownMemberType]
            [(class_, functools.partial(write, self.unstructure)) for class_, write in BY_CLASS]
        )

    # --- What a program registers ----------------------------------------------------------------

    def register_json_schema(self, type_: object, schema: Mapping[str, Any]) -> None:
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
    def register_structure_hook(self, cl: Any, func: Hook | None = None) -> Any:
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

    def _register_hook(self, type_: object, hook: Hook) -> None:
        if isinstance(type_, type):
            try:
                return super().register_structure_hook(type_, hook)
            except NameError:
                # cattrs evaluates the annotations of attrs classes, and knows of no local scope.
                pass
        # Equality is how cattrs compares unions; it asks its own predicates for them too early.
        return super().register_structure_hook_func(lambda known: bool(known == type_), hook)

    def register_structure_hook_func(self, check_func: Predicate, func: Hook) -> None:
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
            # With overrides, what is read is in the code of the hook alone.
            is_known = not isinstance(strategy, Family) or (
                strategy.is_plain or self._registry.reads(class_)
            )
            if strategy is not None and is_known:
                self._registry.add_strategy(class_, strategy)
                return
        self._registry.add_hook(None, check_func)
        super().register_structure_hook_func(check_func, func)

    def register_structure_hook_factory(
        self, predicate: Predicate, factory: Callable[..., Hook] | None = None
    ) -> Any:
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

    def register_unstructure_hook(self, cls: Any, func: Writer | None = None) -> Any:
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
        self._registry.add_hook(cls, writes=True)
        return self._forget(lambda other: other.register_unstructure_hook(cls, func))

    def register_unstructure_hook_func(self, check_func: Predicate, func: Writer) -> None:
        """Register a function that writes all types for which a predicate holds.

        Args:
            check_func: Takes a type, and says whether the hook writes it.
            func: Takes the Python value, and returns the JSON value.
        """
        self._forget(lambda other: other.register_unstructure_hook_func(check_func, func))
        if _class_of_strategy(check_func) is not None and is_ours(func):
            return
        self._registry.add_hook(None, check_func, writes=True)
        super().register_unstructure_hook_func(check_func, func)

    def register_unstructure_hook_factory(
        self, predicate: Predicate, factory: Callable[..., Writer] | None = None
    ) -> Any:
        """Register a function that makes hooks for all types for which a predicate holds.

        Args:
            predicate: Takes a type, and says whether the factory makes a hook for it.
            factory: Takes the type, and the converter if it wants it; returns the hook.

        Returns:
            The factory, or a decorator without one.
        """
        if factory is None:
            return functools.partial(self.register_unstructure_hook_factory, predicate)
        self._registry.add_hook(None, predicate, writes=True)
        super().register_unstructure_hook_factory(predicate, factory)
        self._forget(lambda other: other.register_unstructure_hook_factory(predicate, factory))
        return factory

    def _forget(self, registration: Callable[[Converter], object]) -> None:
        """Take note of a registration, and forget what was made without it."""
        self._registered.append(registration)
        self._bound.clear()
        self._use(Types(own=self._registry))

    def _use(self, types: Types) -> None:
        self._types = types
        self._hooks = HookMaker(types, self._registry.reads, self._hook, is_exact=self._is_exact)

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

    def copy_for(self, scope: Mapping[str, Any]) -> Converter:
        """Make a converter with the same hooks, for types of a local scope.

        Args:
            scope: Names that string annotations may use.

        Returns:
            The converter.
        """
        other = Converter()
        for register in self._registered:
            register(other)
        other._use(Types(scope, own=other._registry))
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

    @overload
    def structure(self, obj: Any, cl: type[T]) -> T: ...

    @overload
    def structure(self, obj: Any, cl: Any) -> Any: ...

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

    # The parameter is named by cattrs.
    def get_structure_hook(self, type: Any, cache_result: bool = True) -> Any:
        """Return what reads a type, to be used in a hook.

        Args:
            type: The type.
            cache_result: Whether it is kept.

        Returns:
            The hook: ``hook(value, type)``.
        """
        found = super().get_structure_hook(type, cache_result)
        return self._late(type) if found == self._structure_built_in else found

    def fields_hook(self, fields: Sequence[Field]) -> FieldsHook:
        """Make a function that reads the arguments of a call.

        Args:
            fields: The parameters.

        Returns:
            Takes a JSON object and returns the Python values by the names of their arguments;
            those that are to have their default are not among them. It raises `Mismatch`.
        """
        return self._hooks.fields(fields)

    def _hook(self, type_: object) -> Hook:
        """The hook for a type, to be part of another or to be called."""
        hook = self._bound.get(type_)
        if hook is None:
            try:
                hook = self._bound_hook(type_)
            except RecursionError:
                # The type holds itself, and its hook is just being made.
                return called_late(lambda: self._hook(type_))
            self._bound[type_] = hook
        return hook

    def _structure_built_in(self, value: Any, type_: object) -> Any:
        return self._hook(type_)(value, type_)

    def _bound_hook(self, type_: object) -> Hook:
        if type_ is NoneType:
            return self._make_once(type_)
        found: Hook = super().get_structure_hook(type_, cache_result=False)
        if is_ours(found) or not self._registry.reads(type_):
            return self._make_once(type_)
        return guarded(found, type_, self._registry.custom(type_))

    def _late(self, type_: object) -> Hook:
        """What cattrs is given for a type that the program has no hook for.

        It is made when it is first called: strategies ask for hooks before they have said all.
        """
        return called_late(lambda: self._make_once(type_))

    def _make_once(self, type_: object) -> Hook:
        if type_ in self._making:
            raise RecursionError
        self._making.add(type_)
        try:
            return self._hooks.make(type_)
        finally:
            self._making.discard(type_)

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
        if unstructure_as in (None, object) or not self._registry.writes_declared:
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

    def _make_writer(self, type_: object) -> Writer:
        return writer(type_, self)

    def field_types(self, class_: type[Any]) -> Mapping[str, Any]:
        """The types of the fields of a class, by the names of their arguments.

        Args:
            class_: The class.

        Returns:
            The types. Empty if they are not known, or do not matter.
        """
        if not self._registry.writes_declared:
            return {}
        try:
            shape = self._types.shape(Member(class_))
        except UnsupportedType:
            return {}
        fields = shape.fields if isinstance(shape, Record) else ()
        return {field.argument: field.type for field in fields}


@public
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
    if not is_of_strategy(predicate):
        return None
    defaults: tuple[Any, ...] = getattr(predicate, "__defaults__", None) or (None,)
    return defaults[0]
