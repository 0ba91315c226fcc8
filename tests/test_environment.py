"""An environment that ``make install`` made has what ``constraints.txt`` says, and no more."""

from __future__ import annotations

import platform
import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from support import ROOT

import bn_repro

LINES = (ROOT / "constraints.txt").read_text().splitlines()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
INSTALLER = "uv"
"""Pinned for ``make install``, which brings it where there is none; no package needs it."""
PINS: dict[str, str] = {
    canonicalize_name(name): version for name, version in (line.split("==") for line in LINES)
}


def reached(wanted: list[str]) -> dict[str, str]:
    """The installed version of all that these requirements need here, by name."""
    found: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    todo = [(Requirement(line), "") for line in wanted]
    while todo:
        requirement, extra = todo.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        for of in ("", *requirement.extras):
            if (name, of) not in seen:
                seen.add((name, of))
                package = distribution(name)
                found[name] = package.version
                todo += [(Requirement(line), of) for line in package.requires or ()]
    return found


def wrong(found: dict[str, str], whole: bool) -> list[str]:
    """What differs between what is there and the pins; unused ones only of a ``whole`` set, since
    each system needs some of its own. A version's build (2.15.0+cpu) is not looked at."""
    lines = []
    for name, version in found.items():
        if name not in PINS:
            lines.append(f"{name} {version} has no pin")
        elif version.partition("+")[0] != PINS[name]:
            lines.append(f"{name} {version} is not the {PINS[name]} of its pin")
    unused = [name for name in PINS if name not in found and name != INSTALLER]
    return lines + [f"{name} is pinned, and nothing needs it" for name in unused * whole]


@pytest.mark.skipif(
    not Path(sys.executable).with_name(".installed").exists(),
    reason="make install did not make this environment",
)
def test_the_environment_is_that_of_the_constraints():
    wanted = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]
    found = reached(wanted)
    cuda = "+" not in found["torch"]
    whole = cuda and (sys.platform, platform.machine()) == ("linux", "x86_64")
    assert wrong(found, whole) == [], "constraints.txt"


def test_what_differs_is_named():
    found = reached(["pytest", "safetensors[numpy]"])
    assert {"pytest", "pluggy", "safetensors", "numpy"} <= found.keys()
    assert wrong(found, whole=False) == []
    assert "rich is pinned, and nothing needs it" in wrong(found, whole=True)
    assert wrong({"nobody": "1", "numpy": "1.0"}, whole=False) == [
        "nobody 1 has no pin",
        f"numpy 1.0 is not the {PINS[canonicalize_name('numpy')]} of its pin",
    ]
    with pytest.raises(PackageNotFoundError):
        reached(["nobody"])


def test_the_pythons_that_are_named_are_those_that_are_tested():
    said = [x.split()[-1] for x in PROJECT["classifiers"] if re.search(r"Python :: 3\.", x)]
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert said == workflow["jobs"]["test"]["strategy"]["matrix"]["python"]
    known = [f"3.{minor}" for minor in range(30)]
    assert said == [v for v in known if f"{v}.1" in SpecifierSet(PROJECT["requires-python"])]


def test_a_release_has_one_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"] == bn_repro.__version__


def test_constraints_are_pins_in_order():
    assert [line for line in LINES if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    assert sorted(LINES, key=str.lower) == LINES
    assert len(PINS) == len(LINES)
