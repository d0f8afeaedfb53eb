from __future__ import annotations

import pytest

from lktrio._schemas.docstrings import read_docstring

GOOGLE = """Look up the weather.

More about it.

Args:
    city: Name of the city,
        in English.
    *rest: More cities.
    days (int, optional): How many: at most 5.

Returns:
    A sentence.
"""

NUMPY = """Look up the weather.

Parameters
----------
city : str
    Name of the city.
days : int, optional
    How many.

Returns
-------
str
    A sentence.
"""

REST = """Look up the weather.

:param city: Name of the city.
:param int days: How many.
:returns: A sentence.
"""

EPYDOC = """Look up the weather.

@param city: Name of the city.
@param days: How many.
@return: A sentence.
"""


@pytest.mark.parametrize("docstring", [NUMPY, REST, EPYDOC], ids=["NumPy", "reST", "epydoc"])
def test_the_style_is_found_out(docstring: str) -> None:
    read = read_docstring(docstring)

    assert read.description == "Look up the weather."
    assert read.parameters == {"city": "Name of the city.", "days": "How many."}


def test_google_style_keeps_colons_and_lines() -> None:
    read = read_docstring(GOOGLE)

    assert read.description == "Look up the weather.\n\nMore about it."
    assert read.parameters == {
        "city": "Name of the city,\nin English.",
        "rest": "More cities.",
        "days": "How many: at most 5.",
    }


@pytest.mark.parametrize(
    "docstring",
    [
        "Say hello.",
        "Say :smile: to @bob.\n\n:foo: bar",
        "Say hello.\n\nArgs:\nname: not indented",
        "Say hello.\n\nTitle\n-----\ntext",
        "Say hello.\n\nNote:\n    Loudly.",
    ],
    ids=repr,
)
def test_a_docstring_without_parameters_is_all_description(docstring: str) -> None:
    assert read_docstring(docstring).description == docstring
    assert read_docstring(docstring).parameters == {}


@pytest.mark.parametrize("docstring", [None, "", " \n "], ids=repr)
def test_no_docstring_says_nothing(docstring: str | None) -> None:
    assert read_docstring(docstring).description == ""


def test_a_docstring_of_parameters_has_no_description() -> None:
    read = read_docstring("Args:\n    city: The city.\n    days:")

    assert read.description == ""
    assert read.parameters == {"city": "The city."}
