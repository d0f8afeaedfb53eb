"""The faults of a server, as values: this module alone knows how each is played, and where.

A fault hits an answer in a phase: `play("mid text", "reset", PRIMARY)` is a server that breaks the
connection after the first piece of the text. What comes of it is no knowledge of this module; for
every fault in every phase it is stated in `tests/data/faults.md`.

An answer comes at a steady pace, its head after 0.1 s and each of its events 0.1 s after the one
before. A fault takes the place of the event that would be next.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import attrs

from lktrio import AudioOutput, CollectedResponse, CompletionUsage, FunctionToolCall
from tests.support.script import (
    DONE,
    EVENT_STREAM,
    LAST_CHUNK,
    AwaitRequest,
    Close,
    Connection,
    Exchange,
    Hold,
    Repeat,
    Reset,
    Send,
    Step,
    Wait,
    chunk,
    comment,
    delta,
    error,
    event,
    finish,
    head,
    reasoning_chunk,
    response,
    text_chunk,
    tool_call_chunk,
    usage,
)

PACE: Final = 0.1
"""Seconds between two events."""

# ---------------------------------------------------------------------------------------------
# Answers
# ---------------------------------------------------------------------------------------------


@attrs.frozen
class Answer:
    """What a model says: its role, a thought, two pieces of text, a tool call in two pieces."""

    reasoning: str
    text: tuple[str, ...]
    arguments: tuple[str, str]
    is_spoken: bool = False
    """Whether the text comes as speech."""

    @property
    def events(self) -> tuple[bytes, ...]:
        """The events, in their order."""
        first, rest = self.arguments
        return (
            delta(role="assistant", content=""),
            reasoning_chunk(self.reasoning),
            *map(speech_chunk if self.is_spoken else text_chunk, self.text),
            tool_call_chunk(first, id="call_a", name="get_weather"),
            tool_call_chunk(rest),
            finish("tool_calls"),
            usage(9, 12),
            DONE,
        )

    @property
    def calls(self) -> list[FunctionToolCall]:
        """The tool call, as it is handed out."""
        return [FunctionToolCall("get_weather", "".join(self.arguments), "call_a")]

    def whole(self, *, with_usage: bool = True) -> CollectedResponse[None]:
        """The answer, as it is collected."""
        counts = CompletionUsage(completion_tokens=12, prompt_tokens=9, total_tokens=21)
        text = "".join(self.text)
        return CollectedResponse(
            text="" if self.is_spoken else text,
            audio=AudioOutput(data=text.encode(), transcript=text) if self.is_spoken else None,
            reasoning=self.reasoning,
            tool_calls=self.calls,
            finish_reason="tool_calls",
            usage=counts if with_usage else None,
        )

    def without_text(self) -> Answer:
        """The same answer with the call alone."""
        return attrs.evolve(self, text=())

    def spoken(self) -> Answer:
        """The same answer as speech."""
        return attrs.evolve(self, is_spoken=True)


def speech_chunk(text: str) -> bytes:
    """A chunk of speech; the sound is the text."""
    return delta(audio={"transcript": text, "data": base64.b64encode(text.encode()).decode()})


PRIMARY: Final = Answer("Hm.", ("Whales ", "sing."), ('{"city": ', '"Nuuk"}'))
BACKUP: Final = Answer("Well.", ("Backups ", "speak."), ('{"city": ', '"Oslo"}'))

PHASES: Final[Mapping[str, int]] = {
    "after head": 0,
    "after role": 1,
    "after reasoning": 2,
    "mid text": 3,
    "mid speech": 3,
    "in a lone call": 3,
    "in a call": 5,
    "after finish": 7,
    "after a lone call": 5,
    "after done": 9,
}
"""The phases of a body, and how many events come before the fault."""


def answer_in(phase: str, answer: Answer) -> Answer:
    """What is said in a phase."""
    if phase == "mid speech":
        return answer.spoken()
    return answer.without_text() if phase.endswith("a lone call") else answer


# ---------------------------------------------------------------------------------------------
# How it is played
# ---------------------------------------------------------------------------------------------

STREAM_HEAD: Final = head(200, {**EVENT_STREAM, "Transfer-Encoding": "chunked"})


@attrs.frozen
class Pace:
    """What a server does between two events, and before a fault."""

    between: tuple[Step, ...] = (Wait(PACE),)
    before_fault: tuple[Step, ...] = (Wait(PACE),)


STEADY: Final = Pace()
AT_ONCE: Final = Pace((), ())


def paced(events: Sequence[bytes], pace: Pace) -> list[Step]:
    """HTTP chunks at a pace."""
    return [step for one in events for step in (*pace.between, Send(chunk(one)))]


def well(answer: Answer, pace: Pace = STEADY) -> Exchange:
    """An answer without a fault."""
    return Exchange(
        [*pace.between, Send(STREAM_HEAD), *paced(answer.events, pace), Send(LAST_CHUNK)]
    )


BodyFault: TypeAlias = Callable[[Answer, int, Pace], list[Step]]
"""The steps of a whole exchange with a fault after so many events."""


def _begun(answer: Answer, sent: int, pace: Pace) -> list[Step]:
    return [*pace.between, Send(STREAM_HEAD), *paced(answer.events[:sent], pace)]


def _then(*steps: Step) -> BodyFault:
    return lambda answer, sent, pace: [*_begun(answer, sent, pace), *pace.before_fault, *steps]


def _stall(answer: Answer, sent: int, pace: Pace) -> list[Step]:
    return [*_begun(answer, sent, pace), Hold()]


def _trickle(answer: Answer, sent: int, pace: Pace) -> list[Step]:
    """The next event comes with ten bytes one by one; the rest comes as it should."""
    following, *rest = answer.events[sent:]
    pieces = [*_single_bytes(following[:10]), following[10:]]
    slow = paced(pieces[:-1], pace)
    return [
        *_begun(answer, sent, pace),
        *slow,
        Send(chunk(pieces[-1])),
        *paced(rest, pace),
        Send(LAST_CHUNK),
    ]


def _single_bytes(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def _framed(length: Callable[[Answer, int], int | None], *, excess: bool = False) -> BodyFault:
    """A body that is not chunked; afterwards the server closes."""

    def steps(answer: Answer, sent: int, pace: Pace) -> list[Step]:
        announced = length(answer, sent)
        fields = {} if announced is None else {"Content-Length": str(announced)}
        plain = [step for one in answer.events[:sent] for step in (*pace.between, Send(one))]
        if excess and sent:
            # What is too much comes together with the last event that is not.
            plain[-1] = Send(answer.events[sent - 1] + b"".join(answer.events[sent:]))
        return [
            *pace.between,
            Send(head(200, {**EVENT_STREAM, **fields})),
            *plain,
            *(() if excess else pace.before_fault),
            Close(),
        ]

    return steps


def _in_band(status: int | None) -> bytes:
    code = {} if status is None else {"code": status}
    return chunk(event({"error": {"message": "scripted error", **code}}))


BODY_FAULTS: Final[Mapping[str, BodyFault]] = {
    "stall": _stall,
    "reset": _then(Reset()),
    "cut": _then(Close()),
    "clean end": _then(Send(LAST_CHUNK)),
    "end of an unframed body": _framed(lambda _answer, _sent: None),
    "length too long": _framed(lambda answer, _sent: len(b"".join(answer.events)) + 1000),
    "length too short": _framed(
        lambda answer, sent: len(b"".join(answer.events[:sent])), excess=True
    ),
    "bad chunk size": _then(Send(b"zz\r\n"), Hold()),
    "chunk without its end": _then(Send(b"5\r\ndata:data:data:"), Hold()),
    "comments for ever": lambda answer, sent, pace: [
        *_begun(answer, sent, pace),
        Repeat([Wait(1.0), Send(chunk(comment()))]),
    ],
    "endless event": lambda answer, sent, pace: [
        *_begun(answer, sent, pace),
        *pace.before_fault,
        Send(chunk(b'data: {"id": "')),
        Repeat([Wait(1.0), Send(chunk(b"x"))]),
    ],
    "trickle": _trickle,
    "HTML page": _then(Send(chunk(b"<html>Bad Gateway</html>\n") + LAST_CHUNK)),
    "no JSON": _then(Send(chunk(b'data: {"choices": [\n\n')), Hold()),
    "error 503 in the stream": _then(Send(_in_band(503)), Hold()),
    "error 400 in the stream": _then(Send(_in_band(400)), Hold()),
    "error in the stream": _then(Send(_in_band(None)), Hold()),
}


def _closes_in_the_handshake(last: Step) -> Connection:
    return Connection(on_accept=[last], tls_delay=PACE)


CONNECT_FAULTS: Final[Mapping[tuple[str, str], Callable[[Exchange], Connection]]] = {
    ("connecting", "refused"): lambda _: Connection(connect_error="refused"),
    ("connecting", "no such name"): lambda _: Connection(connect_error="no such name"),
    ("connecting", "stall"): lambda _: Connection(connect_delay=math.inf),
    ("connecting", "slow"): lambda answer: Connection([answer], connect_delay=1.0),
    ("TLS", "certificate not trusted"): lambda _: Connection(tls_error="certificate not trusted"),
    ("TLS", "stall"): lambda _: Connection(tls_delay=math.inf),
    ("TLS", "slow"): lambda answer: Connection([answer], tls_delay=1.0),
    ("TLS", "cut"): lambda _: _closes_in_the_handshake(Close()),
    ("TLS", "reset"): lambda _: _closes_in_the_handshake(Reset()),
}
"""Faults before a request is sent. (What is wrong with a certificate is seen over real TLS only.)"""

TUNNEL: Final = Exchange([Send(head(200, reason="Connection established"))])
"""A proxy's answer to CONNECT; what follows goes to the server, which in memory is the same."""


def _refused(*steps: Step) -> Callable[[Exchange], Connection]:
    return lambda _: Connection([Exchange([Wait(PACE), *steps])])


def _status(status: int) -> Step:
    return Send(head(status, {"Content-Length": "0"}))


PROXY_FAULTS: Final[Mapping[tuple[str, str], Callable[[Exchange], Connection]]] = {
    ("proxy", "stall"): lambda _: Connection([Exchange([Hold()])]),
    ("proxy", "slow"): lambda answer: Connection([TUNNEL.after(1.0), answer]),
    ("proxy", "cut"): _refused(Close()),
    ("proxy", "reset"): _refused(Reset()),
    ("proxy", "garbage"): _refused(Send(b"\x00\x01Whales\r\n\r\n"), Hold()),
    ("proxy", "drip"): lambda _: Connection(
        [Exchange([Send(head(200)[:-2] + b"Via: "), Repeat([Wait(0.5), Send(b"x")])])]
    ),
    ("proxy", "status 403"): _refused(_status(403), Close()),
    ("proxy", "status 407"): _refused(_status(407), Close()),
    ("proxy", "status 502"): _refused(_status(502), Close()),
}
"""Faults of the proxy on the way, which is asked for a tunnel."""

_HALF: Final = len(STREAM_HEAD) // 2
_HTML: Final = {"Content-Type": "text/html"}
_JSON: Final = {"Content-Type": "application/json"}


def _completed(answer: Answer, pace: Pace) -> list[Step]:
    return [*paced(answer.events, pace), Send(LAST_CHUNK)]


def _interim(status: int) -> Callable[[Answer, Pace], Exchange]:
    return lambda answer, pace: Exchange([Send(head(status)), *well(answer, pace).steps])


def _at(pace: Pace, *steps: Step) -> Exchange:
    return Exchange([*pace.before_fault, *steps])


def _json_body(**members: Any) -> bytes:
    return json.dumps(members).encode()


def _answered(exchange: Exchange) -> Callable[[Answer, Pace], Exchange]:
    return lambda _answer, pace: _at(pace, *exchange.steps)


def _silent(*steps: Step, reads: Any = "request") -> Callable[[Answer, Pace], Exchange]:
    return lambda _answer, pace: Exchange([*pace.before_fault, *steps], reads=reads)


def _mid_head(*steps: Step) -> Callable[[Answer, Pace], Exchange]:
    half = Send(STREAM_HEAD[:_HALF])
    return lambda _answer, pace: Exchange([*pace.between, half, *pace.before_fault, *steps])


def _trickling_head(answer: Answer, pace: Pace) -> Exchange:
    slow = [
        step
        for one in _single_bytes(STREAM_HEAD[_HALF : _HALF + 10])
        for step in (*pace.between, Send(one))
    ]
    rest = Send(STREAM_HEAD[_HALF + 10 :])
    return Exchange(
        [*pace.between, Send(STREAM_HEAD[:_HALF]), *slow, rest, *_completed(answer, pace)]
    )


_ELSEWHERE: Final = {"Location": "https://elsewhere.test/v1/chat/completions"}

HEAD_FAULTS: Final[Mapping[tuple[str, str], Callable[[Answer, Pace], Exchange]]] = {
    ("sending", "stall"): lambda *_: Exchange([Hold()], reads="nothing"),
    ("sending", "reset"): _silent(Reset(), reads="nothing"),
    ("sending", "cut"): _silent(Close(), reads="nothing"),
    ("sending", "status 503"): _silent(*error(503, close=True).steps, reads="head"),
    ("before head", "stall"): lambda *_: Exchange([Hold()]),
    ("before head", "reset"): _silent(Reset()),
    ("before head", "cut"): _silent(Close()),
    ("before head", "garbage"): _silent(Send(b"\x00\x01Whales\r\n\r\n"), Hold()),
    ("before head", "another protocol"): _silent(Send(b"SSH-2.0-OpenSSH_9.6\r\n"), Hold()),
    ("before head", "no head"): _silent(Send(b"<html>Whales</html>\r\n"), Close()),
    ("before head", "interim 100"): _interim(100),
    ("before head", "interim 103"): _interim(103),
    ("before head", "interim for ever"): _silent(Repeat([Send(head(103)), Wait(1.0)])),
    ("before head", "upgrade 101"): _silent(Send(head(101, {"Upgrade": "h2c"})), Hold()),
    ("before head", "status 429, Retry-After 3"): _answered(error(429, retry_after=3)),
    ("before head", "status 429, Retry-After 60"): _answered(error(429, retry_after=60)),
    ("before head", "status 503"): _answered(error(503)),
    ("before head", "status 503, body stalls"): _silent(
        Send(head(503, {"Content-Length": "1000"})), Hold()
    ),
    ("before head", "status 400"): _answered(error(400)),
    ("before head", "status 401"): _answered(error(401)),
    ("before head", "status 404"): _answered(error(404)),
    ("before head", "redirect to another origin"): _answered(response(307, b"", _ELSEWHERE)),
    ("before head", "HTML with 200"): _answered(response(200, b"<html>Log in</html>", _HTML)),
    ("before head", "JSON error with 200"): _answered(
        response(200, _json_body(error={"message": "scripted error"}), _JSON)
    ),
    ("before head", "JSON error 400 with 200"): _answered(
        response(200, _json_body(error={"message": "scripted error", "code": 400}), _JSON)
    ),
    ("before head", "other JSON with 200"): _answered(response(200, _json_body(hello=1), _JSON)),
    ("before head", "nothing with 200"): _answered(response(200, b"", EVENT_STREAM)),
    ("before head", "status 204"): _answered(response(204)),
    ("before head", "two lengths"): _answered(
        Exchange([Send(head(200, [("Content-Length", "5"), ("Content-Length", "6")]) + b"Whales")])
    ),
    ("before head", "length is no number"): _answered(
        Exchange([Send(head(200, {"Content-Length": "many"}) + b"Whales")])
    ),
    ("before head", "unknown transfer coding"): _answered(
        Exchange([Send(head(200, {"Transfer-Encoding": "whales"}) + b"Whales")])
    ),
    ("mid head", "stall"): lambda _, pace: Exchange(
        [*pace.between, Send(STREAM_HEAD[:_HALF]), Hold()]
    ),
    ("mid head", "reset"): _mid_head(Reset()),
    ("mid head", "cut"): _mid_head(Close()),
    ("mid head", "no header"): _mid_head(Send(b"\r\n\x00no colon\r\n\r\n"), Hold()),
    ("mid head", "endless head"): _mid_head(Repeat([Wait(0.5), Send(b"x")])),
    ("mid head", "huge head"): _mid_head(Send(b"x" * 200_000), Hold()),
    ("mid head", "trickle"): _trickling_head,
}
"""Faults before the body."""


def play(phase: str, fault: str, answer: Answer, pace: Pace = STEADY) -> Exchange | Connection:
    """What a server does when a fault hits its answer in a phase."""
    answer = answer_in(phase, answer)
    if (phase, fault) in CONNECT_FAULTS:
        return CONNECT_FAULTS[phase, fault](well(answer, pace))
    if (phase, fault) in PROXY_FAULTS:
        return PROXY_FAULTS[phase, fault](well(answer, pace))
    if (phase, fault) in HEAD_FAULTS:
        return HEAD_FAULTS[phase, fault](answer, pace)
    return Exchange(BODY_FAULTS[fault](answer, PHASES[phase], pace))


def _warm(*steps: Step) -> Callable[[Pace], Connection]:
    """A connection that answers once, and then has a fault."""
    return lambda _pace: Connection([well(WARM_UP, AT_ONCE).then(*steps)])


def _in_the_second(phase: str, fault: str) -> Callable[[Pace], Connection]:
    def connection(pace: Pace) -> Connection:
        exchange = play(phase, fault, PRIMARY, pace)
        assert isinstance(exchange, Exchange)
        # If the connection is kept even so, it serves a third request.
        return Connection([well(WARM_UP, AT_ONCE), exchange, well(PRIMARY, pace)])

    return connection


WARM_UP: Final = Answer("First.", ("Warm", "-up."), ('{"city": ', '"Rome"}'))

REUSED_FAULTS: Final[Mapping[str, Callable[[Pace], Connection]]] = {
    "closed while it was idle": _warm(Close()),
    "closed as the request comes": _warm(AwaitRequest(), Close()),
    "reset as the request comes": _warm(AwaitRequest(), Reset()),
    "cut before head": _in_the_second("before head", "cut"),
    "reset before head": _in_the_second("before head", "reset"),
    "cut mid head": _in_the_second("mid head", "cut"),
    "stall before head": _in_the_second("before head", "stall"),
    "status 503": _in_the_second("before head", "status 503"),
    "cut after reasoning": _in_the_second("after reasoning", "cut"),
    "cut mid text": _in_the_second("mid text", "cut"),
}
"""Faults of a connection that was used before."""


def places() -> list[tuple[str, str]]:
    """Every phase and fault that go together."""
    in_a_body = [
        (phase, fault)
        for phase in PHASES
        for fault in BODY_FAULTS
        # There is no next event that could trickle.
        if (phase, fault) != ("after done", "trickle")
    ]
    return [*CONNECT_FAULTS, *PROXY_FAULTS, *HEAD_FAULTS, *in_a_body]
