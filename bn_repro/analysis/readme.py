"""The README of a study's results: every number in it comes from the study's frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import Any

from bn_repro.analysis import claims as claim_files
from bn_repro.analysis import intervals, steps_to
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.results import CLAIMS, CURVES, RUNS, TRACES
from bn_repro.analysis.tables import RUN_COLUMNS, StudyData


def write(study: Any, data: StudyData, claims: Sequence[Claim], figures: Sequence[str]) -> str:
    """The study's README; every number in it comes from the frames."""
    first, *others = [f"![{figure}]({figure}.svg)" for figure in figures] or [""]
    note = getattr(study, "INTERVALS", "") or _interval_note(claims, data)
    computed = "\n".join(f"- `{c.id}`: {c.rule}" for c in claims)
    parts = [
        f"# {title(study, data.name)}",
        study.WHAT,
        first,
        *(["## Claims", claims_table(claims), note] if claims else []),
        "## Arms",
        arms(data),
        "## Findings",
        study.findings(data),
        *others,
        "## Deviations from the paper",
        study.DEVIATIONS,
        "## How it was made",
        _making(data, getattr(study, "EXTRA", "")),
        "\n".join(["```", *commands(study, data.name), "```"]),
        *(["## What was computed", computed] if claims else []),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def title(study: Any, name: str) -> str:
    """What the study is about; its name where its module does not say."""
    return study.TITLE or f"Study {name}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def claims_table(claims: Sequence[Claim]) -> str:
    """A row per claim, as the study's README and the repository's have it."""
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


def _interval_note(claims: Sequence[Claim], data: StudyData) -> str:
    fewest = min((c.n for c in claims), default=0)
    note = "Intervals are 95 % bootstrap intervals over seeds; n is the number of seeds."
    if fewest < 5:
        note += (
            " With fewer than 5 seeds an interval is the range of what resampling them can give, "
            f"and covers less than 95 %: every point is in [`{RUNS}`]({RUNS})"
            f"{' and in the table below' * (settings(data) <= MOST_ARMS)}."
        )
    if fewest < claim_files.ENOUGH_SEEDS:
        note += f" Fewer than {claim_files.ENOUGH_SEEDS} seeds decide nothing."
    ends = {x for c in claims if c.id.endswith("_ratio") for x in (c.estimate, c.low, c.high)}
    if 0.0 in ends or math.inf in ends or any(math.isnan(c.estimate) for c in claims):
        note += f" {claim_files.LEGEND}"
    return note


def commands(study: Any, name: str) -> list[str]:
    """The command lines from nothing to the study's report."""
    return [
        f"python scripts/train.py study={name}",
        *getattr(study, "BETWEEN", ()),
        f"python scripts/report.py study={name}",
    ]


MOST_ARMS = 24


def arms(data: StudyData) -> str:
    """A table of the runs by setting, or how many settings there are; markdown."""
    if settings(data) <= MOST_ARMS:
        return arms_table(data)
    return f"{settings(data)} settings; [`{RUNS}`]({RUNS}) has a row for each run."


def settings(data: StudyData) -> int:
    """How many different runs there are but for their seeds."""
    return data.runs.groupby(["experiment", "id"]).ngroups


def arms_table(data: StudyData) -> str:
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
                *("never" if lost == len(runs) else steps_to.shown(m, last) for m in steps),
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


def time_in_words(data: StudyData) -> str:
    """``48 s a run (median), 17.3 minutes in all``; empty where no time was recorded."""
    seconds = [value for value in data.runs["seconds"].tolist() if not _missing(value)]
    if not seconds:
        return ""
    minutes, one = sum(seconds) / 60, median(seconds)
    total = f"{minutes:.1f} minutes" if minutes < 60 else f"{minutes / 60:.1f} hours"
    each = f"{one:.0f} s" if one < 120 else f"{one / 60:.0f} minutes"
    return f"{each} a run (median), {total} in all"


def recorded(data: StudyData, column: str) -> list[str]:
    """The distinct values of ``device`` or ``commit``, where they were recorded."""
    return sorted({str(value) for value in data.runs[column] if value})


def _making(data: StudyData, extra: str) -> str:
    runs = data.runs
    missing = len({member.key for member in data.members}) - len(runs)
    seeds = runs.groupby(["experiment", "id"]).size().tolist()
    among = f", of {len(runs) + missing} ({missing} had not finished)" if missing else ""
    more = f" to {max(seeds)}" if max(seeds) > min(seeds) else ""
    time = time_in_words(data)
    kept = [RUNS, CURVES, *([] if data.traces.empty else [TRACES]), *([extra] if extra else [])]
    links = ", ".join(f"[`{name}`]({name})" for name in kept)
    lines = [
        f"- Runs: {len(runs)}{among}; seeds per setting: {min(seeds)}{more}; up to "
        f"{max(runs['step'].tolist()):,} steps each.",
        f"- Hardware: {'; '.join(recorded(data, 'device')) or 'not recorded'}.",
        *([f"- Time: {time}."] if time else []),
        "- Commit of the code that trained: "
        f"{', '.join(recorded(data, 'commit')) or 'not recorded'}.",
        f"- Rows: {links}; verdicts: [`{CLAIMS}`]({CLAIMS}).",
    ]
    return "\n".join(lines)
