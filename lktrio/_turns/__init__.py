"""Tools in a nursery, round by round."""

from __future__ import annotations

from .approval import *
from .events import *
from .execution import *
from .turn import *
