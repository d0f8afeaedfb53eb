"""`RequestDraft`: a request that is about to be fixed, for the program's last word on it.

This module knows what a program may change there, and checks what it has changed. What else stands
in a request is known elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import attrs
import msgspec

from lktrio._checks import not_awaitable
from lktrio._definitions import Value, public
from lktrio._json import check_json, encode_json
from lktrio._settings import QueryValue, RequestOptions, structure_options

__all__ = ["Prepare", "RequestDraft", "prepared"]

_NAME = "prepare"


@public
@attrs.frozen(eq=False, repr=False)
class RequestDraft(Value):
    """A request as it would be sent. Change its headers, parameters and body in place.

    All that is in it belongs to this one request. What is not in it cannot be changed here: the
    address, the method, and the ``Authorization`` header of ``auth=`` (which one among `headers`
    replaces).
    """

    model: str
    """Name of the model that is asked."""

    headers: dict[str, str] = attrs.field(repr=False)
    """Headers besides those that every request has: at first, those of the option
    ``extra_headers``."""

    query: dict[str, QueryValue] = attrs.field(repr=False)
    """Parameters of the URL: at first, those of the option ``extra_query``."""

    body: dict[str, Any] = attrs.field(repr=False)
    """The JSON body, with ``model``, ``messages``, ``tools`` and all options. Whatever becomes of
    it, ``stream`` stays True: the answer is read as a stream."""


Prepare = Callable[[RequestDraft], None]


def prepared(
    prepare: Prepare, model: str, options: RequestOptions, content: bytes
) -> tuple[RequestOptions, bytes]:
    """Ask the program for its last word on a request.

    Args:
        prepare: The program's function.
        model: Name of the model.
        options: The options, whose headers and query may be replaced.
        content: The body, which may be.

    Returns:
        The options and the body to send.

    Raises:
        TypeError: The function is async, or has put in what cannot be sent.
        ValueError: It has put in what cannot be sent.
    """
    body: dict[str, Any] = msgspec.json.decode(content)
    draft = RequestDraft(model, dict(options.headers), dict(options.query), body)
    not_awaitable(_NAME, partial(prepare, draft))
    if draft.body.get("stream") is not True:
        raise ValueError(
            f"{_NAME}: body['stream'] must stay True: the answer is read as a stream; collect() "
            "gives it whole"
        )
    check_json(draft.body, f"{_NAME}: body")
    checked = structure_options(
        {"extra_headers": draft.headers, "extra_query": draft.query}, parameter=_NAME
    )
    options = attrs.evolve(options, headers=checked.headers, query=checked.query)
    return options, encode_json(cast("object", draft.body))
