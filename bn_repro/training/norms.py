"""The norm that a configuration names: one of ``bn_repro.norm``, or the user's own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import cast

from bn_repro import norm
from bn_repro.config.network import NORMS, ModelConfig
from bn_repro.norm import Norm, Place


def norm_of(m: ModelConfig) -> Norm:
    """The Norm of ``model.norm``, with its epsilon and momentum, where ``model.norm_at`` has it.

    ``package.module:factory`` is looked for where Python looks for every module, then in the folder
    that the command was started in. ValueError, in one line, where it cannot be imported, and
    where ``factory(eps=..., momentum=...)`` gives no Norm.
    """
    if m.norm in NORMS:
        made = getattr(norm, m.norm)(eps=m.norm_eps, momentum=m.norm_momentum)
    else:
        made = _own(m)
    return made if m.norm_at == "before" else made.placed(cast(Place, m.norm_at))


def _own(m: ModelConfig) -> Norm:
    module, _, name = m.norm.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        factory = getattr(import_module(module), name)
    except Exception as error:  # of any kind: the module is the user's
        raise ValueError(
            f"model.norm: {m.norm} cannot be imported ({_one_line(error)}); it is looked for in "
            "this folder and on PYTHONPATH"
        ) from error
    try:
        made = factory(eps=m.norm_eps, momentum=m.norm_momentum)
    except Exception as error:
        raise ValueError(_no_factory(m.norm, _one_line(error))) from error
    if not isinstance(made, Norm):
        raise ValueError(_no_factory(m.norm, f"it gives {type(made).__name__}"))
    return made


@contextmanager
def norm_errors_in_one_line(m: ModelConfig) -> Iterator[None]:
    """Within, whatever a norm of the user's own raises is a ValueError of one line."""
    try:
        yield
    except Exception as error:
        if m.norm in NORMS:
            raise
        raise ValueError(f"model.norm: {m.norm} fails ({_one_line(error)})") from error


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _no_factory(path: str, why: str) -> str:
    return (
        f"model.norm: {path} is no factory of norms ({why}); it must take eps and momentum by name "
        "and return a bn_repro.norm.Norm"
    )
