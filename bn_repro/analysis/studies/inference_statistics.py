"""What BN normalizes by in inference (sec. 3.1, Algorithm 2), and what depends on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from bn_repro.analysis import quantities as q
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.prose import percent, points
from bn_repro.analysis.rules import Above, Below
from bn_repro.analysis.studies.inference_statistics_figures import figures
from bn_repro.analysis.studies.inference_statistics_runs import (
    EXACT,
    INCEPTION,
    MNIST,
    MOVING,
    NETWORKS,
    OWN,
    RATES,
    USUAL,
    Network,
    by_rate,
    same_training,
)
from bn_repro.analysis.study import Study, probes_alone
from bn_repro.analysis.tables import Runs

MARGIN = 0.001
"""A loss of accuracy up to this counts as none; fixed before any run."""
EARLY, SLOW, SLOWEST, LAST = 100, 0.01, 0.001, 1.0
"""The early step, and rates of the moving averages, that claims name; fixed before any run."""
END = "Test accuracy at the last step, on the same images by the same weights"
LOSS = f"(a loss of up to {100 * MARGIN:g} points counts as none, fixed beforehand)"


def claims(runs: Runs) -> Iterator[Claim]:
    """Which statistics serve, at the end and early, and over how many mini-batches."""
    yield from (_serves(MNIST, runs), _own(MNIST, runs))
    yield from _counts(runs)
    yield from _rates(runs)
    yield from (_serves(INCEPTION, runs), _own(INCEPTION, runs))


def _serves(network: Network, runs: Runs) -> Claim:
    return Claim(
        f"{network.id}_moving_serve_difference",
        f"{network.name}, at the end: moving averages are as good as Algorithm 2's statistics "
        f"over {network.most:,} mini-batches.",
        "3.1",
        q.difference(
            q.at_the_end(network.by(runs, MOVING)),
            q.at_the_end(network.by(runs, EXACT)),
            f"{END}: by moving averages minus by Algorithm 2's statistics {LOSS}",
        ),
        Above(-MARGIN),
    )


def _own(network: Network, runs: Runs) -> Claim:
    return Claim(
        f"{network.id}_own_difference",
        f"{network.name}, at the end: by the statistics of the mini-batch that is evaluated, of "
        f"{network.examples}, the accuracy is lower than by Algorithm 2's.",
        "3.1",
        q.difference(
            q.at_the_end(network.by(runs, OWN)),
            q.at_the_end(network.by(runs, EXACT)),
            f"{END}: by the mini-batch's own statistics minus by Algorithm 2's over "
            f"{network.most:,} training mini-batches",
        ),
        Below(),
    )


def _counts(runs: Runs) -> Iterator[Claim]:
    """How many mini-batches Algorithm 2 needs, on MNIST."""
    most = q.at_the_end(MNIST.by(runs, EXACT))
    few, one = (q.at_the_end(MNIST.by(runs, EXACT, mini_batches=n)) for n in (100, 1))
    words = "{}: by Algorithm 2's statistics over {} minus over 1,000"
    yield Claim(
        "mnist_hundred_serve_difference",
        "MNIST, at the end: Algorithm 2's statistics over 100 mini-batches are as good as over "
        "1,000.",
        "3.1",
        q.difference(few, most, f"{words.format(END, '100 mini-batches')} {LOSS}"),
        Above(-MARGIN),
    )
    yield Claim(
        "mnist_one_difference",
        "MNIST, at the end: the statistics of a single training mini-batch give a lower accuracy "
        "than those of 1,000.",
        "3.1",
        q.difference(one, most, words.format(END, "1 mini-batch")),
        Below(),
    )


def _rates(runs: Runs) -> Iterator[Claim]:
    """Which momentum the moving averages need, on MNIST: early, and at the end."""
    early = q.at(MNIST.by(runs, EXACT), EARLY)
    for rate, name in ((SLOW, "slow"), (USUAL, "usual")):
        yield Claim(
            f"mnist_early_{name}_difference",
            f"MNIST, at step {EARLY}: Algorithm 2's statistics give a higher accuracy than moving "
            f"averages of momentum {rate:g}.",
            "3.1",
            q.difference(
                early,
                q.at(by_rate(runs, rate), EARLY),
                f"Test accuracy at step {EARLY}, on the same images by the same weights: by "
                "Algorithm 2's statistics over 1,000 mini-batches minus by moving averages",
            ),
            Above(),
            depends_on="the step",
        )
    usual = q.at_the_end(by_rate(runs, USUAL))
    for rate, name, what in (
        (SLOWEST, "slowest", f"moving averages of momentum {SLOWEST:g} give"),
        (LAST, "last_mini_batch", f"the last mini-batch alone (momentum {LAST:g}) gives"),
    ):
        yield Claim(
            f"mnist_{name}_difference",
            f"MNIST, at the end: {what} a lower accuracy than moving averages of momentum "
            f"{USUAL:g}.",
            "3.1",
            q.difference(
                q.at_the_end(by_rate(runs, rate)),
                usual,
                f"{END}: by momentum {rate:g} minus by momentum {USUAL:g}",
            ),
            Below(),
            depends_on="the length of the run, its rate",
        )


# --- prose ----------------------------------------------------------------------------------------


def values(runs: Runs) -> dict[str, Any]:
    """What the template shows besides the claims."""
    networks = [_shown(network, runs) for network in NETWORKS]
    return {
        "networks": [shown for shown in networks if shown],
        "rates": _by_step(runs),
        "same": same_training(runs),
    }


def _shown(network: Network, runs: Runs) -> dict[str, Any]:
    """Of a network: its accuracies at the end, and what each loses against the most exact."""
    exact = q.at_the_end(network.by(runs, EXACT))
    if exact.empty:
        return {}
    kinds: list[tuple[str, pd.Series]] = [
        (f"the mini-batch's own, {n:,} images", q.at_the_end(network.by(runs, OWN, examples=n)))
        for n in network.sizes
    ]
    kinds.append((f"moving averages, momentum {USUAL:g}", q.at_the_end(network.by(runs, MOVING))))
    for n in network.counts(runs):
        words = f"Algorithm 2, {n:,} mini-batch{'es' if n > 1 else ''}"
        kinds.append((words, q.at_the_end(network.by(runs, EXACT, mini_batches=n))))
    table = [["statistics", "accuracy", f"against Algorithm 2 over {network.most:,}"]]
    for words, found in kinds:
        table.append([words, percent(found), points((found - exact).dropna())])
    table[-1][-1] = ""  # that is what the others are held against
    own, moving = (q.at_the_end(network.by(runs, kind)) for kind in (OWN, MOVING))
    found = {"name": network.name, "most": network.most, "table": table}
    return found | {"own": own, "moving": moving, "exact": exact}


def _by_step(runs: Runs) -> list[list[str]]:
    """Accuracy on MNIST by step, for each momentum of the moving averages and for Algorithm 2."""
    kinds = {f"moving averages, momentum {rate:g}": by_rate(runs, rate) for rate in RATES}
    kinds[f"Algorithm 2 over {MNIST.most:,} mini-batches"] = MNIST.by(runs, EXACT)
    kinds[f"the mini-batch's own, {MNIST.examples} images"] = MNIST.by(runs, OWN)
    shown = [n for n in (10, 100, 1_000, 10_000) if any(n in wide for wide in kinds.values())]
    if not shown:
        return []
    rows = [["statistics", *(f"step {step:,}" for step in shown)]]
    for words, wide in kinds.items():
        rows.append([words, *(percent(wide[s]) if s in wide else "-" for s in shown)])
    return rows


STUDY = Study(
    "inference_statistics.md.j2", figures, claims, values=values, traces=True, keep=probes_alone
)
