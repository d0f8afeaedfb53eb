"""The connections that are kept for the next request.

This module decides which connection a request may use and which ones have to go; it does so
without waiting, and whoever asks it closes what it names. It does not know how a connection is
made, and what is said on it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from .connection import Connection
from .network import Origin

__all__ = ["Pool"]


class Pool:
    """The idle connections of a transport.

    Args:
        max_keepalive: How many connections are kept, over all origins.
        keepalive_seconds: How long one is kept without being used.
        max_age_seconds: How long after it was opened a connection may still be used.
    """

    def __init__(
        self, *, max_keepalive: int, keepalive_seconds: float, max_age_seconds: float
    ) -> None:
        self._max_keepalive = max_keepalive
        self._keepalive_seconds = keepalive_seconds
        self._max_age_seconds = max_age_seconds
        # The longest idle comes first. Of each origin the one used last is taken first: the others
        # may then grow old.
        self._idle: OrderedDict[Connection, None] = OrderedDict()
        self._of_origin: dict[Origin, OrderedDict[Connection, None]] = {}

    def __len__(self) -> int:
        return len(self._idle)

    def take(
        self, origin: Origin, now: float, is_readable: Callable[[Connection], bool]
    ) -> tuple[Connection | None, list[Connection]]:
        """Find a connection for a request.

        Args:
            origin: Where the request goes.
            now: The time.
            is_readable: Tells whether there is something to read on an idle connection: its end,
                or what nobody has asked for.

        Returns:
            The connection, or None; and those that must be closed.
        """
        dead: list[Connection] = []
        while self._idle:
            oldest = next(iter(self._idle))
            if now - oldest.idle_since < self._keepalive_seconds:
                break
            dead.append(self._remove(oldest))
        while same := self._of_origin.get(origin):
            connection = next(reversed(same))
            is_usable = now - connection.opened < self._max_age_seconds
            is_usable = is_usable and not is_readable(connection)
            self._remove(connection)
            if is_usable:
                return connection, dead
            dead.append(connection)
        return None, dead

    def put(self, connection: Connection, now: float) -> list[Connection]:
        """Keep a connection whose response is over. Returns those that must be closed."""
        if not self._max_keepalive or now - connection.opened >= self._max_age_seconds:
            return [connection]
        connection.idle_since = now
        self._idle[connection] = None
        self._of_origin.setdefault(connection.origin, OrderedDict())[connection] = None
        if len(self._idle) > self._max_keepalive:
            return [self._remove(next(iter(self._idle)))]
        return []

    def take_all(self) -> list[Connection]:
        """Give up all idle connections; they must be closed."""
        connections = list(self._idle)
        self._idle.clear()
        self._of_origin.clear()
        return connections

    def _remove(self, connection: Connection) -> Connection:
        del self._idle[connection]
        same = self._of_origin[connection.origin]
        del same[connection]
        if not same:
            del self._of_origin[connection.origin]
        return connection
