"""Figure 4 (sec. 4.2.3): BN-x30 by a single crop and by 144, and an ensemble of six."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bn_repro import paper
from bn_repro.analysis import ensembles, style
from bn_repro.analysis import quantities as q
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.prose import percent
from bn_repro.analysis.rules import Above
from bn_repro.analysis.studies.inception import BN_X30
from bn_repro.analysis.study import Extra, Study
from bn_repro.analysis.style import Arm
from bn_repro.analysis.tables import KEY, Member, Runs

SINGLE, MULTI = 1, 144
CROPS = {SINGLE: "single crop", MULTI: "144 crops"}
PLAIN = BN_X30.with_(label="plain BN-x30", keys={"block": ["plain"]})
SIX = Arm("the six", "#a08a00", "-", "s", {"block": [f"ensemble {i}" for i in range(1, 7)]})
ERRORS = ["top1", "top5"]


def members_of(members: Sequence[Member], arm: Arm) -> list[Member]:
    """The arm's planned networks, in the study's order."""
    return [m for m in members if set(arm.keys["block"]).intersection(m.blocks.split("+"))]


def extra(members: Sequence[Member], committed: pd.DataFrame) -> pd.DataFrame:
    """A row per network and evaluation of it, and per subset of the six and of the plain ones."""
    return ensembles.table(members, [members_of(members, arm) for arm in (SIX, PLAIN)], committed)


def networks(runs: Runs, *arms: Arm) -> list[tuple[Member, dict[int, dict[str, float]]]]:
    """The arms' networks that were evaluated, each with its errors by the number of crops."""
    found = []
    for member in (m for arm in arms for m in members_of(runs.members, arm)):
        rows = ensembles.errors(runs.extra, **dict(zip(KEY, member.key, strict=True)))
        errors = {int(row["crops"]): {name: row[name] for name in ERRORS} for row in rows}
        found += [(member, errors)] if errors else []
    return found


def together(runs: Runs, arm: Arm, crops: int) -> ensembles.Ensemble | None:
    """The ensemble of the arm's networks; None where it was not evaluated."""
    return ensembles.ensemble(runs.extra, members_of(runs.members, arm), crops)


def plain_errors(runs: Runs, crops: int, metric: str = "top1") -> list[float]:
    """The errors of BN-x30 itself, every seed."""
    return [errors[crops][metric] for _, errors in networks(runs, PLAIN) if crops in errors]


def changes(runs: Runs, metric: str = "top1") -> np.ndarray:
    """What 144 crops take off each network's error by a single crop, in the study's order."""
    pairs = [e for _, e in networks(runs, PLAIN, SIX) if set(CROPS) <= set(e)]
    return np.array([e[SINGLE][metric] - e[MULTI][metric] for e in pairs])


def claims(runs: Runs) -> Iterator[Claim]:
    """What Figure 4 says of crops and of the ensemble."""
    where, six, plain = "4.2.3, Figure 4", together(runs, SIX, MULTI), plain_errors(runs, MULTI)
    lead = [float(np.mean(plain)) - six.all["top1"]] if six and plain else []
    yield Claim(
        "multi_crop_difference",
        "Averaging over 144 crops lowers the top-1 error of a single network.",
        where,
        q.mean(
            pd.Series(changes(runs), dtype=float),
            "Top-1 error by a single crop minus by 144 crops, each network with itself",
            of="networks",
        ),
        Above(),
        paper.lower_error("multicrop", "single crop"),
        effect=paper.error_gap("multicrop", "single crop"),
    )
    yield Claim(
        "ensemble_over_single_difference",
        "An ensemble of six networks has a lower top-1 error than one BN-x30.",
        where,
        q.mean(
            pd.Series(lead, dtype=float),
            "Top-1 error of one BN-x30 (mean over its seeds) minus that of the mean of the six's "
            "probabilities, both by 144 crops. An ensemble is one observation, however many "
            "networks it has. Changed after the results were seen: the claim first compared the "
            "ensemble with the best of its six, as the paper does not; Findings has that number",
            of="ensembles",
        ),
        Above(),
        paper.lower_error("ensemble", "multicrop"),
        effect=paper.error_gap("ensemble", "multicrop"),
        hangs_on="how good the six networks are alone",
    )


def figures(runs: Runs) -> dict[str, Figure]:
    """``figure4``: every network by one crop and by 144; ensembles of the six, and of BN-x30."""
    if not networks(runs, PLAIN, SIX):
        return {}
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.8), layout="constrained")
        axes = figure.subplots(1, 3, width_ratios=[1.1, 1, 1])
        draw_networks(axes[0], runs)
        for ax, metric in zip(axes[1:], ERRORS, strict=True):
            draw_sizes(ax, runs, metric)
        style.letters(axes)
        figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=4)
        return {"figure4": figure}


def _look(arm: Arm, crops: int) -> dict[str, Any]:
    """Filled and solid by 144 crops, open and dashed by one."""
    how = {"ls": "-"} if crops == MULTI else {"ls": (0, (4, 1.5)), "mfc": "white"}
    return {"color": arm.color, "marker": arm.marker, "mec": arm.color} | how


def draw_networks(ax: Axes, runs: Runs) -> Axes:
    """Top-1 error of each network and of two ensembles, a line from one crop to 144."""
    rows: list[Any] = [(label(m), a, e) for a in (PLAIN, SIX) for m, e in networks(runs, a)]
    alone = len(rows)
    for arm in (PLAIN, SIX):
        whole = {k: found.all for k in CROPS if (found := together(runs, arm, k))}
        if len(members_of(runs.members, arm)) > 1 and whole:
            rows.append((f"ensemble of {arm.label}", arm, whole))
    for place, (_, arm, by_crops) in enumerate(rows):
        ends = {crops: errors["top1"] for crops, errors in by_crops.items()}
        ax.plot(list(ends.values()), [place] * len(ends), color=style.INK, lw=0.7, zorder=1)
        for crops, error in ends.items():
            ax.plot([error], [place], ms=4.5, **_look(arm, crops))
    ax.set_yticks(range(len(rows)), [textwrap.fill(name, 26) for name, *_ in rows], fontsize=6.5)
    ax.axhspan(alone - 0.5, len(rows) - 0.5, color="#eeeeee", lw=0, zorder=0)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.xaxis.set_major_formatter(lambda x, _: f"{100 * x:g} %")
    ax.set_title("top-1 error of each")
    return ax


def draw_sizes(ax: Axes, runs: Runs, metric: str) -> Axes:
    """The error of every ensemble against its number of networks, and their mean as a line."""
    for arm, crops in product((SIX, PLAIN), CROPS):
        found, look = together(runs, arm, crops), _look(arm, crops)
        errors = [row[metric] for row in found.rows] if found else []
        if found and np.isfinite(errors).any():
            dots = look | {"ls": "none", "ms": 2, "mew": 0.6, "alpha": 0.45}
            ax.plot([row["models"] for row in found.rows], errors, **dots)
            look["label"], sizes = f"{arm.label}, {CROPS[crops]}", found.by_size(metric)
            ax.plot(list(sizes), [np.mean(each) for each in sizes.values()], **look)
    if not ax.lines:
        ax.text(0.5, 0.5, "not evaluated", ha="center", va="center", transform=ax.transAxes)
    ax.set_xticks(range(1, 1 + max(1, len(members_of(runs.members, SIX)))))
    style.percent_axis(ax).set_xlabel("networks averaged")
    ax.set_title(f"top-{metric[3:]} error")
    return ax


def label(member: Member) -> str:
    """What a network changes of BN-x30, in words."""
    last = {1: "5b", 2: "5a, 5b"}
    words = {
        "model.init_gain": lambda v: f"weights x{v:g}",
        "model.dropout": lambda v: f"dropout {100 * v:g} %",
        "model.per_activation_modules": lambda v: f"BN per activation in {last.get(v, v)}",
    }
    changes = [words[k](v) if k in words else f"{k}={v}" for k, v in member.varied.items()]
    return ", ".join(changes) or f"BN-x30, seed {member.seed}"


def values(runs: Runs) -> dict[str, Any]:
    """What the template shows besides the claims."""
    exact = runs.final("val", statistics="population").array - runs.final("val").array
    table = [["network", "seed"]]
    table[0] += [f"top-{m[3:]} error, {name}" for name, m in product(CROPS.values(), ERRORS)]
    for member, found in networks(runs, PLAIN, SIX):
        own = [percent(found.get(k, {}).get(metric)) for k, metric in product(CROPS, ERRORS)]
        table.append([label(member).partition(", seed")[0], str(member.seed), *own])
    return {
        "plain": {m: {k: plain_errors(runs, k, m) for k in CROPS} for m in ERRORS},
        "six": {k: together(runs, SIX, k) for k in CROPS},
        "equals": together(runs, PLAIN, MULTI),
        "gains": {metric: 100 * changes(runs, metric) for metric in ERRORS},
        "printed": paper.FIGURE4,
        "crops": CROPS,
        "networks": table,
        "algorithm2": (100 * exact[np.isfinite(exact)]).tolist(),
    }


STUDY = Study(
    prose="fig4.md.j2",
    arms=(PLAIN, SIX),
    claims=claims,
    figures=figures,
    values=values,
    extra=Extra("evaluations.csv", extra, ("bn-repro evaluate study=fig4",)),
)
