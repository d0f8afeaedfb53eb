"""The names that public classes and functions go by, and the hints that they give to who asks.

This module alone knows that a public definition is said to stand in the package and not in the
module that it stands in. Which ones are public it does not know: each says so itself.
"""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

__all__ = ["know_later_names", "public"]

T = TypeVar("T")


def public(definition: T) -> T:
    """Make a class or function go by its public name: ``lktrio.X`` for what stands in
    ``lktrio._y``.

    Tracebacks, `repr`, pickles and documentation then say how it is imported, and a pickle can be
    read after the definition has moved. `typing.get_type_hints` looks for the names in a class's
    hints where the class says it stands; what is written as text is therefore read before.
    """
    if isinstance(definition, type):
        hints = inspect.get_annotations(definition)
        if any(isinstance(hint, str) for hint in hints.values()):
            itself = {definition.__name__: definition}
            hints = inspect.get_annotations(definition, locals=itself, eval_str=True)
            definition.__annotations__ = hints
    definition.__module__ = definition.__module__.partition("._")[0]
    return definition


def know_later_names(cls: type[Any], **names: object) -> None:
    """Let `typing.get_type_hints` read the annotations of an attrs class's ``__init__``.

    attrs copies the names of the module when it makes the class. Those that are defined later, such
    as the class itself, are missing there.

    Args:
        cls: The class.
        names: What its annotations name that was not there yet.
    """
    vars(cls)["__init__"].__globals__.update(names)
