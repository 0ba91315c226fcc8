"""One module per study: its figure, its claims, its findings."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType


def module_of(name: str) -> ModuleType:
    """The module of study ``name``; ``default`` where it has none of its own."""
    own = f"{__name__}.{name}"
    return importlib.import_module(own if importlib.util.find_spec(own) else f"{__name__}.default")
