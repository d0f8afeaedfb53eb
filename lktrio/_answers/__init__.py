"""What comes back, as values: chunks, usage, attempts, errors, and what must not be seen."""

from __future__ import annotations

from .chunks import *
from .errors import *
from .info import *
from .redaction import *
