"""Of ``fig3``: the networks that section 4.2.2 reports to fail."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bn_repro import paper
from bn_repro.analysis import gates, intervals
from bn_repro.analysis import quantities as q
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.gates import Gate
from bn_repro.analysis.prose import listed
from bn_repro.analysis.quantities import Quantity
from bn_repro.analysis.rules import Above, Below
from bn_repro.analysis.studies import inception
from bn_repro.analysis.studies.inception import BN_SIGMOID, INCEPTION, best, network
from bn_repro.analysis.style import Arm
from bn_repro.analysis.tables import Runs

X5 = network("Inception-x5, He", "inception_x5", "#b3261e", "-", "o")
X5_SMALL = network(
    "Inception-x5, std 0.01", "inception_x5", "#e58a7f", (0, (4.5, 1.4)), "<", std=0.01
)
X5_LARGE = network(
    "Inception-x5, std 0.1", "inception_x5", "#6b0f0a", (0, (1.2, 1.1)), "s", std=0.1
)
SIGMOID = network("Inception-Sigmoid", "inception_sigmoid", "#777777", (0, (6, 1.3, 1.2, 1.3)), "P")
FAIL = (
    "Share of the runs that fail: that end with a loss that is not finite, or whose accuracy never "
    "exceeds twice chance"
)
FAILURES = (X5, X5_SMALL, X5_LARGE, SIGMOID)
"""The networks without BN that the paper reports to fail."""
STARTS = {
    "he": (X5, "He's initial weights"),
    "gaussian_001": (X5_SMALL, "Gaussian weights of standard deviation 0.01"),
    "gaussian_01": (X5_LARGE, "Gaussian weights of standard deviation 0.1"),
}


def control(fast: Arm) -> Arm:
    """Inception from the same weights as ``fast``, at its own rate."""
    std = fast.keys["init_std"]
    label = INCEPTION.label if std is None else f"Inception, std {std:g}"
    return INCEPTION.with_(label=label, keys={**INCEPTION.keys, "init_std": std})


CONTROLS = control(X5_SMALL), control(X5_LARGE)


def failed(runs: Runs, arm: Arm) -> list[bool]:
    """By run: whether it fails."""
    return gates.failed(arm.of(runs))


def claims(runs: Runs) -> Iterator[Claim]:
    """Sigmoids with and without BN; 5 times the rate without BN, from three kinds of weights."""
    printed = paper.percent(inception.printed(BN_SIGMOID).max_top1)
    yield Claim(
        "sigmoid_with_bn_over_chance_ratio",
        "With BN the network trains with sigmoids too, well above chance.",
        "4.2.2",
        _over_chance(runs, BN_SIGMOID),
        Above(10.0),
        f"{printed}, where chance is 0.1 %",
    )
    yield Claim(
        "sigmoid_without_bn_over_chance_ratio",
        "Without BN the network with sigmoids never gets beyond chance.",
        "4.2.2",
        _over_chance(runs, SIGMOID),
        Below(2.0),
        "never above chance, 0.1 %",
    )
    for name, (arm, start) in STARTS.items():
        yield Claim(
            f"inception_x5_{name}_failed",
            f"Without BN, Inception fails at 5 times its rate, from {start}.",
            "4.2.2",
            q.failures(failed(runs, arm), FAIL),
            Above(0.5),
            "machine infinity; initial weights not said",
            gates=[_trains(runs, control(arm))],
            depends_on="the initial weights",
        )


def _trains(runs: Runs, own: Arm) -> Gate:
    return gates.trains(failed(runs, own), f"{own.label}, from the same weights at its own rate,")


def _over_chance(runs: Runs, arm: Arm) -> Quantity:
    words = f"Maximum accuracy of {arm.label} over chance: mean with its {q.ONE_SAMPLE}"
    over = best(runs, arm) / runs.chance
    return Quantity(words, intervals.interval(over), "times chance", seeds=over.tolist())


def what_happened(runs: Runs, arm: Arm) -> str:
    """``2 of 3 diverged (at steps 120 and 400); 1 of 3 stayed at chance``."""
    rows, bad = arm.of(runs).runs, failed(runs, arm)
    died = [f"{step:,.0f}" for step in rows.loc[rows["state"] == "diverged", "step"]]
    counts = {
        f"diverged (at step{'s' * (len(died) > 1)} {listed(died)})": len(died),
        "stayed at chance": sum(bad) - len(died),
        "trained": len(bad) - sum(bad),
    }
    return "; ".join(f"{n} of {len(bad)} {words}" for words, n in counts.items() if n)


def happened_table(runs: Runs, arms: Sequence[Arm] = FAILURES) -> list[list[str]]:
    """What became of each, and its best accuracies, a head first; empty without runs."""
    rows = []
    for arm in arms:
        if len(rows_of := arm.of(runs).runs):
            points = ", ".join(f"{100 * v:.1f}" for v in rows_of["best_top1"].dropna())
            highest = f"{points} %" if points else "never evaluated"
            rows.append([arm.label, what_happened(runs, arm), highest])
    return (
        [["network", "what happened here", "maximum accuracy, every seed"], *rows] if rows else []
    )
