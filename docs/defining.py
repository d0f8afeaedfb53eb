"""Where public definitions stand: for tools that read their source.

A public class says that it stands in ``lktrio``, and the texts under its fields are in the module
that it was written in, where autodoc and `inspect.getsource` must look for them.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys

PACKAGES = ("lktrio", "lktrio.testing", "lktrio.opentelemetry", "lktrio.mcp")


def put_back() -> None:
    """Make every public class and function say in which module it was written."""
    public: set[int] = set()
    for package in PACKAGES:
        module = importlib.import_module(package)
        public.update(id(getattr(module, name)) for name in module.__all__)
    for name, module in sorted(sys.modules.items()):
        if name.partition(".")[0] == "lktrio":
            for node in ast.parse(inspect.getsource(module)).body:
                if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                    definition = getattr(module, node.name)
                    if id(definition) in public:
                        definition.__module__ = name
                        if isinstance(node, ast.ClassDef) and sys.version_info >= (3, 13):
                            # Python forgets where a class stands when its module is changed.
                            first = min(each.lineno for each in (node, *node.decorator_list))
                            definition.__firstlineno__ = first
