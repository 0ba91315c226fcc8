"""A file imports only from the floors below its own; what each floor holds is DESIGN's plan."""

import ast

from support import ROOT

PACKAGE = ROOT / "bn_repro"
FLOORS = [
    {"config", "paper", "rundir"},
    {"norm"},
    {"models", "data", "schedule"},
    {"trace", "record", "mirror", "series", "published", "checkpoint", "distributed"},
    {"engine", "train", "evaluate", "throughput"},
    {"compose", "catalogue", "variation", "door", "build", "experiment", "predictions"},
    {"study", "progress", "scheduler", "cluster", "status", "watch", "evaluation", "publish"}
    | {"dashboard", "training", "reporting"},
]
PLAIN = ("norm", "models", "data", "schedule")
"""Rooms that take plain arguments and know nothing of the configuration."""


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def room_of(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def floor_of(room):
    return next((k for k, rooms in enumerate(FLOORS) if room in rooms), None)


SOURCES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "__init__.py"]


def test_every_room_is_on_a_floor():
    rooms = {room_of(path) for path in SOURCES}
    assert rooms - {"analysis"} == set().union(*FLOORS)


def test_nothing_imports_from_above():
    wrong = []
    for path in SOURCES:
        room = room_of(path)
        for module in imports(path):
            parts = module.split(".")
            if parts[0] != "bn_repro" or len(parts) < 2 or parts[1] in (room, "__version__"):
                continue
            mine, other = floor_of(room), floor_of(parts[1])
            if room == "analysis":
                allowed = other == 0
            elif parts[1] == "analysis":
                allowed = mine == len(FLOORS) - 1
            else:
                allowed = mine is not None and other is not None and other <= mine
            if not allowed:
                wrong.append(f"{path.relative_to(ROOT)} imports {module}")
    assert not wrong


def test_plain_rooms_do_not_know_the_configuration():
    for path in SOURCES:
        if room_of(path) in PLAIN:
            names = set(imports(path))
            assert not {n for n in names if n.split(".")[0] in ("hydra", "omegaconf")}, path
            assert "bn_repro.config" not in names, path


def test_analysis_needs_no_torch():
    for path in (PACKAGE / "analysis").rglob("*.py"):
        assert not {n for n in imports(path) if n.split(".")[0].startswith("torch")}, path


def test_hydra_stops_at_the_door():
    door = {"compose", "door", "training"}
    for path in SOURCES:
        if room_of(path) not in door:
            libraries = {n.split(".")[0] for n in imports(path)}
            assert not libraries & {"hydra", "omegaconf"}, path
