"""What differs between two runs, or between two folders of seeds, by the files that they left."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from bn_repro.analysis import intervals
from bn_repro.analysis.tables import BadInput
from bn_repro.config.identity import settings_of
from bn_repro.records import paths, reader
from bn_repro.records.accuracy import Curve, best_accuracy, final_accuracy, monitored_curve
from bn_repro.records.json_files import Row, read_rows

OF_A_COMMAND = ("seed", "runs", "out", "force", "dry", "retry", "on_failure", "live")
OF_A_COMMAND += ("wandb", "study", "evaluation")
"""Keys that concern the command or the seed; they are not compared."""
ABSENT = "-"


class Line(NamedTuple):
    """One difference: its kind, its key, and the value on either side."""

    kind: str
    of: str
    a: str
    b: str


@dataclass
class Side:
    """The runs on one side, one of each seed."""

    folder: Path
    directories: dict[int, Path] = field(default_factory=dict)

    @cached_property
    def configs(self) -> list[dict[str, Any]]:
        """What each run was, by dotted key."""
        return [_flat(reader.read_config(path)) for path in self.directories.values()]

    @cached_property
    def manifests(self) -> list[dict[str, Any]]:
        """On what, and with what, each was trained."""
        return [_of_manifest(reader.read_manifest(path)) for path in self.directories.values()]

    @cached_property
    def outcomes(self) -> dict[int, reader.Outcome]:
        """How each ended, its accuracy too where it has one."""
        return {seed: _outcome(path) for seed, path in self.directories.items()}

    @cached_property
    def curves(self) -> dict[int, Curve]:
        """The accuracy of each at its evaluations, where it has any."""
        found = {
            seed: monitored_curve(read_rows(path / paths.METRICS))
            for seed, path in self.directories.items()
        }
        return {seed: curve for seed, curve in found.items() if curve}

    @cached_property
    def finals(self) -> dict[int, float]:
        """The final accuracy of each; that of guessing where it diverged."""
        found: dict[int, float] = {}
        for (seed, outcome), manifest in zip(self.outcomes.items(), self.manifests, strict=True):
            classes = manifest.get("classes") if outcome.state == "diverged" else None
            final = 1 / classes if classes else final_accuracy(self.curves.get(seed, []))
            if math.isfinite(final):
                found[seed] = final
        return found


def side(folder: str | Path) -> Side:
    """The run in ``folder``, or all seeds in it. BadInput where there is neither."""
    path = Path(folder).expanduser()
    if (path / paths.CONFIG).is_file():
        seed = reader.read_config(path).get("seed", 0)
        return Side(path, {seed: path})
    found = {
        int(name[1]): child
        for child in (path.iterdir() if path.is_dir() else ())
        if (name := re.fullmatch(r"seed(\d+)", child.name)) and (child / paths.CONFIG).is_file()
    }
    if not found:
        raise BadInput(
            f"{folder}: no run, and no seeds of one; give a run directory, as "
            "runs/<experiment>-<id>/seed0, or the folder above it"
        )
    return Side(path, dict(sorted(found.items())))


def differences(a: Side, b: Side) -> list[Line]:
    """What differs, in the order: configuration, seeds, what it was trained on and with, outcome.

    Training times are not compared.
    """
    lines = list(_keys("configuration", a.configs, b.configs))
    same_configuration = not lines
    lines += _line("seeds", "", *(", ".join(map(str, s.directories)) for s in (a, b)))
    for kind, keys in OF_A_MANIFEST.items():
        ours, theirs = ([_only(found, keys) for found in s.manifests] for s in (a, b))
        lines += _keys(kind, ours, theirs)
    lines += list(_of_outcomes(a, b))
    if same_configuration:
        lines += list(_of_records(a, b))
    return lines


def _line(kind: str, of: str, a: str, b: str) -> list[Line]:
    return [Line(kind, of, a, b)] if a != b else []


def _keys(kind: str, a: Sequence[Mapping], b: Sequence[Mapping]) -> Iterator[Line]:
    """Of each key that differs; the runs of a side may themselves differ in it."""
    for key in dict.fromkeys(key for one in (*a, *b) for key in one):
        yield from _line(kind, key, *(_values(one.get(key, ABSENT) for one in s) for s in (a, b)))


def _values(values: Iterable[Any]) -> str:
    return " and ".join(dict.fromkeys(_shown(value) for value in values))


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """All keys of a run: those that identify it, then those that do not."""
    found: dict[str, Any] = {key: config.get(key) for key in ("experiment", "scale")}
    found |= settings_of(config)
    identity = {key.partition(".")[0] for key in found}
    for section, value in config.items():
        if section in OF_A_COMMAND:
            continue
        if not isinstance(value, dict):
            found.setdefault(section, value)
        elif section in identity:
            found |= {f"{section}.{k}": v for k, v in value.items() if f"{section}.{k}" in _ASIDE}
    return found


_ASIDE = {
    *("data.root", "data.eval_limit", "data.on_error", "optimizer.r0", "train.engine"),
    *("train.log_every", "train.trace_every", "train.trace_dense", "train.trace_sites"),
    *("train.trace_units", "train.probes", "train.checkpoint_every", "train.eval_batch_size"),
}
"""Keys that change what a run records, or how, and not what it is."""
OF_A_MANIFEST = {
    "data": ("fingerprint", "classes", "shape"),
    "commit": ("commit",),
    "engine": ("engine", "threads", "world"),
    "machine": ("device", "hardware", "python", "torch", "torchvision", "numpy"),
}


def _of_manifest(manifest: Mapping[str, Any]) -> dict[str, Any]:
    commit = (manifest.get("commit") or "unknown")[:12]
    found = dict(manifest) | (manifest.get("versions") or {})
    found["commit"] = commit + "-dirty" * bool(manifest.get("dirty"))
    found["fingerprint"] = str(manifest.get("data") or "unknown")[:12]
    return found


def _only(found: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {key: found[key] for key in keys if key in found}


def _outcome(directory: Path) -> reader.Outcome:
    return reader.finished(directory) or reader.last_status(directory)


def _of_outcomes(a: Side, b: Side) -> Iterator[Line]:
    states, steps = (
        [_values(getattr(o, name) for o in s.outcomes.values()) for s in (a, b)]
        for name in ("state", "step")
    )
    yield from _line("outcome", "state", *states)
    yield from _line("outcome", "last step", *steps)
    yield from _line("outcome", "final accuracy", *(_mean(s.finals.values()) for s in (a, b)))
    best = ([best_accuracy(curve)[1] for curve in s.curves.values()] for s in (a, b))
    yield from _line("outcome", "best accuracy", *map(_mean, best))


def _mean(values: Iterable[float]) -> str:
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return "none"
    seeds = f" ({len(known)} seeds)" if len(known) > 1 else ""
    return f"{100 * sum(known) / len(known):.2f} %{seeds}"


def _of_records(a: Side, b: Side) -> Iterator[Line]:
    """From which step on the metrics of a seed that both have differ."""
    for seed in a.directories.keys() & b.directories.keys():
        ours, theirs = (read_rows(s.directories[seed] / paths.METRICS) for s in (a, b))
        step = _first_difference(ours, theirs)
        if step is not None:
            yield Line("outcome", f"metrics of seed {seed}", f"differ from step {step:,} on", "")


def _first_difference(a: Sequence[Row], b: Sequence[Row]) -> int | None:
    for ours, theirs in zip(a, b, strict=False):
        if ours != theirs:
            return min(ours["step"], theirs["step"])
    longer = max(a, b, key=len)[min(len(a), len(b)) :]
    return longer[0]["step"] if longer else None


def accuracy_difference(a: Side, b: Side) -> intervals.Interval | None:
    """The final accuracy of ``b`` minus that of ``a``, over the seeds that both have; None where
    they share none."""
    known = [seed for seed in a.finals if seed in b.finals]
    if not known:
        return None
    ours, theirs = ([s.finals[seed] for seed in known] for s in (a, b))
    return intervals.difference(theirs, ours, paired=True)
