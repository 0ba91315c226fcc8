"""``make install`` by uv where it can, else by pip, from the same constraints."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT

PIP = "pip install --quiet --disable-pip-version-check -c constraints.txt "
UV = "uv pip install --quiet --compile-bytecode --python .venv/bin/python "
UV += "-c constraints.txt -e .[dev]"


def executable(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


class Checkout:
    """The Makefile in a folder of its own, with a Python, a pip and a uv that only note calls."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.index = folder, ""
        for name in ("Makefile", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, folder)
        (folder / "path").mkdir()
        for tool in ("mkdir", "cp", "sed", "tail", "touch", "sh", "cat"):
            (folder / "path" / tool).symlink_to(shutil.which(tool) or tool)
        self.note = f'echo "${{0##*/}} $*" >> {folder}/calls'
        python = (
            f'if [ "$1" = -c ]; then exec {sys.executable} "$@"; fi\n'
            f'mkdir -p "$3/bin"; cp {folder}/pip "$3/bin/pip"'
        )
        executable(folder / "python", python)

    def uv(self, where: str, then: str) -> None:
        text = f'echo "uv $* index=$UV_DEFAULT_INDEX" >> {self.folder}/calls\n{then}'
        executable(self.folder / where, text)

    def install(self, pip: str) -> tuple[list[str], subprocess.CompletedProcess[str]]:
        show = f'if [ "$1" = config ]; then echo "{self.index}"; exit 0; fi'
        executable(self.folder / "pip", f"{show}\n{self.note}\n{pip}")
        make = shutil.which("make") or "make"
        done = subprocess.run(
            [make, "install", f"PYTHON={self.folder}/python"],
            cwd=self.folder,
            env={"PATH": str(self.folder / "path"), "HOME": os.environ.get("HOME", "")},
            capture_output=True,
            text=True,
        )
        return (self.folder / "calls").read_text().splitlines(), done


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_uv_installs_where_it_is_found(checkout):
    checkout.uv("path/uv", "exit 0")
    calls, done = checkout.install("exit 1")
    assert (done.returncode, calls) == (0, [f"{UV} index="])
    assert (checkout.folder / ".venv" / "bin" / ".installed").exists()


def test_pip_brings_it_where_there_is_none(checkout):
    checkout.uv("brought", "exit 0")
    calls, done = checkout.install(f"cp {checkout.folder}/brought .venv/bin/uv")
    assert (done.returncode, calls) == (0, [f"{PIP}uv", f"{UV} index="])


@pytest.mark.parametrize("there", [True, False])
def test_pip_goes_on_where_uv_cannot(checkout, there):
    if there:
        checkout.uv("path/uv", "exit 2")
    calls, done = checkout.install('case "$*" in *uv) echo no uv >&2; exit 1;; esac')
    first = f"{UV} index=" if there else f"{PIP}uv"
    assert (done.returncode, calls) == (0, [first, f"{PIP}-e .[dev]"])
    assert "pip goes on" in done.stdout
    assert "no uv" not in done.stderr


def test_where_neither_can_nothing_is_taken_for_installed(checkout):
    checkout.uv("path/uv", "exit 2")
    _, done = checkout.install("exit 1")
    assert done.returncode != 0
    assert not (checkout.folder / ".venv" / "bin" / ".installed").exists()


def test_uv_takes_packages_from_where_pip_does(checkout):
    checkout.uv("path/uv", "exit 0")
    checkout.index = "global.extra-index-url='file:///more'\nglobal.index-url='https://own/simple'"
    calls, _ = checkout.install("exit 1")
    assert calls == [f"{UV} index=https://own/simple"]
