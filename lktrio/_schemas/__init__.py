"""Python types and JSON: schemas, the strict dialect, the converter, formats of answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lktrio._definitions import lazily

from .response_format import *

if TYPE_CHECKING:
    from .converter import *
    from .declared import *
    from .descriptions import *
    from .docstrings import *
    from .introspection import *
    from .json_schema import *
    from .shapes import *
    from .strict import *
    from .subschemas import *
    from .type_hints import *

__getattr__ = lazily(
    __name__,
    {
        "converter": "Converter make_converter",
        "declared": "read_specifier",
        "descriptions": "Missing Unfit Unknown describe is_wrong_type",
        "docstrings": "read_docstring",
        "introspection": "Types",
        "json_schema": "object_schema",
        "shapes": "Field",
        "strict": "UnsupportedSchema strict_schema",
        "subschemas": "JSONSchema",
        "type_hints": "UnresolvedAnnotation UnsupportedType type_parameters",
    },
)
