"""The scripted server of `lktrio.testing`, under the name our own tests use."""

from __future__ import annotations

from lktrio.testing._server import ConnectionRecord, Line, ScriptedServer, ScriptError

__all__ = ["ConnectionRecord", "Line", "ScriptError", "ScriptedServer"]
