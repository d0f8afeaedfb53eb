"""The fuzz targets for a moment, and the fuzzer on targets with a planted bug."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz import __main__ as command
from tests.fuzz import runner
from tests.fuzz.mutation import mutate
from tests.fuzz.runner import run_mutations
from tests.fuzz.targets import TARGETS, Target


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_break_no_target(name: str) -> None:
    target = TARGETS[name]
    assert target.seeds
    for seed in target.seeds:
        target.run(seed)


@pytest.mark.parametrize("name", TARGETS)
@given(number=st.integers(0, 2**32))
def test_no_change_of_a_seed_breaks_a_target(name: str, number: int) -> None:
    TARGETS[name].run(mutate(TARGETS[name].seeds, random.Random(number)))


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.binary(max_size=300))
def test_no_bytes_break_a_target(name: str, data: bytes) -> None:
    TARGETS[name].run(data)


# --- The fuzzer ----------------------------------------------------------------------------------


def needs_a_number(data: bytes) -> None:
    """A reader with a bug: it trusts that a status is a number."""
    if b'"status": null' in data:
        raise KeyError("status")


PLANTED = Target(needs_a_number, (b'data: {"a": [1, 2], "status": 200, "text": "hello"}\n\n',))


def test_a_planted_bug_is_found_and_its_input_is_small() -> None:
    report = run_mutations(PLANTED, seed=0, inputs=5_000)
    assert report.finding
    assert report.inputs < 5_000
    assert report.finding.data == b'"status": null'
    assert "KeyError: 'status'" in report.finding.problem


def test_the_same_seed_finds_the_same() -> None:
    report = run_mutations(PLANTED, seed=1, inputs=5_000)
    assert report.finding
    assert report == run_mutations(PLANTED, seed=1, inputs=5_000)


def test_without_a_finding_all_inputs_are_tried() -> None:
    tried: list[bytes] = []
    report = run_mutations(Target(tried.append, (b"[1]", b"[2]")), seed=0, inputs=300)
    assert (report.inputs, report.finding) == (300, None)
    assert tried[:2] == [b"[1]", b"[2]"]
    assert len(set(tried)) > 100


def test_another_bug_is_not_taken_for_the_same_while_shrinking() -> None:
    def two_bugs(data: bytes) -> None:
        if b"ab" in data:
            raise KeyError
        if b"b" in data:
            raise ValueError

    with pytest.raises(KeyError) as caught:
        two_bugs(b"xxabxx")
    assert runner.shrink(two_bugs, b"xxabxx", caught.value) == b"ab"


@pytest.mark.skipif(not hasattr(runner.signal, "setitimer"), reason="no such timers here")
def test_work_that_does_not_end_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_TOO_SLOW_SECONDS", 0.01)

    def endless(data: bytes) -> None:
        while True:
            pass

    report = run_mutations(Target(endless, (b"x",)), seed=0, inputs=1)
    assert report.finding
    assert "TooSlowError: one input took more than 0.01 seconds" in report.finding.problem


def test_a_finding_is_printed_as_a_literal_and_fails_the_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    targets = {"sound": Target(lambda data: None, (b"x",)), "planted": PLANTED}
    arguments = ["--engine", "mutation", "--seconds", "30", "planted"]
    assert command.main(arguments, targets) == 1
    printed = capsys.readouterr().out
    assert "engine: mutation of recordings" in printed
    assert "KeyError: 'status'" in printed
    assert """TARGETS['planted'].run(b'"status": null')""" in printed


def test_without_a_finding_the_command_succeeds_and_counts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    targets = {"sound": Target(lambda data: None, (b"x",))}
    assert command.main(["--engine", "mutation", "--seconds", "0.01"], targets) == 0
    name, inputs, findings = capsys.readouterr().out.splitlines()[-1].split()
    assert (name, findings) == ("sound", "0")
    assert int(inputs) > 0


def test_what_the_command_cannot_do_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit):
        command.main(["nothing"])
    assert (
        "no such target: nothing; there are http_response, events, answer,"
        in capsys.readouterr().err
    )
    monkeypatch.setattr(command, "has_atheris", lambda: False)
    with pytest.raises(SystemExit):
        command.main(["--engine", "atheris"])
    assert "atheris is not installed" in capsys.readouterr().err
