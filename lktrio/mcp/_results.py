"""What a tool of an MCP server answered, as text that a model reads.

This module knows the kinds of content that a result may have, and which of them a model is given.
It calls nothing.

Source: https://modelcontextprotocol.io/specification/2025-11-25/server/tools#tool-result
"""

from __future__ import annotations

import json

from mcp_types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
)

from lktrio._conversation import ImageContent as ChatImage
from lktrio._definitions import public

__all__ = ["images_in", "text_of"]


def text_of(result: CallToolResult, *, prefer_structured: bool = False) -> str:
    """Write a result for a model.

    Texts stand as they are, one below the other. What is no text is named, with its kind and size.

    Args:
        result: What the server answered.
        prefer_structured: Whether the structured content, if there is some, stands for the texts.
            A server that follows the protocol sends the same twice.
    """
    structured = result.structured_content
    if structured is not None and (prefer_structured or not result.content):
        # Texts are the same in other words; an image is not.
        blocks = [block for block in result.content if not isinstance(block, TextContent)]
        return "\n".join([json.dumps(structured, ensure_ascii=False), *map(_text, blocks)])
    return "\n".join(map(_text, result.content))


@public
def images_in(result: CallToolResult) -> list[ChatImage]:
    """Take the images out of a result, to be shown to a model or to a user.

    The output of a tool is text: a model sees an image only in a message. So put them there::

        images = images_in(event.result.raw_output)
        chat_ctx.add_message(role="user", content=["What the camera sees:", *images])

    Args:
        result: What the server answered: `FunctionCallResult.raw_output` of a call.

    Returns:
        The images, in their order.
    """
    return [
        ChatImage(image=f"data:{block.mime_type};base64,{block.data}")
        for block in result.content
        if isinstance(block, ImageContent)
    ]


def _text(block: ContentBlock) -> str:
    match block:
        case TextContent():
            return block.text
        case ImageContent():
            return _named("image", block.mime_type, block.data)
        case AudioContent():
            return _named("audio", block.mime_type, block.data)
        case ResourceLink():
            described = f" ({block.description})" if block.description else ""
            return f"[resource {block.title or block.name}: {block.uri}{described}]"
        case EmbeddedResource():
            resource = block.resource
            if isinstance(resource, BlobResourceContents):
                return _named(f"resource {resource.uri}", resource.mime_type, resource.blob)
            return resource.text


def _named(what: str, mime_type: str | None, data: str) -> str:
    size = len(data) * 3 // 4 - data[-2:].count("=")
    return f"[{what}: {mime_type or 'of an unknown kind'}, {size} bytes]"
