"""One study's results as files: its rows, its figures, its claims, its README.

A study's module (``analysis/studies/<study>.py``) says ``TITLE``, ``WHAT`` and ``DEVIATIONS`` in
words, ``TRACES`` (whether its traces are kept), ``targets(data)`` (accuracies to count steps to),
``claims(data)``, ``figures(data)`` and ``findings(data)`` (markdown). All of them see only what the
files hold, rounded as it is there, so that a report written from the files alone is the same, byte
for byte, as the one written beside the runs.

A module may keep a table more: ``EXTRA`` is its file's name, ``extra(members, committed)`` its rows
(with the columns experiment, id, seed), from run directories where there are any and else from the
``committed`` ones; the other functions find it as ``data.extra``. ``INTERVALS`` replaces the note
on what was resampled, ``BETWEEN`` has the commands between training and report. ``keep(data)`` are
the rows of ``data.traces`` to keep, where that is not all; kept once, they stay. ``summary(data)``
(a sentence or two), ``IN_SHORT`` (of the deviations) and ``CAPTIONS`` (by figure) go into the
report over all studies. A study without a module has ``studies/default.py``.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from bn_repro.analysis import claims as claim_files
from bn_repro.analysis import readme, results, style, tables
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.studies import module_of
from bn_repro.analysis.tables import Member


@dataclass(frozen=True)
class Report:
    """What was written, and what has to be said about it."""

    claims: list[Claim]
    files: list[Path]
    warnings: list[str]


def write(study_name: str, members: Sequence[Member], out: str | Path) -> Report:
    """Writes the study's results into ``out``: what lies there already, and the runs found.

    A finished run that is found replaces the row of the same (experiment, id, seed); rows that are
    no members of the study are dropped. Raises ``ValueError`` where there is nothing to report.
    """
    study = module_of(study_name)
    folder = Path(out)
    found = tables.load(members, name=study_name, traces=study.TRACES)
    finished = tables.finished(found)
    data = results.merge(results.read(folder, study_name), finished, members)
    if data.runs.empty:
        raise ValueError(
            f"study {study_name}: none of its {len(members)} runs is finished, and {folder} holds "
            f"no rows of them; train them with: python scripts/train.py study={study_name}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    data.runs = results.with_steps_to(data, study.targets(data))
    frames = {results.RUNS: data.runs, results.CURVES: data.curves}
    if study.TRACES:
        frames[results.TRACES] = study.keep(data) if hasattr(study, "keep") else data.traces
    written = [
        results.write(folder / name, results.to_csv(frame, name)) for name, frame in frames.items()
    ]

    data = results.of_members(results.read(folder, study_name), members)
    extra = getattr(study, "EXTRA", "")
    if extra:
        rows = study.extra(members, results.read_extra(folder / extra))
        written.append(results.write(folder / extra, results.to_csv(rows, extra)))
        data.extra = results.read_extra(folder / extra)
    found_claims: list[Claim] = study.claims(data)
    figures = study.figures(data)
    digest = _digest(folder, study)
    with style.context():
        for name, figure in figures.items():
            written += style.save(figure, folder / name, digest)
    for stale in (*folder.glob("figure*.svg"), *folder.glob("figure*.png")):
        if stale.stem not in figures:
            stale.unlink()
    texts = {
        results.CLAIMS: claim_files.to_json(found_claims),
        results.README: readme.write(study, data, found_claims, list(figures)),
    }
    written += [results.write(folder / name, text) for name, text in texts.items()]
    return Report(found_claims, written, found.warnings)


def _digest(folder: Path, study: Any) -> str:
    """What the figures are drawn from: the rows, and the code that draws (comments aside)."""
    digest = hashlib.sha256()
    for name in (results.RUNS, results.CURVES, results.TRACES, getattr(study, "EXTRA", "")):
        path = folder / name
        if path.is_file():
            content = path.read_bytes()
            digest.update(gzip.decompress(content) if path.suffix == ".gz" else content)
    modules = {m for m in vars(study).values() if isinstance(m, ModuleType)} - {tables, claim_files}
    drawing = [m for m in modules if m.__name__.startswith("bn_repro.analysis.")]
    for module in (study, *sorted(drawing, key=lambda m: m.__name__)):
        lines = Path(module.__file__ or "").read_text(encoding="utf-8").splitlines()
        code = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
        digest.update("\n".join(code).encode())
    return f"sha256:{digest.hexdigest()[:32]}"


def print_verdicts(claims: Sequence[Claim], title: str = "") -> None:
    """The claims as a table in the terminal."""
    from rich.console import Console
    from rich.table import Table

    colors = {"holds": "green", "does not hold": "red", "undecided": "yellow"}
    table = Table(title=title or None, title_justify="left")
    table.add_column("claim", ratio=3)
    table.add_column("estimate [95 %]", ratio=2)
    table.add_column("n", justify="right")
    table.add_column("verdict", no_wrap=True)
    for c in claims:
        number = claim_files.shown(c.id, c.estimate, c.low, c.high).replace("[", r"\[")
        color = colors[c.verdict]
        table.add_row(c.sentence, number, str(c.n), f"[{color}]{c.verdict}[/{color}]")
    Console().print(table)
