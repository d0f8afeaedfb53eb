"""Where the project's own files are."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Final

import lktrio

ROOT: Final = Path(__file__).resolve().parents[2]
"""The project."""

TESTS: Final = ROOT / "tests"
DATA: Final = TESTS / "data"
DOCS: Final = ROOT / "docs"
PACKAGE: Final = Path(inspect.getfile(lktrio)).parent
"""The package under test: the installed one, if it is installed."""
