"""What is known of a tool, as a value: `Tool.info`, by the names of LiveKit Agents.

This module knows these values only. It is imported when a tool is first asked for one.
"""

from __future__ import annotations

from typing import Any

import attrs

from lktrio._definitions import Value, public

__all__ = ["FunctionToolInfo", "RawFunctionToolInfo"]


@public
@attrs.frozen(eq=False, repr=False)
class FunctionToolInfo(Value):
    """What `FunctionTool.info` says of a tool."""

    name: str
    """Name by which the model calls it."""

    description: str
    """What the model is told that it does; may be empty."""


@public
@attrs.frozen(eq=False, repr=False)
class RawFunctionToolInfo(Value):
    """What `RawFunctionTool.info` says of a tool with a schema of its own."""

    name: str
    """Name by which the model calls it."""

    raw_schema: dict[str, Any]
    """The schema that the tool was made with: a copy, so that changing it changes no tool."""
