"""What a docstring says about a function or class, and about its parameters.

This module alone knows the styles: Google, NumPy, reST and epydoc. It does not know whether the
parameters it finds exist.
"""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any, Final

import attrs

__all__ = ["NO_DOCSTRING", "Docstring", "own_docstring", "read_docstring"]


@attrs.frozen
class Docstring:
    """A docstring, taken apart."""

    description: str
    """What it says of the whole, without the sections on parameters, results and exceptions."""

    parameters: dict[str, str]
    """What it says of each parameter or attribute, by name."""


NO_DOCSTRING: Final = Docstring("", {})


def read_docstring(docstring: str | None) -> Docstring:
    """Take a docstring apart.

    The style is the one that finds most; a docstring in none of them is all description.

    Args:
        docstring: The docstring, without its indentation.

    Returns:
        Its parts.
    """
    if not docstring or not docstring.strip():
        return NO_DOCSTRING
    # Imported here because importing it costs as much as a module of ours, and only programs
    # that have tools need it.
    from docstring_parser import DocstringStyle, ParseError, parse
    from docstring_parser.common import DocstringParam, DocstringRaises, DocstringReturns

    best = Docstring(docstring.strip(), {})
    most = 0
    for style in (
        DocstringStyle.GOOGLE,
        DocstringStyle.NUMPYDOC,
        DocstringStyle.REST,
        DocstringStyle.EPYDOC,
    ):
        try:
            # The parser takes indentation off again, and spares only what follows a line break.
            parsed = parse("\n" + docstring, style=style)
        except ParseError:
            continue
        # Other finds prove nothing: a line that begins with a colon is not yet reST.
        parameters = [item for item in parsed.meta if isinstance(item, DocstringParam)]
        others = [
            item for item in parsed.meta if isinstance(item, DocstringReturns | DocstringRaises)
        ]
        if len(parameters) + len(others) > most:
            most = len(parameters) + len(others)
            best = Docstring(
                (parsed.description or "").strip(),
                {
                    item.arg_name.lstrip("*"): item.description.strip()
                    for item in parameters
                    if item.description and item.description.strip()
                },
            )
    return best


_UNWRITTEN_DOCSTRINGS: Final = ("An enumeration.", "Enum where members are also (and must be) ints")


def own_docstring(class_: type[Any]) -> str | None:
    """The docstring somebody wrote; not an inherited one, nor one that was generated."""
    docstring: object = class_.__dict__.get("__doc__")
    if not isinstance(docstring, str) or docstring in _UNWRITTEN_DOCSTRINGS:
        return None
    # Those of dataclasses and named tuples are the name and the signature.
    may_be_generated = dataclasses.is_dataclass(class_) or issubclass(class_, tuple)
    if may_be_generated and docstring.startswith(f"{class_.__name__}("):
        return None
    return inspect.cleandoc(docstring)
