"""The dialect without I/O: from bytes to chunks, and from settings to a body."""

from __future__ import annotations

from .assembler import *
from .beside import *
from .body import *
from .content_coding import *
from .headers import *
from .reasoning import *
from .request import *
from .server_errors import *
