"""What was used: counted by model, and bounded."""

from __future__ import annotations

from .collector import *
from .limit import *
from .report import *
