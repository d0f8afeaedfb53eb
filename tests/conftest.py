"""What every test runs under."""

from __future__ import annotations

import pytest


def pytest_make_parametrize_id(
    config: pytest.Config,
    val: object,
    argname: str,
) -> str | None:
    """Name a bare object the same in every process: its address differs."""
    return "an object" if type(val) is object else None
