"""A conversation: items in the order of their time, and how they are added, replaced and removed.

The items themselves, which of them an edit keeps, their form in a file, on the wire and in another
library are known elsewhere.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, cast

from lktrio._checks import NOT_GIVEN, NotGivenOr, is_given, kind_of, shown
from lktrio._definitions import public

from .fields import to_seconds
from .items import ITEM_TYPES, ChatItem, ChatMessage, ChatRole, MetricsReport, check_items
from .messages import build_messages
from .parts import ChatContent
from .read_only import ReadOnlyItems, refuse_change
from .saved import dump_items, load_context
from .selection import (
    NamedTool,
    ToolGroup,
    are_equivalent,
    choose,
    last_items,
    place_of,
    with_calls_of,
)

__all__ = ["ChatContext", "check_chat_ctx"]


@public
class ChatContext:
    """A conversation, as it is given to a model and saved.

    Items are frozen values; the context is the list that holds them. A stream works on what
    the conversation was when `ChatModel.chat` was called, so it may be changed at any time.

    Args:
        items: The conversation so far, in order. It is copied.

    Raises:
        TypeError: If one of them is no item.
    """

    __slots__ = ("_items", "_unknown_members")

    def __init__(self, items: Iterable[ChatItem] = ()) -> None:
        self._items: list[ChatItem] = check_items(items)
        self._unknown_members: dict[str, Any] = {}

    @classmethod
    def empty(cls) -> ChatContext:
        """Make a context without items."""
        return cls()

    def __repr__(self) -> str:
        kind = "read-only ChatContext" if self.readonly else "ChatContext"
        return f"<{kind}, {len(self._items)} items>"

    # Looking.

    @property
    def items(self) -> list[ChatItem]:
        """The items themselves, not a copy: what is done to this list is done to the conversation.

        `insert` puts an item where its time belongs; appending to this list does not look at
        it. The list may be replaced as a whole by assignment. That of a read-only context
        refuses every change.
        """
        return self._items

    @items.setter
    def items(self, items: Iterable[ChatItem]) -> None:
        self._changeable_items()[:] = check_items(items)

    @property
    def readonly(self) -> bool:
        """Whether this context refuses to be changed; see `snapshot`."""
        return isinstance(self._items, ReadOnlyItems)

    def messages(self) -> list[ChatMessage]:
        """The messages, in order, without calls, outputs and other items."""
        return [item for item in self._items if isinstance(item, ChatMessage)]

    def get_by_id(self, item_id: str) -> ChatItem | None:
        """Find an item.

        Args:
            item_id: Its ``id``.

        Returns:
            The first item with that id; None if there is none.
        """
        index = self.index_by_id(item_id)
        return None if index is None else self._items[index]

    def index_by_id(self, item_id: str) -> int | None:
        """Find the place of an item in `items`.

        Args:
            item_id: Its ``id``.

        Returns:
            The index of the first item with that id; None if there is none.
        """
        return next((place for place, it in enumerate(self._items) if it.id == item_id), None)

    def find_insertion_index(self, *, created_at: float) -> int:
        """Find the place where `insert` would put an item.

        Args:
            created_at: The time of the item, in seconds since the epoch.

        Returns:
            The index behind everything in `items` that is not younger.

        Raises:
            TypeError: If ``created_at`` is no number.
            ValueError: If it is not finite.
        """
        return place_of(to_seconds(created_at), self._items)

    def is_equivalent(self, other: ChatContext) -> bool:
        """Whether a model would read the same.

        Compared are the ids and types of all items; role, content and interruption of messages;
        id, name and arguments of calls; id, name, output and error flag of outputs.

        Args:
            other: Another conversation.
        """
        return len(self._items) == len(other._items) and all(
            map(are_equivalent, self._items, other._items)
        )

    # Changing.

    def add_message(
        self,
        *,
        role: ChatRole,
        content: str | Sequence[ChatContent],
        id: NotGivenOr[str] = NOT_GIVEN,
        interrupted: NotGivenOr[bool] = NOT_GIVEN,
        created_at: NotGivenOr[float] = NOT_GIVEN,
        metrics: NotGivenOr[MetricsReport] = NOT_GIVEN,
        extra: NotGivenOr[Mapping[str, Any]] = NOT_GIVEN,
    ) -> ChatMessage:
        """Add a message where its time belongs: at the end, unless ``created_at`` says otherwise.

        Args:
            role: Who speaks.
            content: The text, or the parts in order.
            id: Identifies the message; made up if not given.
            interrupted: Whether the speaker was cut off; False if not given.
            created_at: Seconds since the epoch; now if not given.
            metrics: What was measured; nothing if not given.
            extra: What else belongs to it, see `ChatMessage.extra`; nothing if not given.

        Returns:
            The new message.

        Raises:
            TypeError: If an argument has the wrong type.
            ValueError: If ``role`` is another word, or ``created_at`` is not finite.
            RuntimeError: If the context is read-only.
        """
        optional = {
            "id": id,
            "interrupted": interrupted,
            "created_at": created_at,
            "metrics": metrics,
            "extra": extra,
        }
        given: dict[str, Any] = {name: value for name, value in optional.items() if is_given(value)}
        message = ChatMessage(role=role, content=content, **given)
        self.insert(message)
        return message

    def insert(self, item: ChatItem | Iterable[ChatItem]) -> None:
        """Put items where their time belongs: behind everything that is not younger.

        The items that are there are taken to be in the order of their time. Adding the youngest
        costs the same however long the conversation is.

        Args:
            item: One item, or several.

        Raises:
            TypeError: If it is none.
            RuntimeError: If the context is read-only.
        """
        new_items = [item] if isinstance(item, ITEM_TYPES) else check_items(item)
        items = self._changeable_items()
        for new in new_items:
            items.insert(place_of(new.created_at, items), new)

    def replace(self, item_id: str | ChatItem, item: ChatItem) -> None:
        """Put an item in the place of another, whatever its time.

        ::

            chat_ctx.replace(message.id, attrs.evolve(message, content="..."))

        Args:
            item_id: The item to replace, or its ``id``.
            item: What takes its place.

        Raises:
            TypeError: If ``item`` is no item.
            ValueError: If there is no item with that id.
            RuntimeError: If the context is read-only.
        """
        (checked,) = check_items([item])
        self._changeable_items()[self._index_of(item_id)] = checked

    def remove(self, item: ChatItem | str) -> None:
        """Take an item out.

        Args:
            item: The item, or its ``id``.

        Raises:
            ValueError: If there is no item with that id.
            RuntimeError: If the context is read-only.
        """
        del self._changeable_items()[self._index_of(item)]

    def truncate(
        self,
        *,
        max_items: int | None = None,
        max_tokens: int | None = None,
        count_tokens: Callable[[ChatItem], int] | None = None,
    ) -> ChatContext:
        """Keep the last items only: so many, or so many tokens of them, or what fits both.

        Calls and outputs that would then be the first are dropped, too: a conversation must not
        begin with them. The first instructions (a system or developer message) are always kept,
        with those that change from call to call behind them. Only their tokens count.

        Args:
            max_items: How many items to keep.
            max_tokens: How many tokens all that is kept may have.
            count_tokens: How many an item has. Asked of the instructions and of the last items.

        Returns:
            This context.

        Raises:
            TypeError: If a limit is no integer, none is given, or one of the last two alone.
            ValueError: If a limit, or what ``count_tokens`` returns, is negative.
            RuntimeError: If the context is read-only.
        """
        items = self._changeable_items()
        items[:] = last_items(items, max_items, max_tokens, count_tokens)
        return self

    def merge(
        self,
        other: ChatContext,
        *,
        exclude_function_call: bool = False,
        exclude_instructions: bool = False,
        exclude_config_update: bool = False,
    ) -> ChatContext:
        """Add the items of another context whose ids are not here yet, each where its time belongs.

        Args:
            other: Where the items are taken from. It is not changed.
            exclude_function_call: Leave out calls and their outputs.
            exclude_instructions: Leave out system and developer messages.
            exclude_config_update: Leave out configuration updates.

        Returns:
            This context.

        Raises:
            RuntimeError: If the context is read-only.
        """
        chosen = choose(
            other._items,
            exclude_function_call=exclude_function_call,
            exclude_instructions=exclude_instructions,
            exclude_config_update=exclude_config_update,
        )
        known = {item.id for item in self._items}
        first: dict[str, ChatItem] = {}
        for item in chosen:
            first.setdefault(item.id, item)
        self.insert(item for item_id, item in first.items() if item_id not in known)
        return self

    # Copying.

    def copy(
        self,
        *,
        exclude_function_call: bool = False,
        exclude_instructions: bool = False,
        exclude_empty_message: bool = False,
        exclude_handoff: bool = False,
        exclude_config_update: bool = False,
        tools: NotGivenOr[Sequence[str | NamedTool | ToolGroup] | None] = NOT_GIVEN,
    ) -> ChatContext:
        """Make a context of its own with the same items, or some of them.

        Args:
            exclude_function_call: Leave out calls and their outputs.
            exclude_instructions: Leave out system and developer messages.
            exclude_empty_message: Leave out messages without content.
            exclude_handoff: Leave out handoffs.
            exclude_config_update: Leave out configuration updates.
            tools: Keep only calls of these tools, and the outputs of these calls. A tool is given
                by its name, or as a `FunctionTool` or whatever else has a ``name``; a `Toolset`,
                or whatever else has ``tools``, stands for all of them. None keeps no call.

        Returns:
            A context that may be changed, also if this one is read-only.

        Raises:
            TypeError: If ``tools`` holds what has no name.
        """
        chosen = choose(
            self._items,
            exclude_function_call=exclude_function_call,
            exclude_instructions=exclude_instructions,
            exclude_empty_message=exclude_empty_message,
            exclude_handoff=exclude_handoff,
            exclude_config_update=exclude_config_update,
        )
        copied = ChatContext(with_calls_of(chosen, tools or ()) if is_given(tools) else chosen)
        copied._unknown_members = self._unknown_members
        return copied

    def snapshot(self) -> ChatContext:
        """Make a read-only copy: it stays as the conversation is now.

        Returns:
            A context whose `readonly` is True. Whatever would change it, or its `items`, raises
            `RuntimeError`.
        """
        snapshot = ChatContext()
        snapshot._items = ReadOnlyItems(self._items)
        snapshot._unknown_members = self._unknown_members
        return snapshot

    # Leaving and entering the program.

    def to_dict(
        self,
        *,
        exclude_image: bool = True,
        exclude_audio: bool = True,
        exclude_timestamp: bool = True,
        exclude_function_call: bool = False,
        exclude_metrics: bool = False,
        exclude_config_update: bool = False,
        exclude_file: bool = True,
    ) -> dict[str, Any]:
        """Write the conversation as a dict for ``json.dumps``, in the format of LiveKit Agents.

        Args:
            exclude_image: Leave out images. Bytes are written as data URLs.
            exclude_audio: Leave out audio with its transcripts. Bytes are written as data URLs.
            exclude_timestamp: Leave out ``created_at``; it is then the time of reading.
            exclude_function_call: Leave out calls and their outputs.
            exclude_metrics: Leave out what was measured.
            exclude_config_update: Leave out configuration updates.
            exclude_file: Leave out files, of which LiveKit Agents does not know. Bytes are written
                as data URLs.

        Returns:
            A dict that shares nothing with this context.
        """
        items = dump_items(
            self._items,
            exclude_image=exclude_image,
            exclude_audio=exclude_audio,
            exclude_file=exclude_file,
            exclude_timestamp=exclude_timestamp,
            exclude_function_call=exclude_function_call,
            exclude_metrics=exclude_metrics,
            exclude_config_update=exclude_config_update,
        )
        return {"items": items, **copy.deepcopy(self._unknown_members)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ChatContext:
        """Read what `to_dict`, or that of LiveKit Agents, has written.

        Members and types of items that this version does not know are kept and written again
        by `to_dict`.

        Args:
            data: The dict. It is not changed.

        Returns:
            A context that shares nothing with the dict.

        Raises:
            TypeError: If something has the wrong type; the message names the path to it, such as
                ``items[3].role``.
            ValueError: If a member is missing, or has a value that does not fit.
        """
        items, unknown_members = load_context(data)
        chat_ctx = cls(items)
        chat_ctx._unknown_members = unknown_members
        return chat_ctx

    def to_provider_format(
        self, format: Literal["openai"] = "openai", *, prompt_cache_breakpoints: bool = False
    ) -> tuple[list[dict[str, Any]], None]:
        """Make the ``messages`` of a request, to look at them or to send them by other means.

        Args:
            format: Only the Chat Completions API is spoken here.
            prompt_cache_breakpoints: Whether the model understands `CacheBreakpoint`.

        Returns:
            The messages, and None: other formats have more to say in LiveKit Agents.

        Raises:
            TypeError: If the conversation holds what cannot be sent; the message names the path
                to it, such as ``chat_ctx.items[2].extra``.
            ValueError: If ``format`` is another one, or an image, a text or a number cannot be
                sent.
        """
        if format != "openai":
            raise ValueError(f"format={shown(format)} is not accepted; it takes 'openai'")
        messages = build_messages(self._items, cache_breakpoints=prompt_cache_breakpoints)
        return cast("list[dict[str, Any]]", messages), None

    @classmethod
    def from_openai(cls, messages: Iterable[Mapping[str, Any]]) -> ChatContext:
        """Read the ``messages`` of the Chat Completions API, as other libraries have them.

        What no field stands for is kept in `ChatMessage.extra`, and written again by `to_openai`.

        Args:
            messages: Dicts of all roles, in order. They are not changed.

        Returns:
            A context that shares nothing with them. A message with calls becomes several items.

        Raises:
            TypeError: If something has the wrong type; the message names the path to it, such as
                ``messages[3].tool_calls[0].id``.
            ValueError: If a member is missing, or something has no place in a conversation.
        """
        from .from_openai import read_messages

        return cls(read_messages(messages))

    def to_openai(self) -> list[dict[str, Any]]:
        """Write the conversation as the ``messages`` of the Chat Completions API, for another
        library.

        These are not the messages of a request (`to_provider_format`): parts, calls without an
        output, and all that `from_openai` has kept are there, whatever a server takes.

        Returns:
            Dicts that share nothing with this context.

        Raises:
            TypeError: If an item has kept what is no JSON value.
            ValueError: If a text holds a lone surrogate, or a number is not finite.
        """
        from .to_openai import write_messages

        return write_messages(self._items)

    def _changeable_items(self) -> list[ChatItem]:
        if self.readonly:
            refuse_change()
        return self._items

    def _index_of(self, item: str | ChatItem) -> int:
        item_id = item if isinstance(item, str) else item.id
        index = self.index_by_id(item_id)
        if index is None:
            raise ValueError(f"there is no item with the id {item_id!r} in this context")
        return index


def check_chat_ctx(value: object) -> ChatContext:
    """Refuse a ``chat_ctx`` that is none, and return it otherwise."""
    if not isinstance(value, ChatContext):
        raise TypeError(
            f"chat_ctx must be a ChatContext, not {kind_of(value)}; make one with ChatContext() "
            "and add_message(role='user', content=...); ChatContext.from_openai(messages) reads "
            "messages that are dicts, and ChatContext.from_dict() a saved conversation"
        )
    return value
