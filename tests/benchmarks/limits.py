"""What a process of a benchmark stands on: where it runs, open files, memory.

This module alone knows where an operating system keeps these.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
"""Where ``tests`` is a package: the working directory of every process of a benchmark."""

_STATM: Final = Path("/proc/self/statm")


def raise_file_limit() -> int | None:
    """Let this process open as many files as it is allowed to.

    Returns:
        How many that is; None where the limit is not known.
    """
    if sys.platform == "win32":
        return None
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # A hard limit of "none" is more than some kernels grant.
        wanted = 65_536 if hard == resource.RLIM_INFINITY else hard
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return None if soft == resource.RLIM_INFINITY else soft


def resident_bytes() -> int | None:
    """Memory of this process that is in RAM; None where it cannot be read.

    The peak, which is known on more systems, does not tell what a stream takes.
    """
    if sys.platform == "win32" or not _STATM.exists():
        return None
    import resource

    return int(_STATM.read_text(encoding="ascii").split()[1]) * resource.getpagesize()
