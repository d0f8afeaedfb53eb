"""The stream in memory of `lktrio.testing`, under the name our own tests use."""

from __future__ import annotations

from lktrio.testing._memory_stream import MemoryEnd, memory_connection

__all__ = ["MemoryEnd", "memory_connection"]
