"""The exceptions: what they tell, which of them can pass, and that they travel whole."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest

from lktrio._answers.chunks import CollectedResponse, FunctionToolCall
from lktrio._answers.errors import (
    UNKNOWN_STATUS,
    APIConnectionError,
    APIError,
    APIRefusalError,
    APIResponseFormatError,
    APIStatusError,
    APITimeoutError,
    is_retryable_status,
)
from lktrio._answers.info import Attempt, Quota, QuotaUsage

RETRYABLE = [408, 409, 425, 429, 499, *range(500, 600), UNKNOWN_STATUS]


def test_exactly_these_statuses_can_pass() -> None:
    assert [status for status in range(100, 1000) if is_retryable_status(status)] == sorted(
        set(RETRYABLE) - {UNKNOWN_STATUS}
    )
    assert is_retryable_status(UNKNOWN_STATUS)


def test_the_tree_is_as_it_is_drawn() -> None:
    assert APIError.__bases__ == (Exception,)
    assert APIStatusError.__bases__ == APIConnectionError.__bases__ == (APIError,)
    assert APITimeoutError.__bases__ == (APIConnectionError,)
    assert APIResponseFormatError.__bases__ == APIRefusalError.__bases__ == (APIError,)


def test_an_error_knows_nothing_that_it_was_not_told() -> None:
    error = APIError("failed")
    assert (error.message, error.body, error.retryable, error.request_id) == (
        "failed",
        None,
        True,
        None,
    )
    assert error.partial == CollectedResponse()
    assert error.attempts == ()
    assert error.other_errors == ()
    assert error.args == ("failed",)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"error": {"message": "no", "code": "insufficient_quota"}}, "insufficient_quota"),
        ({"code": "model_not_found", "message": "no"}, "model_not_found"),
        ({"error": {"code": None}, "code": "outer"}, "outer"),
        ({"error": "no", "code": 429}, None),
        ({"error": {"code": 429}}, None),
        ([{"code": "x"}], None),
        ("<html>", None),
        (None, None),
    ],
)
def test_the_server_s_word_for_it_is_found_where_it_stands(body: object, code: str | None) -> None:
    assert APIError("no", body=body).code == code


def test_a_connection_error_can_pass_unless_it_is_said_otherwise() -> None:
    assert APIConnectionError("lost").retryable
    assert not APIConnectionError("not a stream", retryable=False).retryable


@pytest.mark.parametrize("status", [200, 301, 400, 401, 403, 404, 422, *RETRYABLE])
def test_whether_a_status_error_can_pass_follows_from_its_status(status: int) -> None:
    assert APIStatusError("x", status_code=status).retryable is (status in RETRYABLE)
    assert APIStatusError("x", status_code=status, retryable=True).retryable
    assert not APIStatusError("x", status_code=status, retryable=False).retryable


def test_a_status_error_without_a_status_is_unknown() -> None:
    error = APIStatusError("x")
    assert error.status_code == UNKNOWN_STATUS == -1
    assert (error.retry_after, error.quota) == (None, None)


def test_a_timeout_names_its_clock() -> None:
    assert APITimeoutError("late", clock="first_output").clock == "first_output"
    with pytest.raises(TypeError, match="clock"):
        APITimeoutError("late")  # type: ignore[call-arg]


def test_a_refusal_tells_what_the_model_said_and_cannot_pass() -> None:
    error = APIRefusalError("no")
    assert (error.refusal, error.body, error.retryable) == ("no", "no", False)
    assert "no" in str(error)


def test_an_answer_of_the_wrong_shape_is_told_with_reasons_and_cannot_pass() -> None:
    error = APIResponseFormatError("does not fit", text="{}", reasons=("city is missing",))
    assert (error.text, error.body, error.reasons) == ("{}", "{}", ("city is missing",))
    assert not error.retryable


@pytest.mark.parametrize(
    ("error", "text", "shown"),
    [
        (APIError("m"), "m", "APIError('m', retryable=True)"),
        (
            APIConnectionError("m", request_id="req_9", retryable=False),
            "m (request id req_9)",
            "APIConnectionError('m', retryable=False, request_id='req_9')",
        ),
        (APIStatusError("m"), "m", "APIStatusError('m', status_code=-1, retryable=True)"),
        (
            APIStatusError("m", status_code=429, request_id="req_9"),
            "m (status 429, request id req_9)",
            "APIStatusError('m', status_code=429, retryable=True, request_id='req_9')",
        ),
        (
            APITimeoutError("m", clock="idle"),
            "m",
            "APITimeoutError('m', clock='idle', retryable=True)",
        ),
    ],
    ids=["plain", "request id", "no status", "status", "clock"],
)
def test_an_error_shows_what_is_known(error: APIError, text: str, shown: str) -> None:
    assert str(error) == text
    assert repr(error) == shown


def test_neither_form_shows_the_body() -> None:
    error = APIStatusError("m", status_code=400, body={"private": "content"})
    assert "private" not in str(error) + repr(error)


@pytest.mark.parametrize(
    "travel", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy]
)
@pytest.mark.parametrize(
    "error",
    [
        APIError("m", body=["b"], retryable=False, request_id="req_9"),
        APIConnectionError("m"),
        APIStatusError("m", status_code=429, retry_after=7.0, quota=Quota(rpm=QuotaUsage(60, 1))),
        APITimeoutError("m", clock="connect", retryable=False),
        APIResponseFormatError("m", text="t", reasons=("r",)),
        APIRefusalError("no"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_travels_whole(error: APIError, travel: Callable[[APIError], APIError]) -> None:
    error.partial = CollectedResponse(text="Hi", tool_calls=[FunctionToolCall("f", "{}", "a")])
    error.attempts = (Attempt(1, 0.0, error="lost"),)
    error.message = "changed"
    error.args = ("changed",)
    arrived = travel(error)
    assert type(arrived) is type(error)
    assert arrived is not error
    assert vars(arrived) == vars(error)
    assert arrived.args == ("changed",)
    assert (str(arrived), repr(arrived)) == (str(error), repr(error))
