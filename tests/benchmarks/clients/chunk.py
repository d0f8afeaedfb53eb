"""A chunk as somebody who reads only text, arguments, finish reason and usage would describe it."""

from __future__ import annotations

import msgspec


class Function(msgspec.Struct):
    arguments: str | None = None


class Call(msgspec.Struct):
    function: Function


class Delta(msgspec.Struct):
    content: str | None = None
    tool_calls: list[Call] | None = None


class Choice(msgspec.Struct):
    delta: Delta
    finish_reason: str | None = None


class Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Chunk(msgspec.Struct):
    choices: list[Choice]
    usage: Usage | None = None
