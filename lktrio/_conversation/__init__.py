"""What is said: items, the context they stand in, how it is saved, and how it is sent."""

from __future__ import annotations

from .context import *
from .items import *
from .kept import *
from .messages import *
from .parts import *
