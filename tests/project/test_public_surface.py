"""What a program can see of the package is what was recorded, so that a change is meant."""

from __future__ import annotations

import difflib
import functools
import textwrap
from pathlib import Path

import pytest

from tests.support import public_surface
from tests.support.public_surface import COMMAND, RECORD, surface


@functools.cache
def now() -> str:
    return surface()


def test_nothing_public_has_changed_unnoticed() -> None:
    recorded = RECORD.read_text(encoding="utf-8").splitlines()
    difference = difflib.unified_diff(recorded, now().splitlines(), "recorded", "now", n=1)

    assert "\n".join(difference) == "", f"if this is meant: {COMMAND}, and a line in CHANGELOG.md"


@pytest.mark.parametrize(
    "shown",
    [
        # A name, a field, an argument and a type that is gone would be a line that is gone.
        "Clock = Literal['connect', 'write', 'idle', 'first_output', 'total']",
        "DEFAULT_MAX_ROUNDS: int = 10",
        "DEFAULT_MODEL_TABLE: ModelTable",
        "def is_given(value: NotGivenOr[T]) -> TypeGuard[T]",
        """
        class ToolError(Exception)
            message: str
            def __init__(self, message: str) -> None
        """,
        # Made by its fields; the method is its own.
        """
        class ChatChunk(msgspec.Struct)
            ChatChunk(id='', delta=None, usage=None, finish_reason=None, restart=False, *, raw_json=None)
            id: str
            delta: ChoiceDelta | None
            usage: CompletionUsage | None
            finish_reason: str | None
            restart: bool
            property raw: dict[str, Any] | None
            def has_response(self) -> bool
        """,
        # What a private base brings is the class's own; a property is told from a method.
        """
        class UnknownContent(attrs)
            UnknownContent(*, unknown_members=..., type)
            type: UnknownType
            unknown_members: dict[str, Any]
        """,
        """
        class APITimeoutError(APIConnectionError)
            clock: Clock
            def __init__(
                self,
                message: str,
                *,
                clock: Clock,
                retryable: bool = True,
                request_id: str | None = None,
            ) -> None
        """,
        "    abstractmethod property provider: str",
        "    classmethod def from_model_string(cls, model: LLMModels | str) -> LLM",
        "    async def aclose(self) -> None",
        # Overloads take the place of the function that they describe.
        ") -> FunctionTool[Concatenate[Any, P], R]",
    ],
)
def test_what_is_recorded_can_be_read(shown: str) -> None:
    assert textwrap.dedent(shown).strip() in now()


def test_every_public_module_is_there_and_nothing_private() -> None:
    found = now()

    assert public_surface.packages() == [
        line.strip("[]") for line in found.splitlines() if line.startswith("[")
    ]
    assert {"lktrio", "lktrio.opentelemetry", "lktrio.testing"} <= set(public_surface.packages())
    assert "lktrio._" not in found
    assert "\nclass _" not in found
    assert "\n    def _repr" not in found


def test_it_is_rewritten_by_one_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "public_surface.txt"
    monkeypatch.setattr(public_surface, "RECORD", record)

    public_surface.main(["--write"])
    public_surface.main([])

    assert record.read_text(encoding="utf-8") == capsys.readouterr().out == now()
    with pytest.raises(SystemExit, match="--write"):
        public_surface.main(["--wirte"])
