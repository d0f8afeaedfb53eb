"""JSON itself: what a value is, text that is cut off or still arriving, and what is wrong."""

from __future__ import annotations

from .arguments import *
from .clean import *
from .mismatch import *
from .partial import *
from .text import *
from .values import *
