"""The network in memory of `lktrio.testing`, under the name our own tests use."""

from __future__ import annotations

from lktrio.testing._memory_network import MemoryNetwork

__all__ = ["MemoryNetwork"]
