"""BN alone (sec. 4.2.2): under which reading of what the paper leaves open it speeds Inception up.

The claims are the predictions of docs/log.md (2026-11-26, "BN alone"), before the runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from bn_repro import paper
from bn_repro.analysis import gates
from bn_repro.analysis import quantities as q
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.intervals import ENOUGH_SEEDS
from bn_repro.analysis.rules import Above, AtEach, Below, Crosses
from bn_repro.analysis.speed import at_each, turned
from bn_repro.analysis.studies import bn_alone_report, converged
from bn_repro.analysis.studies.bn_alone_figures import figures
from bn_repro.analysis.studies.bn_alone_runs import (
    DEPTHS,
    FACTOR,
    FIVE_TIMES,
    LATE,
    LOWEST,
    OWN,
    SETTINGS,
    Cell,
    Setting,
    accuracies,
    at,
    cell,
    counts,
    only_bn_trains,
    ratio_of_factors,
)
from bn_repro.analysis.study import Study, probes_alone
from bn_repro.analysis.tables import Runs

Found = dict[Setting, Cell]  # what came out
THEIRS = paper.fewer_steps("inception", "bn_baseline")
of_figure3 = partial(Claim, section="4.2.2, Figure 3", depends_on="the rate")


def claims(runs: Runs) -> Iterator[Claim]:
    """A claim a prediction, or two where one says two things."""
    runs = converged.on_the_same_images(runs)
    found = {setting: cell(runs, setting) for setting in SETTINGS}
    yield every_rate(found)
    yield from depths(found)
    yield from xavier(runs, found)
    yield only_bn(
        "gaussian_ten_modules_bn_trains_difference",
        "From Gaussian weights of 0.03, with ten modules, BN alone trains at every rate, and "
        "Inception at none.",
        runs,
        *at("Gaussian", "ten"),
    )
    yield from caffe(runs)
    yield classifier(found)
    yield from asynchrony(runs, found)


def every_rate(found: Found) -> Claim:
    """Prediction 1: He's weights, four modules."""
    cells = [found[setting] for setting in at("He", "four")]
    asked = [c for c in cells if c.trains or not c.seeds]
    names = [f"at rate {c.setting.rate:g}" for c in asked]
    return of_figure3(
        "he_four_modules_speed_up_ratio",
        "From He's weights, with four modules, BN alone is faster than Inception at every rate at "
        "which Inception trains.",
        quantity=at_each([c.race for c in asked], names, f"{FACTOR}, at each rate"),
        rule=AtEach("rate", 1.0),
        gates=[counts(*asked)],
        paper=THEIRS,
    )


def depths(found: Found) -> Iterator[Claim]:
    """Prediction 2: He's weights, all ten modules."""
    four, ten = (found[Setting("He", depth, OWN)] for depth in DEPTHS)
    yield of_figure3(
        "he_four_over_ten_modules_ratio",
        f"From He's weights BN alone gains more with four modules than with ten, at rate {OWN}.",
        quantity=ratio_of_factors(four, ten),
        rule=Above(1.0),
        gates=[counts(four, ten), four.gate, ten.gate],
    )
    ten = found[Setting("He", "ten", LOWEST)]
    yield of_figure3(
        "he_ten_modules_lowest_rate_ratio",
        "From He's weights, with ten modules, BN alone is not faster than Inception at the lowest "
        f"rate, {LOWEST}.",
        quantity=ten.race.quantity(),
        rule=Below(1.0),
        gates=[counts(ten), ten.gate],
        paper=THEIRS,
    )


def xavier(runs: Runs, found: Found) -> Iterator[Claim]:
    """Prediction 3: Xavier's scale."""
    yield only_bn(
        "xavier_ten_modules_bn_trains_difference",
        "From Xavier's scale, with ten modules, BN alone trains at the lowest rate, "
        f"{LOWEST}, and Inception does not.",
        runs,
        Setting("Xavier", "ten", LOWEST),
    )
    small, he = (found[Setting(block, "four", OWN)] for block in ("Xavier", "He"))
    yield of_figure3(
        "xavier_over_he_four_modules_ratio",
        f"With four modules BN alone gains more from Xavier's scale than from He's, at rate {OWN}.",
        quantity=ratio_of_factors(small, he),
        rule=Above(1.0),
        gates=[counts(small, he), small.gate, he.gate],
    )


def only_bn(id: str, sentence: str, runs: Runs, *settings: Setting) -> Claim:
    """That with BN a network trains that does not without it."""
    rule = Crosses(gates.ALIVE * runs.chance)
    return of_figure3(id, sentence, quantity=only_bn_trains(runs, settings), rule=rule)


def caffe(runs: Runs) -> Iterator[Claim]:
    """Prediction 5: biases of 0.2."""
    biased, plain = ([s for d in DEPTHS for s in at(block, d)] for block in ("Caffe", "Xavier"))
    arms = [[s.inception for s in biased], [s.inception for s in plain], [s.bn for s in plain]]
    with_biases, without, bn = (accuracies(runs, of).mean(axis=1) for of in arms)
    words = f"{q.MAXIMUM}, mean over two depths and three rates, of "
    yield of_figure3(
        "caffe_biases_help_difference",
        "From Xavier's scale, biases of 0.2 make Inception more accurate.",
        quantity=q.difference(with_biases, without, f"{words}Inception with biases minus without"),
        rule=Above(),
        depends_on="the rate, the depth",
    )
    yield of_figure3(
        "bn_over_caffe_biases_difference",
        "From Xavier's scale BN alone is more accurate than Inception with biases of 0.2.",
        quantity=q.difference(bn, with_biases, f"{words}BN-Baseline minus Inception with biases"),
        rule=Above(),
        depends_on="the rate, the depth",
    )


def classifier(found: Found) -> Claim:
    """Prediction 6: larger first weights of the classifier."""
    usual, large = (
        [found[Setting(block, depth, OWN)] for depth in DEPTHS] for block in ("He", "classifier")
    )
    open_at = [d for d, c in zip(DEPTHS, usual, strict=True) if not c.outcome.endswith("faster")]
    met = not open_at if min(c.seeds for c in usual) >= ENOUGH_SEEDS else None
    neither = f"with {' and '.join(open_at)} modules and He's weights neither is faster"
    decided = gates.Gate("from He's one of them is faster at each depth", met, neither)
    words = f"{FACTOR}; Inception's over BN-Baseline's where Inception is the faster from He's"
    races = [
        turned(c.race) if beside.outcome == "Inception is faster" else c.race
        for c, beside in zip(large, usual, strict=True)
    ]
    return of_figure3(
        "classifier_same_winner_ratio",
        "Ten times larger initial weights of the classifier do not change which is faster, at "
        f"rate {OWN}.",
        quantity=at_each(races, [f"with {depth} modules" for depth in DEPTHS], words),
        rule=AtEach("depth", 1.0),
        gates=[decided, counts(*large), *(c.gate for c in large)],
    )


def asynchrony(runs: Runs, found: Found) -> Iterator[Claim]:
    """Prediction 7: gradients that are applied steps after they were taken."""
    yield only_bn(
        "late_50_five_times_bn_trains_difference",
        "With gradients 50 steps late, BN alone trains at five times Inception's rate, and "
        "Inception does not.",
        runs,
        Setting(LATE, "four", FIVE_TIMES, 50),
    )
    few = found[Setting(LATE, "four", OWN, 5)]
    yield of_figure3(
        "late_5_own_rate_trained",
        "With gradients 5 steps late, both train at Inception's own rate.",
        quantity=q.failures(few.both_train, "Share of the seeds at which both exceed twice chance"),
        rule=Above(0.5),
        depends_on="the delay",
    )


STUDY = Study(
    "bn_alone.md.j2", figures, claims, values=bn_alone_report.values, traces=True, keep=probes_alone
)
