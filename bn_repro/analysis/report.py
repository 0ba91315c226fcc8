"""A study's folder of files, written and read: its rows, its figures, its claims, its README.

A report is written from what lies in the folder already and from the runs found; its figures,
claims and prose see only what the files hold. So a report on committed rows changes no byte.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bn_repro.analysis import claims as claim_files
from bn_repro.analysis import correct, results, style
from bn_repro.analysis.load import load
from bn_repro.analysis.prose import Prose, environment
from bn_repro.analysis.study import Study, study_of
from bn_repro.analysis.summary import Report, training_command
from bn_repro.analysis.tables import BadInput, Member, Runs, finished


def write(
    name: str,
    members: Sequence[Member],
    out: str | Path,
    *,
    complete: bool = True,
    overrides: Sequence[str] = (),
) -> Report:
    """Write the study's results into ``out``: what lies there already, and the runs found.

    A finished run that is found replaces the row of the same (experiment, id, seed); rows that are
    no members of the study are dropped. Raises ``BadInput`` where there is nothing to report, and
    where the runs of one family of networks, which are compared, used two engines.
    """
    study, folder = study_of(name), Path(out)
    found = load(members, name=name, traces=study.traces, histograms=study.histograms)
    found, stored = finished(found), results.read(folder, name)
    data = results.merge(stored, found, members)
    if data.runs.empty:
        raise BadInput(
            f"study {name}: none of its {len(members)} runs is finished, and {folder} has "
            f"no rows of them; train them with: {training_command(name, overrides)}"
        )
    _require_one_engine(name, data)
    _write_rows(study, data, members, folder, stored if found.runs.empty else None)
    report = read(name, folder, members, complete=complete, overrides=overrides)
    figures = study.figures(report.runs)
    _draw(study, figures, folder, name)
    order = list(report.prose.captions)
    names = sorted(figures, key=lambda f: order.index(f) if f in order else len(order))
    report = replace(report, figures=names, warnings=data.warnings)
    results.write(folder / results.CLAIMS, claim_files.to_json(report.claims))
    text = environment().get_template("study.md.j2").render(report=report)
    results.write(folder / results.README, text)
    return report


def _require_one_engine(name: str, data: Runs) -> None:
    """``BadInput`` where networks that are compared were trained by two engines.

    ``mnist/`` and ``imagenet/`` are two families, and no study compares one with the other.
    """
    engines: dict[str, set[str]] = {}
    columns = (data.runs[column].tolist() for column in ("experiment", "engine"))
    for experiment, engine in zip(*columns, strict=True):
        engines.setdefault(experiment.partition("/")[0], set()).add(engine or "eager")
    for family, used in engines.items():
        if len(used) > 1:
            raise BadInput(
                f"study {name}: its runs of {family}/ used several engines "
                f"({', '.join(sorted(used))}), whose rounding differs; train all with one "
                "(train.engine=... force=true), or report them elsewhere (out=...)"
            )


def read(
    name: str,
    folder: Path,
    members: Sequence[Member],
    *,
    complete: bool = True,
    overrides: Sequence[str] = (),
) -> Report:
    """The results that lie in ``folder``, their claims judged anew."""
    study = study_of(name)
    data = results.of_members(results.read(folder, name), members)
    if study.extra:
        data.extra = results.read_extra(folder / study.extra.file)
    claims = list(study.claims(data))
    scale = next((x.removeprefix("scale=") for x in overrides if x.startswith("scale=")), None)
    prose = Prose(name, study, data, claims, scale)
    order = list(prose.captions)
    drawn = sorted(path.stem for path in folder.glob("figure*.svg"))
    drawn = sorted(drawn, key=lambda f: order.index(f) if f in order else len(order))
    weights = sorted(f"weights/{path.name}" for path in folder.glob("weights/*.safetensors"))
    return Report(name, study, data, claims, prose, drawn, weights, complete, overrides)


def _write_rows(
    study: Study, data: Runs, members: Sequence[Member], folder: Path, stored: Runs | None
) -> None:
    """The study's tables, as far as they have changed.

    ``stored``: what the folder has, where no run was found; then of its long tables, which take
    seconds to format, those are left alone that lose no row.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data.runs = results.with_steps_to(data, study.targets_of(data))
    frames = {results.RUNS: data.runs, results.CURVES: data.curves}
    if study.traces:
        kept = study.keep(data) if study.keep else data
        some = {results.TRACES: kept.traces, results.PROBES: kept.probes}
        frames |= {file: frame for file, frame in some.items() if not frame.empty}
    if not data.histograms.empty:
        frames[results.HISTOGRAMS] = data.histograms
    if study.extra:
        file = study.extra.file
        frames[file] = study.extra.rows(members, results.read_extra(folder / file))
    long = {
        results.CURVES: "curves",
        results.TRACES: "traces",
        results.PROBES: "probes",
        results.HISTOGRAMS: "histograms",
    }
    for file, frame in frames.items():
        same = stored and file in long and len(frame) == len(getattr(stored, long[file]))
        if not same:
            results.write(folder / file, results.to_csv(frame, file))
    correct.write(folder / results.CORRECT, data.correct)


def _draw(study: Study, figures: Any, folder: Path, name: str) -> None:
    """Save the figures that have changed, and remove those that the study no longer draws."""
    digest = _digest(folder, study, name)
    with style.context():
        for stem, figure in figures.items():
            style.save(figure, folder / stem, digest)
    for stale in (*folder.glob("figure*.svg"), *folder.glob("figure*.png")):
        if stale.stem not in figures:
            stale.unlink()


def _digest(folder: Path, study: Study, name: str) -> str:
    """What the figures are drawn from: the rows, and the code that draws (comments aside)."""
    digest = hashlib.sha256()
    files = [results.RUNS, results.CURVES, results.TRACES, results.PROBES, results.HISTOGRAMS]
    for file in (*files, results.CORRECT, study.extra.file if study.extra else ""):
        path = folder / file
        if path.is_file():
            content = path.read_bytes()
            digest.update(gzip.decompress(content) if path.suffix == ".gz" else content)
    for part in sorted(_drawing(study.figures.__module__)):
        source = importlib.import_module(part).__file__ or ""
        lines = Path(source).read_text(encoding="utf-8").splitlines()
        code = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
        digest.update("\n".join(code).encode())
    return f"sha256:{digest.hexdigest()[:32]}"


DRAWING = {"panels", "densities", "style", "movement", "grids", "ensembles", "speed", "intervals"}
DRAWING |= {"quantities", "gates", "tables", "steps_to", "frames"}
"""The modules outside ``studies`` whose code shows in figures."""


def _drawing(module: str) -> set[str]:
    """``module``, and what it uses, and what that uses, of ``studies`` and ``DRAWING``."""
    own, shared = f"{__package__}.studies.", {f"{__package__}.{name}" for name in DRAWING}
    found, todo = set[str](), [module]
    while todo:
        name = todo.pop()
        found.add(name)
        names = vars(importlib.import_module(name)).values()
        used = {v.__name__ for v in names if hasattr(v, "__file__")}
        used |= {str(getattr(v, "__module__", "")) for v in names}
        todo += [n for n in used - found if n.startswith(own) or n in shared]
    return found
