"""Functions as tools, and what their calls come to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lktrio._definitions import lazily

from .info import *
from .provider import *
from .results import *
from .tool import *
from .toolset import *
from .values import *

if TYPE_CHECKING:
    from .answers import *
    from .calls import *

__getattr__ = lazily(
    __name__,
    {
        "answers": "answer_items",
        "calls": "Call read_call",
    },
)
