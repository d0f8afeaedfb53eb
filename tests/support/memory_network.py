"""The network in memory of `lktrio.testing`, which here carries clients that are brought, too."""

from __future__ import annotations

from typing import Any

from lktrio.testing._memory_network import MemoryNetwork as _MemoryNetwork

from . import brought

__all__ = ["MemoryNetwork"]


class MemoryNetwork(_MemoryNetwork):
    """A network in memory, with a scripted server at every address."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._brought: list[Any] = []

    def brought_client(self, **options: Any) -> Any:
        """A client as a program brings it: of httpx, over httpcore."""
        return self.put(brought.make_client(**options))

    def put(self, client: Any) -> Any:
        """Move a client that somebody else made, with its own limits, onto this network."""
        self._brought.append(brought.put_onto(client, self))
        return client

    def _idle(self) -> set[Any]:
        idle: set[Any] = super()._idle()
        for client in self._brought:
            brought.assert_pool_quiet(client)
            idle |= brought.ends_of(client)
        return idle
