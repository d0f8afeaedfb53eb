"""Several models behind one."""

from __future__ import annotations

from .availability import *
from .fallback import *
from .hedge import *
