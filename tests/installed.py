"""The package as a user without a checkout has it: its wheel, in an environment of its own.

The wheel is built by setuptools without isolation, and installed without its dependencies, which
the environment takes from the one that runs the tests: no network, and no second torch.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from importlib.util import find_spec
from pathlib import Path

from support import ROOT

from bn_repro.config.fields import variable_of
from bn_repro.config.schema import FROM_ENVIRONMENT

PARTS = ("bn_repro", "hydra_plugins", "configs")
FILES = ("pyproject.toml", "README.md", "LICENSE")
UNSET = ("PYTHONPATH", "VIRTUAL_ENV", "BN_REPRO_COMMIT", *map(variable_of, FROM_ENVIRONMENT))


class Installed:
    """An environment with the wheel alone: :meth:`call` runs ``bn-repro`` in a folder."""

    def __init__(self, folder: Path) -> None:
        """That under ``folder``, which :func:`install` made."""
        self.python = folder / "environment" / "bin" / "python"
        self.program = self.python.with_name("bn-repro")
        (self.wheel,) = folder.glob("*.whl")

    def call(self, *words: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
        """``bn-repro <words>``; its exit code is the caller's to look at."""
        return self.run(str(self.program), *words, cwd=cwd, **env)

    def said(self, *words: str, cwd: Path, **env: str) -> str:
        """What ``bn-repro <words>`` prints where it is to go well."""
        done = self.call(*words, cwd=cwd, **env)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout

    def evaluate(self, code: str, cwd: Path) -> str:
        """What a few lines of Python print in its environment."""
        done = self.run(str(self.python), "-c", code, cwd=cwd)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run(self, *words: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
        """Any command, without what would lead back to the checkout."""
        clean = {key: value for key, value in os.environ.items() if key not in UNSET}
        clean |= {"WANDB_MODE": "disabled", **env}
        return subprocess.run(
            words, cwd=cwd, env=clean, capture_output=True, text=True, timeout=300, check=False
        )


def install(folder: Path) -> None:
    """Build the wheel in ``folder``, and install it in a new environment there."""
    source = folder / "source"
    ignored = shutil.ignore_patterns("__pycache__")
    for part in PARTS:
        shutil.copytree(ROOT / part, source / part, ignore=ignored)
    for table in (*ROOT.glob("results/*/runs.csv"), *ROOT.glob("results/*/claims.json")):
        copy = source / table.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(table, copy)
    for name in FILES:
        shutil.copy(ROOT / name, source)
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(folder)!r})"
    _succeed(sys.executable, "-c", build, cwd=source)
    shutil.rmtree(source)
    environment = folder / "environment"
    venv.create(environment, symlinks=True)
    python = str(environment / "bin" / "python")
    (wheel,) = map(str, folder.glob("*.whl"))
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-index"]
    uv = ["uv", "pip", "install", "--python", python, "--offline"]
    _succeed(*(pip if find_spec("pip") else uv), "--quiet", "--no-deps", wheel, cwd=folder)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    shared = environment / "lib" / version / "site-packages" / "shared.pth"
    shared.write_text("\n".join(_site_packages()) + "\n")


def _site_packages() -> list[str]:
    """Where the packages of this environment are; a folder added by a file reads none of its own
    ``.pth`` files, so the checkout that is installed in place there stays out of reach."""
    purelib = sysconfig.get_paths()["purelib"]
    named = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    return list(dict.fromkeys([purelib, *named]))


def _succeed(*words: str, cwd: Path) -> None:
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
