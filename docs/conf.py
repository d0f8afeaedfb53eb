"""How Sphinx builds the documentation: ``nox -s docs``.

The build needs no network. With ``LKTRIO_DOCS_LINKS=1`` it looks up where the documentation of
Python and Trio describes what ours names, and links there.
"""

from __future__ import annotations

import builtins
import importlib
import inspect
import os
import pkgutil
import re
import sys
from pathlib import Path
from typing import Any

import attrs
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext.napoleon import Config, GoogleDocstring
from sphinx.pycode import ModuleAnalyzer
from sphinx.transforms.post_transforms import SphinxPostTransform

import lktrio

sys.path.insert(0, str(Path(__file__).parent))
import defining

defining.put_back()

project = "lktrio"
author = "The lktrio authors"
copyright = "The lktrio authors"  # noqa: A001 - Sphinx's name
version = release = lktrio.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"lktrio {release}"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["lktrio.css"]

# So that a page may link to a heading of another one.
myst_heading_anchors = 3

# Docstrings spell a name in single backticks.
default_role = "py:obj"
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
# A name that nothing describes is a warning, and a warning fails the build.
nitpicky = True
# What is described elsewhere, and type variables and aliases that signatures spell out.
nitpick_ignore_regex = [
    ("py:(class|obj)", r"(lktrio\.[\w.]+\.)?([PQRST]|[RT]_co)"),
    ("py:class", r"CacheBreakpoints|HTTPClient|lktrio\._\w+(\.\w+)?\.(_\w+|HTTPClient)"),
    (
        "py:class",
        r"lktrio\._\w+\.\w+\.(DecodedArguments|FunctionName|NamedTool|PredictionContent|ToolGroup)",
    ),
    ("py:.*", r"(_ssl|attrs|cattrs|httpx2?|mcp|mcp_types|opentelemetry|pytest)\..*"),
]
if os.environ.get("LKTRIO_DOCS_LINKS") == "1":
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "trio": ("https://trio.readthedocs.io/en/stable", None),
    }
else:
    nitpick_ignore_regex += [
        ("py:.*", r"(abc|collections|contextvars|math|os|pathlib|ssl|trio|typing)\..*|fnmatch"),
    ]


# --- docstrings ---------------------------------------------------------------------------------


def read_docstring(  # noqa: PLR0917 - Sphinx calls it
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Read a docstring in Google's style."""
    if what == "data":
        lines[:] = _docstring_of_data(name) or lines
    # Under a field, napoleon takes what precedes a colon for the field's type.
    kind = "" if what in {"attribute", "data", "property"} else what
    style = Config(napoleon_use_rtype=False)
    lines[:] = GoogleDocstring(lines, style, app, kind, name, obj, options).lines()


def read_signature(
    _app: Sphinx,
    _what: str,
    _name: str,
    obj: Any,
    _options: Any,
    text: str | None,
    returns: str | None,
) -> tuple[str | None, str | None]:
    """Spell the defaults of attrs as they were written, and the many models by one name."""
    text = re.sub(r"Literal\['openai/gpt-4o'.*?\]", "LLMModels", text or "")
    if isinstance(obj, type) and attrs.has(obj):
        defaults = {field.name: field.default for field in attrs.fields(obj)}
        default = re.compile(r"attr_dict\['(\w+)'\]\.default")
        text = default.sub(lambda found: repr(defaults[found[1]]), text)
        text = text.replace("= NOTHING", "= ...")
    # What msgspec shows of a default that is made anew for each.
    text = text.replace("= <factory>", "= ...")
    return text or None, returns


def _docstring_of_data(name: str) -> list[str]:
    """The docstring under an assignment, which stands in another module than the public one."""
    package, _, variable = name.rpartition(".")
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        found = ModuleAnalyzer.for_module(module.name).find_attr_docs()
        if ("", variable) in found:
            return found["", variable]
    return []


_PACKAGES = defining.PACKAGES


# --- references ---------------------------------------------------------------------------------


def find_elsewhere(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, text: nodes.TextElement
) -> nodes.reference | None:
    """Find a name that is described under another one: a class by its private module, a member
    by the class that inherits it."""
    domain = env.domains.python_domain
    if node.get("refdomain") != "py":
        return None
    target: str = node["reftarget"]
    for candidate in _other_names(target, node.get("py:class")):
        for found, entry in domain.find_obj(env, None, None, candidate, None, 0):
            reference = nodes.reference("", "", text, internal=True, reftitle=found)
            uri = app.builder.get_relative_uri(node["refdoc"], entry.docname)
            reference["refuri"] = f"{uri}#{entry.node_id}"
            return reference
    return None


def _other_names(target: str, in_class: str | None) -> list[str]:
    owner, _, member = target.rpartition(".")
    if "._" in owner:
        package = owner.partition("._")[0]
        return [f"{package}.{member}"]
    names = [f"{package}.{target}" for package in _PACKAGES]
    for package in _PACKAGES:
        place = importlib.import_module(package)
        cls = getattr(place, owner or (in_class or "").rpartition(".")[2], None)
        if isinstance(cls, type):
            names += [f"{package}.{base.__name__}.{member}" for base in cls.__mro__]
    return names


# What the pages call an object of a class.
_VARIABLES = {
    "attempt": ["Attempt"],
    "delta": ["ChoiceDelta"],
    "error": ["APIError", "APIStatusError", "APITimeoutError"],
    "stream": ["LLMStream"],
    "turn": ["Turn"],
}


def _target(text: str, page: str) -> str | None:
    """The full name of what a literal in a page's text names, if that is public."""
    name = re.sub(r"\(.*\)$", "", text)
    if not re.fullmatch(r"\w+(\.\w+)?", name):
        return None
    owner, _, member = name.partition(".")
    if owner in _VARIABLES and member and not page.startswith("reference/"):
        classes = _VARIABLES[owner]
        known = [cls for cls in classes if _has(getattr(lktrio, cls), member)]
        # An unknown member is not found either, and so fails the build.
        return f"lktrio.{(known or classes)[0]}.{member}"
    for package in _PACKAGES:
        if owner in importlib.import_module(package).__all__ and not owner.islower():
            return f"{package}.{name}"
    return f"lktrio.{name}" if owner in lktrio.__all__ else None


def _has(cls: type, member: str) -> bool:
    return any(member in {**vars(base), **inspect.get_annotations(base)} for base in cls.__mro__)


class Names(SphinxPostTransform):
    """Links a public name in a page's text to its description."""

    default_priority = 5

    def run(self, **kwargs: Any) -> None:  # noqa: ARG002 - Sphinx calls it
        """Put references in place of the literals that are public names."""
        for literal in list(self.document.findall(nodes.literal)):
            target = _target(literal.astext(), self.env.docname)
            if target is not None and not isinstance(
                literal.parent, nodes.reference | addnodes.pending_xref
            ):
                reference = addnodes.pending_xref(
                    "",
                    literal.deepcopy(),
                    refdomain="py",
                    reftype="obj",
                    reftarget=target,
                    refdoc=self.env.docname,
                )
                literal.replace_self(reference)
        for reference in self.document.findall(addnodes.pending_xref):
            # Fields are called `type` here, too.
            if reference.get("reftarget") in vars(builtins):
                reference.attributes.pop("refspecific", None)


def setup(app: Sphinx) -> None:
    """Take part in the build."""
    app.connect("autodoc-process-docstring", read_docstring)
    app.connect("autodoc-process-signature", read_signature)
    app.connect("missing-reference", find_elsewhere)
    app.add_post_transform(Names)
