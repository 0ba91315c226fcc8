"""Where a notebook starts: all runs of a directory, or the runs of one study."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bn_repro.analysis import results, tables
from bn_repro.analysis.load import discover, load

# Imported here and now, or that module would later hide the function ``study``.
from bn_repro.analysis.study import Study, study_of
from bn_repro.analysis.tables import BadInput, Runs
from bn_repro.records.paths import CHECKOUT, RESULTS

ROOT = CHECKOUT or Path()


def runs(folder: str | Path = "runs", *, traces: bool = False, histograms: bool = False) -> Runs:
    """Every run under a runs directory, finished or not, as tidy frames.

    ``runs`` has a column for each key of the configuration that differs among them. Traces and
    histograms, which are most of what there is to read, come when asked for. A relative folder is
    looked for here, then in the checkout. Raises ``ValueError`` where there is no run; what is
    wrong with a single run is a line in ``warnings``, and the others load.
    """
    warnings: list[str] = []
    members = discover(_found(folder), warnings)
    seeds = [member.seed for member in members] if histograms else []
    data = load(members, name=str(folder), traces=traces, histograms=seeds)
    data.warnings[:0] = warnings
    return data


def study(name: str, folder: str | Path | None = None) -> Runs:
    """The finished runs of a study: those committed under ``results/<name>``, or those in a folder.

    ``folder`` is what ``bn-repro report study=<name> out=...`` wrote, or a runs directory; of
    the latter only runs with a configuration of the committed rows are used. Raises ``ValueError``
    where there are none.
    """
    if folder is None and CHECKOUT is None:
        raise BadInput(_nothing_yet(name))
    place = RESULTS / name if folder is None else _found(folder)
    data = results.read(place, name)
    if data.runs.empty and folder is None:
        raise BadInput(_nothing_yet(name))
    own = study_of(name)
    if data.runs.empty:
        return _of_runs(name, own, place)
    if own.extra:
        data.extra = results.read_extra(place / own.extra.file)
    return data


def _of_runs(name: str, own: Study, folder: Path) -> Runs:
    warnings: list[str] = []
    members = discover(folder, warnings)
    known = {m.key[:2]: m for m in results.read(RESULTS / name).members}
    mine = [
        replace(m, varied=known[m.key[:2]].varied, blocks=known[m.key[:2]].blocks)
        for m in members
        if m.key[:2] in known
    ]
    data = tables.finished(load(mine, name=name, traces=own.traces, histograms=own.histograms))
    data.warnings[:0] = warnings
    if data.runs.empty:
        raise BadInput(
            f"study {name}: none of the {len(members)} runs in {folder.absolute()} is finished and "
            f"configured as in {RESULTS.name}/{name}; for another scale, first run "
            f"bn-repro report study={name} ... out=FOLDER, then give that folder"
        )
    data.runs = results.with_steps_to(data, own.targets_of(data))
    if own.extra:
        committed = results.read_extra(RESULTS / name / own.extra.file)
        data.extra = own.extra.rows(data.members, committed)
    return data


def _nothing_yet(name: str) -> str:
    if CHECKOUT is None:
        return (
            f"study {name}: its curves are in the repository, and the package is not a checkout's; "
            f"give a folder: study({name!r}, 'CHECKOUT/results/{name}'), or one of your own runs"
        )
    from bn_repro.config import catalogue  # Hydra comes with it

    known = catalogue.names("study")
    if name not in known:
        return f"study {name}: unknown; there are {', '.join(known)}"
    extra = study_of(name).extra
    commands = [f"bn-repro train study={name}", *(extra.commands if extra else ())]
    commands.append(f"bn-repro report study={name}")
    return (
        f"study {name}: no results in {RESULTS / name} yet; they are made by: {'; '.join(commands)}"
    )


def _found(folder: str | Path) -> Path:
    """The folder, which a notebook may name as the commands do, from the top of the checkout."""
    here, there = Path(folder), ROOT / folder
    return there if there.is_dir() and not here.is_dir() else here
