"""A room imports only from rooms above it in ROOMS; those before ``norm`` import no torch."""

import ast
import subprocess
import sys

from support import ROOT

PACKAGE = ROOT / "bn_repro"
ROOMS = (
    "paper",
    "stop_signal",
    "records",
    "config",
    "analysis",
    "tracking",
    "norm",
    "models",
    "data",
)
ROOMS += ("training", "sweep", "cli")
"""In the order in which they may import."""
PLAIN = ("norm", "models", "data")
"""Rooms that take plain arguments and know nothing of the configuration."""
WITHOUT_TORCH = ("records", "config", "analysis", "tracking", "sweep", "cli")
"""What must answer at once; where they need it, functions import it."""

SOURCES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.parent != PACKAGE]
SOURCES += [PACKAGE / f"{name}.py" for name in ("paper", "stop_signal")]


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def room_of(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def test_each_room_is_in_the_order():
    assert {room_of(path) for path in SOURCES} == set(ROOMS)


def test_a_room_imports_only_from_rooms_above_it():
    wrong = []
    for path in SOURCES:
        for module in imports(path):
            parts = module.split(".")
            if parts[0] != "bn_repro" or len(parts) < 2 or parts[1] == "__version__":
                continue
            if ROOMS.index(parts[1]) > ROOMS.index(room_of(path)):
                wrong.append(f"{path.relative_to(ROOT)} imports {module}")
    assert not wrong


def test_files_of_one_room_import_each_other_without_a_circle():
    names = {module_of(path): path for path in SOURCES if path.name != "__init__.py"}
    needs = {name: {m for m in imports(path) if m in names} for name, path in names.items()}
    while True:
        free = {name for name, others in needs.items() if not (others - {name}) & needs.keys()}
        if not free:
            break
        needs = {name: others for name, others in needs.items() if name not in free}
    assert not needs


def test_plain_rooms_do_not_know_the_configuration():
    for path in SOURCES:
        if room_of(path) in PLAIN:
            used = {n.split(".")[0] for n in imports(path)}
            assert not used & {"hydra", "omegaconf"}, path
            assert not {n for n in imports(path) if n.startswith("bn_repro.config")}, path


def test_the_rooms_without_torch_import_none():
    free = [module_of(path) for path in SOURCES if room_of(path) in WITHOUT_TORCH]
    code = f"import sys\nfor name in {free}: __import__(name)\nassert 'torch' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()


def test_hydra_stops_at_composition():
    for path in SOURCES:
        if room_of(path) != "cli" and path.name != "compose.py":
            libraries = {n.split(".")[0] for n in imports(path)}
            assert not libraries & {"hydra", "omegaconf"}, path


def test_no_study_s_module_is_long():
    studies = (PACKAGE / "analysis" / "studies").glob("*.py")
    long = {path.name: n for path in studies if (n := len(path.read_text().splitlines())) > 200}
    assert not long
