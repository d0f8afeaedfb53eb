"""What annotations name without importing it: evaluating them imports it.

The converter brings cattrs with it, which a program without tools and options does without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._converter import Converter

__all__ = ["Converter"]

# A type checker that saw this would take every name for one that there is.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name != "Converter":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from ._converter import Converter

        return Converter
