"""How Sphinx builds the documentation: ``nox -s docs``.

The build needs no network. ``elsewhere.txt`` says where other projects describe what is named here.
"""

from __future__ import annotations

import builtins
import html
import importlib
import inspect
import pkgutil
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import attrs
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext.napoleon import Config, GoogleDocstring
from sphinx.pycode import ModuleAnalyzer
from sphinx.transforms import SphinxTransform
from sphinx.transforms.post_transforms import SphinxPostTransform

import lktrio

sys.path.insert(0, str(Path(__file__).parent))
import defining
import elsewhere

DOCS = Path(__file__).parent
defining.put_back()

project = "lktrio"
author = "The lktrio authors"
copyright = "The lktrio authors"  # noqa: A001 - Sphinx's name
version = release = lktrio.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
html_theme = "furo"
# In the theme's own, what is imported looks like a link.
pygments_dark_style = "github-dark"
html_title = f"lktrio {release}"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["lktrio.css"]
intersphinx_mapping = elsewhere.write_inventories(DOCS / "_build" / "elsewhere")
# What a program prints is not for copying.
copybutton_selector = "div:not(.highlight-output) > div.highlight > pre"
# A longer signature has a line for each parameter.
maximum_signature_line_length = 70

# So that a page may link to a heading of another one.
myst_heading_anchors = 3
# What a page links as `source:` and `issues:`.
_project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
_urls = {"Source": "https://example.invalid", "Issues": "https://example.invalid"}
_urls |= _project.get("urls", {})
myst_url_schemes = {
    **dict.fromkeys(("http", "https", "mailto")),
    **{name.lower(): {"url": url} for name, url in _urls.items()},
}

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
    ("py:.*", r"(_ssl|cattrs|httpx2|mcp|mcp_types|opentelemetry|pytest)\..*"),
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
    # What Sphinx takes for a type of the standard library, if it stands in an annotation.
    target = target.removeprefix("typing.")
    names = [f"{package}.{target}" for package in _PACKAGES]
    for package in _PACKAGES:
        place = importlib.import_module(package)
        cls = getattr(place, owner or (in_class or "").rpartition(".")[2], None)
        if isinstance(cls, type):
            names += [f"{package}.{base.__name__}.{member}" for base in cls.__mro__]
    return names


_ELSEWHERE = elsewhere.names()

# What the pages call an object of a class.
_VARIABLES = {
    "attempt": ["Attempt"],
    "delta": ["ChoiceDelta"],
    "error": ["APIError", "APIStatusError", "APITimeoutError"],
    "stream": ["LLMStream"],
    "turn": ["Turn"],
}


def _target(text: str, page: str) -> str | None:
    """The full name of what a literal in a page's text names, if that is described anywhere."""
    name = re.sub(r"\(.*\)$", "", text)
    if "." in name and name in _ELSEWHERE:
        return name
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
    """Links a name in a page's text to its description, here or elsewhere."""

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


# --- what is searched for -----------------------------------------------------------------------

# Words that people look for, by the page that is to be found first.
_SOUGHT = {
    "installation": "install pip",
    "howto/beyond-text": "audio pdf file logprobs citations",
    "howto/connections": "certificate tls pool keep-alive prewarm",
    "howto/conversations": "history memory messages reasoning thinking save",
    "howto/deadlines": "timeout deadline clock",
    "howto/failover": "fallback hedge failover",
    "howto/gateways": "azure litellm openrouter entra",
    "howto/images": "image vision picture",
    "howto/interrupt": "cancel interrupt stop abort break",
    "howto/limits": "cost usage tokens price rate concurrency budget quota",
    "howto/mcp": "mcp",
    "howto/migrating": "livekit-agents asyncio",
    "howto/migrating-openai": "openai-python asyncopenai",
    "howto/observing": "logging metrics instrument debug",
    "howto/opentelemetry": "opentelemetry tracing spans",
    "howto/options": "temperature seed options",
    "howto/proxies": "proxy socks",
    "howto/retries": "retry retries backoff retry-after",
    "howto/servers": "ollama vllm llama.cpp openai",
    "howto/structured": "structured json pydantic schema response_format",
    "howto/testing": "test testing mock pytest fake",
    "howto/tools": "tool tools function approval",
    "howto/troubleshooting": "error exception",
    "howto/web": "web sse starlette fastapi quart hypercorn",
    "performance": "benchmark speed memory",
    "tutorial": "stream streaming",
}


class Sought(SphinxTransform):
    """Puts the words that people look for into the index, which the search looks at first."""

    default_priority = 500

    def apply(self, **kwargs: Any) -> None:  # noqa: ARG002 - Sphinx calls it
        """Add the words of a page."""
        words = _SOUGHT.get(self.env.docname, "").split()
        for section in list(self.document.findall(nodes.section))[:1]:
            entries = [("single", word, section["ids"][0], "main", None) for word in words]
            section.insert(1, addnodes.index(entries=entries))


# --- pictures -----------------------------------------------------------------------------------


class Pictures(SphinxPostTransform):
    """Draws pictures within the page, where they have its colours, by day and by night."""

    default_priority = 5
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:  # noqa: ARG002 - Sphinx calls it
        """Put the pictures in place of the links to them."""
        for image in list(self.document.findall(nodes.image)):
            if image["uri"].endswith(".svg"):
                svg = (DOCS / image["uri"]).read_text(encoding="utf-8")
                told = html.escape(" ".join(image["alt"].split()))
                width = int(svg.partition('viewBox="0 0 ')[2].partition(" ")[0])
                # What is wide scrolls by itself, before it becomes too small to be read.
                style = f"min-width: {width * 0.8:.0f}px" if width > 400 else "min-width: 0"
                drawn = (
                    f'<span class="picture" role="img" aria-label="{told}" tabindex="0">'
                    f'<span style="{style}">{svg}</span></span>'
                )
                image.replace_self(nodes.raw("", drawn, format="html"))


def setup(app: Sphinx) -> None:
    """Take part in the build."""
    app.connect("autodoc-process-docstring", read_docstring)
    app.connect("autodoc-process-signature", read_signature)
    app.connect("missing-reference", find_elsewhere)
    app.add_transform(Sought)
    app.add_post_transform(Names)
    app.add_post_transform(Pictures)
