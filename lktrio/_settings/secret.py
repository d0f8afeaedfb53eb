"""`Secret`: text that must not be seen, from where it is given to where it is sent.

This module knows how a value is kept out of reprs, and with that out of logs, tracebacks that show
local variables, and debuggers. It does not know which values are secret.
"""

from __future__ import annotations

import hmac

__all__ = ["Secret", "SecretWords", "reveal"]


class Secret:
    """A text that does not show itself.

    ``str``, ``repr`` and formatting give ``Secret(...)``; only `reveal` gives the text. What it
    holds is a view of bytes, whose own repr does not show them either.

    Args:
        text: What is secret.
    """

    __slots__ = ("_view",)

    def __init__(self, text: str) -> None:
        self._view = memoryview(text.encode("utf-8", "surrogatepass"))

    def reveal(self) -> str:
        """The text. Use it within an expression: a local variable shows what it holds."""
        return bytes(self._view).decode("utf-8", "surrogatepass")

    @property
    def view(self) -> memoryview:
        """The text as bytes, in a form that does not show them."""
        return self._view

    def __repr__(self) -> str:
        return "Secret(...)"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._view, other._view)

    def __hash__(self) -> int:
        return hash(self._view)


def reveal(value: str | Secret) -> str:
    """The text of a value that may be secret."""
    return value.reveal() if isinstance(value, Secret) else value


class SecretWords(tuple[str, ...]):
    """Words that must not be shown, should somebody else show them. Its repr does not, either."""

    __slots__ = ()

    def __add__(self, other: tuple[object, ...]) -> SecretWords:
        return SecretWords((*self, *map(str, other)))

    def __repr__(self) -> str:
        return f"<{len(self)} secret words>"
