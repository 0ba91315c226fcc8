"""The README of a study's results: every number in it comes from the study's frames."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from bn_repro.analysis import claims as claim_files
from bn_repro.analysis import intervals, steps_to
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.load import RUN_COLUMNS, StudyData
from bn_repro.analysis.results import CLAIMS, CURVES, RUNS, TRACES


def write(study: Any, data: StudyData, claims: Sequence[Claim], figures: Sequence[str]) -> str:
    """The study's README; every number in it comes from the frames."""
    name = data.name
    first, *others = [f"![{figure}]({figure}.svg)" for figure in figures] or [""]
    parts = [
        f"# {study.TITLE}",
        study.WHAT,
        first,
        "## Claims",
        _claims_table(claims),
        getattr(study, "INTERVALS", "") or _interval_note(claims),
        "## Arms",
        _arms_table(data),
        "## Findings",
        study.findings(data),
        *others,
        "## Deviations from the paper",
        study.DEVIATIONS,
        "## How it was made",
        _making(data, getattr(study, "EXTRA", "")),
        "\n".join(
            [
                f"```\npython scripts/train.py study={name}",
                *getattr(study, "BETWEEN", ()),
                f"python scripts/report.py study={name}\n```",
            ]
        ),
        "## What was computed",
        "\n".join(f"- `{c.id}`: {c.rule}" for c in claims),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _claims_table(claims: Sequence[Claim]) -> str:
    return table(
        ["claim", "section", "estimate [95 % interval]", "n", "verdict"],
        [
            [
                c.sentence,
                c.section,
                claim_files.shown(c.id, c.estimate, c.low, c.high),
                str(c.n),
                f"**{c.verdict}**",
            ]
            for c in claims
        ],
    )


def _interval_note(claims: Sequence[Claim]) -> str:
    fewest = min((c.n for c in claims), default=0)
    note = "Intervals are 95 % bootstrap intervals over seeds; n is the number of seeds."
    if fewest < 5:
        note += (
            " With fewer than 5 seeds an interval is the range of what resampling them can give, "
            "and covers less than 95 %: every point is shown in the figures and in the table below."
        )
    if fewest < claim_files.ENOUGH_SEEDS:
        note += f" Fewer than {claim_files.ENOUGH_SEEDS} seeds decide nothing."
    return note


def _arms_table(data: StudyData) -> str:
    """A row per experiment and variation: seeds, accuracies, steps to the targets."""
    columns = {str(name): data.runs[name].tolist() for name in data.runs}
    targets = [name for name in columns if name.startswith("steps_to_")]
    varied = [
        name
        for name, values in columns.items()
        if name not in RUN_COLUMNS and name not in targets and len({str(v) for v in values}) > 1
    ]
    head = ["experiment", *varied, "seeds", "final top-1", "best top-1"]
    head += [f"steps to {100 * float(name.removeprefix('steps_to_')):g} %" for name in targets]
    arms: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for values in zip(*columns.values(), strict=True):
        run = dict(zip(columns, values, strict=True))
        arms.setdefault((run["experiment"], run["id"]), []).append(run)
    rows = []
    for (experiment, _), runs in arms.items():
        lost = sum(run["state"] == "diverged" for run in runs)
        last = max(run["step"] for run in runs)
        steps = [steps_to.median_steps([run[name] for run in runs]) for name in targets]
        rows.append(
            [
                f"`{experiment}`",
                *("" if _missing(runs[0][key]) else str(runs[0][key]) for key in varied),
                f"{len(runs)}" + (f" ({lost} diverged)" if lost else ""),
                _accuracy([run["final_top1"] for run in runs]),
                _accuracy([run["best_top1"] for run in runs]),
                *(steps_to.shown(m, last) for m in steps),
            ]
        )
    return table(head, rows)


def _missing(value: Any) -> bool:
    return value is None or value != value  # NaN


def _accuracy(values: Sequence[float]) -> str:
    """The mean with its interval, or with every point where these are few."""
    known = [value for value in values if not _missing(value)]
    found = intervals.interval(known)
    if 1 < len(known) < 5:
        return f"{100 * found.estimate:.1f} % ({', '.join(f'{100 * v:.1f}' for v in known)})"
    return found.percent()


def _making(data: StudyData, extra: str) -> str:
    runs = data.runs
    missing = len({member.key for member in data.members}) - len(runs)
    seeds = runs.groupby(["experiment", "id"]).size().tolist()
    devices = sorted({str(device) for device in runs["device"] if device})
    commits = sorted({str(commit) for commit in runs["commit"] if commit})
    seconds = [value for value in runs["seconds"].tolist() if not _missing(value)]
    among = f", of {len(runs) + missing} ({missing} had not finished)" if missing else ""
    more = f" to {max(seeds)}" if max(seeds) > min(seeds) else ""
    lines = [
        f"- Runs: {len(runs)}{among}; seeds per setting: {min(seeds)}{more}; up to "
        f"{max(runs['step'].tolist()):,} steps each.",
        f"- Hardware: {'; '.join(devices) or 'not recorded'}.",
    ]
    if seconds:
        minutes = sum(seconds) / 60
        total = f"{minutes:.1f} minutes" if minutes < 60 else f"{minutes / 60:.1f} hours"
        lines.append(f"- Time: {median(seconds):.0f} s a run (median), {total} in all.")
    lines.append(f"- Commit of the code that trained: {', '.join(commits) or 'not recorded'}.")
    kept = [RUNS, CURVES, *([] if data.traces.empty else [TRACES]), *([extra] if extra else [])]
    links = ", ".join(f"[`{name}`]({name})" for name in kept)
    lines.append(f"- Rows: {links}; verdicts: [`{CLAIMS}`]({CLAIMS}).")
    return "\n".join(lines)
