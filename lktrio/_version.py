"""The version of this library, and nothing else.

Equal to the static version in ``pyproject.toml``; a test compares the two.
"""

from __future__ import annotations

from typing import Final

__version__: Final = "0.1.0"
