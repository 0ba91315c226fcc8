"""What tests share: one thread a process, and short runs of section 4.1's network."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from support import ROOT

torch.set_num_threads(1)


@pytest.fixture
def script() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``scripts/<name>`` as a user would, from the repository's root."""

    def call(name: str, *words: str, **options) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "scripts" / name), *words]
        env = os.environ | {"WANDB_MODE": "disabled"} | options.pop("env", {})
        return subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, env=env, timeout=120, **options
        )

    return call
