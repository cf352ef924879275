"""Whether the hot modules run compiled or interpreted."""

from __future__ import annotations

from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec


def build_kind() -> str:
    """``compiled`` where mypyc's extension modules were found, else ``pure``: the same program, several times slower."""
    spec = find_spec("analyzer.model")
    origin = spec.origin if spec is not None else None
    return "compiled" if origin is not None and origin.endswith(tuple(EXTENSION_SUFFIXES)) else "pure"
