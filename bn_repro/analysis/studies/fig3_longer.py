"""Inception with BN and without (sec. 4.2.2), all else the same, in longer runs than ``fig3``'s."""

from __future__ import annotations

from matplotlib.figure import Figure

from bn_repro.analysis import networks, rates, style
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.networks import BN_BASELINE, INCEPTION, NETWORKS
from bn_repro.analysis.studies import fig3
from bn_repro.analysis.studies.fig3 import targets
from bn_repro.analysis.tables import StudyData

__all__ = ["targets"]

TITLE = "BN alone, in runs three times as long as Figure 3's"
WHAT = (
    "In `fig3` BN-Baseline, which is Inception with BN and nothing else, ends "
    "behind Inception after 10,000 steps. Here both have 30,000, and the decay of the rate is "
    "stretched with them: whether it was length that BN-Baseline lacked."
)
DEVIATIONS = """\
- Those of `fig3`, but for the length: 30,000 \
steps, which are 19 epochs where the paper's Inception ran for 774, with stairs of 310 steps in \
the rate; evaluated every 500 steps.
- One run of each network, as in the paper: by the rule of all studies it decides nothing.
- The study was added after `fig3` had been looked at, to find the reason of its first verdict."""
IN_SHORT = (
    "As `fig3`, but 30,000 steps, which are 19 epochs for 774; one run of each network, as in the "
    "paper."
)
CAPTIONS = {
    "figure_longer": "Single-crop validation accuracy with BN and without, all else the same. "
    "Dotted: the best without BN."
}
TRACES = False  # no figure of this study needs them


def claims(data: StudyData) -> list[Claim]:
    """What the paper says of BN alone."""
    return [
        fig3.speed_claim(data, *fig3.BN_ALONE),
        fig3.maximum_claim(
            data,
            "bn_baseline_over_inception_maximum_difference",
            "BN alone (BN-Baseline) reaches a higher accuracy than Inception (paper: 72.7 and "
            "72.2 %).",
            *(BN_BASELINE, INCEPTION),
        ),
    ]


def figures(data: StudyData) -> dict[str, Figure]:
    """``figure_longer``: as Figure 2, of the two networks."""
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.2), layout="constrained")
        ax = rates.draw(figure.subplots(), data, "0.0015")
        ax.set_ylabel("single-crop validation accuracy")
        return {"figure_longer": figure}


def summary(data: StudyData) -> str:
    """What BN alone gains; markdown."""
    pair = BN_BASELINE, INCEPTION
    if any(networks.part(data, network).runs.empty for network in pair):
        return ""
    said = rates.gain(data, *pair)
    return f"After {networks.last_step(data):,.0f} steps {said}."


def findings(data: StudyData) -> str:
    """What BN alone gains, whether length was what it lacked, and what is missing; markdown."""
    arms = {network: NETWORKS[network] for network in (INCEPTION, BN_BASELINE)}
    gone, said = networks.missing(data, arms), summary(data)
    lines = [f"**Not finished:** {', '.join(gone)}.", ""] if gone else []
    if not said:
        return "\n".join([*lines, "- Nothing to compare yet."])
    runs = min(len(networks.part(data, network).runs) for network in arms)
    ahead = rates.gap(data, BN_BASELINE, INCEPTION).estimate > 0
    so = "BN alone comes ahead" if ahead else "length alone does not bring BN ahead"
    lines += [
        f"- {said}",
        f"- So, of {style.count(runs, 'run')} each, {so} at this rate, up to this "
        "length. What a higher rate does stands in `fig3`, under "
        "*BN and nothing else, at two rates*.",
    ]
    return "\n".join(lines)
