"""How long is waited for a server, and how often it is asked again: `APIConnectOptions`.

This module knows the clocks and the retries that a program can set. It does not know how they run.
"""

from __future__ import annotations

from typing import Final, cast

import attrs

from lktrio._checks import check_flag, check_instance, check_integer, check_seconds
from lktrio._definitions import Value, public

__all__ = [
    "DEFAULT_API_CONNECT_OPTIONS",
    "APIConnectOptions",
    "call_conn_options",
    "check_conn_options",
    "timeout_or",
]


def check_conn_options(value: object) -> APIConnectOptions:
    """Refuse ``conn_options`` that are none, and return them otherwise."""
    advice = "write: conn_options=APIConnectOptions(timeout=10.0)"
    check_instance("conn_options", value, APIConnectOptions, "an APIConnectOptions", advice)
    return cast("APIConnectOptions", value)


class _Default(float):
    """Seconds that nobody gave. As a value it is a number like any other, equal to one that was
    given, and `attrs.evolve` hands it on as it is."""

    __slots__ = ()


@public
@attrs.frozen(eq=False, repr=False)
class APIConnectOptions(Value):
    """How long to wait and how often to try again. All times are seconds.

    The clocks bound what a cancel scope around the call cannot see; for a deadline of the whole
    operation use `trio.fail_after` or `total_timeout`. A clock that runs out raises
    `APITimeoutError`, whose ``clock`` says which.

    Raises:
        TypeError: If a field has the wrong type (True is no number).
        ValueError: If a number is negative, NaN, or zero or infinite where that has no meaning.
    """

    max_retry: int = attrs.field(default=3)
    """How often a request is sent again after a failure that can pass, as long as nothing of
    the answer was delivered: 3 means four attempts at most. 0 turns retries off."""

    retry_interval: float = attrs.field(default=2.0)
    """Delay before the second retry and each later one, give or take some jitter; the first
    comes after 0.1 s. If the server asks for a longer delay (``Retry-After``), that is used."""

    max_retry_delay: float = attrs.field(default=30.0, kw_only=True)
    """The longest delay that is waited for. If a longer one would be needed, the error is raised
    at once instead. `math.inf` for no limit."""

    timeout: float = attrs.field(default=_Default(10.0), kw_only=True)
    """For connecting (TLS included); again for sending the request; then for the response's
    headers as a whole, and for each silence until the next byte (comments in the stream count as
    life). While the consumer is behind and nothing is read, it stands still. `math.inf` for no
    limit. If a call's options do not give it, a ``timeout`` of the call's ``extra_kwargs`` takes
    its place, then those of the `LLM`, likewise."""

    first_output_timeout: float | None = attrs.field(default=None, kw_only=True)
    """From the start of an attempt to its first text, refusal or piece of a tool call. None for
    no limit."""

    total_timeout: float | None = attrs.field(default=None, kw_only=True)
    """From entering the stream to its end, all attempts, delays and the consumer's own time
    included. None for no limit."""

    reasoning_is_output: bool = attrs.field(default=False, kw_only=True)
    """Whether reasoning counts as output: it then satisfies `first_output_timeout`, and once it
    was delivered the request is not sent again."""

    def __attrs_post_init__(self) -> None:
        """Check the fields."""
        check_integer("max_retry", self.max_retry, least=0)
        check_seconds("retry_interval", self.retry_interval, zero=True, infinite=False)
        check_seconds("max_retry_delay", self.max_retry_delay, zero=True)
        check_seconds("timeout", self.timeout)
        check_seconds("first_output_timeout", self.first_output_timeout, none="no limit")
        check_seconds("total_timeout", self.total_timeout, none="no limit")
        check_flag("reasoning_is_output", self.reasoning_is_output)


def timeout_or(options: APIConnectOptions, other: float | None) -> float:
    """The timeout of some options if they give one, and else another one if there is one.

    Ten seconds that were asked for are not the ten seconds that nobody asked for.
    """
    if other is None or not isinstance(options.timeout, _Default):
        return options.timeout
    return other


DEFAULT_API_CONNECT_OPTIONS: Final = APIConnectOptions()
"""What holds if nobody gives ``conn_options``. Given to a call, it says nothing: those of the `LLM`
hold, if it has any."""


def call_conn_options(
    call: object,
    instance: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
    *,
    call_timeout: float | None = None,
    instance_timeout: float | None = None,
) -> APIConnectOptions:
    """The options of one call to a model that has options of its own.

    Args:
        call: ``conn_options`` of the call. `DEFAULT_API_CONNECT_OPTIONS` itself gives nothing.
        instance: Those of the model.
        call_timeout: ``timeout`` among the call's ``extra_kwargs``.
        instance_timeout: ``timeout`` among the model's ``extra_kwargs``.

    Returns:
        The call's options if it gives any, else the model's, with the first ``timeout`` that
        anybody gave, the call first.

    Raises:
        TypeError: The call's are no options.
    """
    given = check_conn_options(call)
    options = instance if given is DEFAULT_API_CONNECT_OPTIONS else given
    timeout = timeout_or(given, call_timeout)
    if isinstance(timeout, _Default):
        timeout = timeout_or(instance, instance_timeout)
    return options if timeout is options.timeout else attrs.evolve(options, timeout=timeout)
