"""A request as a stream: lifetime, clocks, attempts, and the `LLM` that makes them."""

from __future__ import annotations

from .chat_model import *
from .connections import *
from .draft import *
from .llm import *
from .on_trio import *
from .rate_limit import *
from .source import *
from .stream import *
from .task_stream import *
