"""What a program sets: options, facts about models, credentials, the policy of retries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lktrio._definitions import lazily

from .connect_options import *
from .credentials import *
from .models import *
from .options import *
from .origins import *
from .request_options import *
from .retry import *
from .secret import *

if TYPE_CHECKING:
    from .rate import *

__getattr__ = lazily(
    __name__,
    {
        "rate": "MINUTE Rate Share",
    },
)
