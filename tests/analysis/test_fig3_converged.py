"""Figures 2 and 3 after convergence: each claim shown to hold and not to hold, and its gates."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from bn_repro.analysis import intervals, report, results
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.studies import converged, fig3_digits, fig3_photographs, inception
from bn_repro.analysis.studies.fig3_failures import SIGMOID
from bn_repro.analysis.studies.inception import (
    BN_BASELINE,
    BN_SIGMOID,
    BN_X5,
    BN_X30,
    INCEPTION,
    NETWORKS,
)
from bn_repro.analysis.tables import CURVE_COLUMNS, RUN_COLUMNS, Member, Runs

SEEDS = range(6)
DENSE = [*range(5, 100, 5), *range(100, 1_801, 50)]
DISTORTIONS, CROPS = "weaker_distortions_difference", "multi_crop_difference"


class Made(NamedTuple):
    """A made-up network: its accuracy rises to near its top by ``arrives``, to it at ``peak``."""

    block: str
    experiment: str
    top: float
    arrives: int
    peak: int = 1_700


# With these all that the paper says is so.
MADE_UP = {
    INCEPTION.label: Made("networks", "imagenet/inception", 0.952, 1_650),
    BN_BASELINE.label: Made("networks", "imagenet/bn_baseline", 0.962, 500),
    BN_X5.label: Made("networks", "imagenet/bn_x5", 0.970, 90, 1_000),
    BN_X30.label: Made("networks", "imagenet/bn_x30", 0.985, 400),
    BN_SIGMOID.label: Made("networks", "imagenet/bn_x5_sigmoid", 0.93, 900),
    converged.X5.label: Made("failures", "imagenet/inception_x5", 0.1, 100),
    SIGMOID.label: Made("failures", "imagenet/inception_sigmoid", 0.1, 100),
    converged.CONTROL.label: Made("sigmoid control", "imagenet/bn_baseline", 0.9, 900),
    converged.LONGER.label: Made("rest", "imagenet/inception", 0.952, 1_650),
}
# And with these nothing: Inception is the most accurate and the first, and what fails trains.
TURNED = {
    INCEPTION.label: (0.99, 90, 1_700),
    converged.LONGER.label: (0.99, 90, 1_700),
    BN_BASELINE.label: (0.972, 400, 1_700),
    BN_X5.label: (0.962, 1_000, 1_700),
    BN_X30.label: (0.952, 300, 1_000),
    BN_SIGMOID.label: (0.975, 400, 1_700),
    converged.X5.label: (0.9, 400, 1_700),
    SIGMOID.label: (0.9, 400, 1_700),
}


def made_up(
    changed: dict[str, tuple[float, int, int]] | None = None,
    *,
    seeds: Iterable[int] = SEEDS,
    labels: Iterable[str] = tuple(MADE_UP),
    split: str = "test",
    last: float = 0.0,
) -> Runs:
    """``changed``: top, arrival and peak by label; ``last``: added at the last evaluation."""
    runs, curves, members = [], [], []
    for number, label in enumerate(MADE_UP):
        made = MADE_UP[label]._replace(
            **dict(zip(("top", "arrives", "peak"), (changed or {}).get(label, ()), strict=False))
        )
        for seed in seeds if label in labels else ():
            key = (made.experiment, f"0000000{number}", seed)
            varied = {"scale": "digits_long"} if made.block == "rest" else {}
            members.append(Member(*key, varied, blocks=made.block))
            steps = np.array(DENSE if made.block != "rest" else [*DENSE, *range(1_850, 3_601, 50)])
            pace, height = 1 + 0.01 * (seed % 3 - 1), made.top + 0.001 * (seed % 3 - 1)
            rise = 0.951 * np.minimum(1, steps / (pace * made.arrives))
            rise += 0.049 * np.minimum(1, steps / made.peak)
            values = 0.1 + max(height - 0.1, 0.0) * rise - 1e-6 * np.maximum(0, steps - made.peak)
            values[-1] += last
            curves += [
                [*key, step, split, "moving", "top1", value]
                for step, value in zip(steps.tolist(), values.tolist(), strict=True)
            ]
            best = int(values.argmax())
            numbers = [steps[-1], values[-1], values[best], steps[best]]
            row = [*key, "completed", *numbers, 60.0, "c0ffee", "cpu", "eager", "0123", 10]
            runs.append(dict(zip(RUN_COLUMNS, [*row, made.block], strict=True)) | varied)
    frame = pd.DataFrame(runs, columns=[*RUN_COLUMNS, "scale"])
    none = pd.DataFrame(columns=["experiment", "id", "seed", "unit"])
    return Runs("fig3_digits", members, frame, pd.DataFrame(curves, columns=CURVE_COLUMNS), none)


def _claims(runs: Runs) -> dict[str, Claim]:
    return {claim.id: claim for claim in fig3_digits.STUDY.claims(runs)}


def _verdicts(runs: Runs) -> dict[str, str]:
    return {id: claim.verdict for id, claim in _claims(runs).items()}


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough for these verdicts, and fast."""
    monkeypatch.setattr(intervals, "bootstrap", partial(intervals.bootstrap, resamples=200))


@pytest.fixture(scope="module")
def runs() -> Runs:
    return made_up()


def test_each_claim_holds_where_the_paper_is_right(runs: Runs) -> None:
    found = _verdicts(runs)
    assert len(found) == 15
    assert {found.pop(id) for id in (DISTORTIONS, CROPS)} == {"not testable"}
    assert set(found.values()) == {"holds"}, found


def test_none_holds_where_it_is_wrong() -> None:
    found = _verdicts(made_up(TURNED))
    assert {found.pop(id) for id in (DISTORTIONS, CROPS)} == {"not testable"}
    assert found.pop("bn_x5_sigmoid_trained") == "holds"
    assert set(found.values()) == {"does not hold"}, found
    untrained = _verdicts(made_up({BN_SIGMOID.label: (0.1, 90, 900)}))
    assert untrained["bn_x5_sigmoid_trained"] == "does not hold"


OVER_TIME = ("baseline_speed_up", "x5_further_speed_up", "x5_speed_up", "x30_slower_at_first")
OVER_TIME += ("x30_later_maximum",)


def test_speeds_and_maxima_wait_for_inception_to_rest() -> None:
    """The target and the maxima would be others, were it trained for longer."""
    restless = _claims(made_up({converged.LONGER.label: (0.975, 1_650, 1_700)}))
    asked = {
        *(f"bn_{name}_ratio" for name in OVER_TIME),
        *(id for id in restless if "_over_" in id),
    }
    assert len(asked) == 10
    for id, claim in restless.items():
        waits = id in asked
        assert (claim.verdict == "not testable") == (waits or id in (DISTORTIONS, CROPS)), id
        reason = "Inception has not converged: twice the length adds 2.70 %"
        assert (reason in claim.reason) == waits
    unknown = _claims(
        made_up(labels=[label for label in MADE_UP if label != converged.LONGER.label])
    )
    assert {unknown[id].verdict for id in asked} == {"undecided"}
    assert {unknown[id].reason.partition(" Inception")[0] for id in asked} == {"not known whether"}


def test_what_fails_is_not_blamed_where_its_control_fails_too() -> None:
    found = _verdicts(made_up({converged.CONTROL.label: (0.1, 100, 1_700)}))
    assert found["inception_sigmoid_failed"] == "not testable"
    assert found["inception_x5_failed"] == "holds"
    found = _verdicts(made_up({INCEPTION.label: (0.19, 1_650, 1_700)}))
    assert found["inception_x5_failed"] == "not testable"
    assert found["inception_sigmoid_failed"] == "holds"


def test_two_seeds_decide_nothing() -> None:
    found = _claims(made_up(seeds=range(2)))
    for id in (DISTORTIONS, CROPS):
        assert found.pop(id).verdict == "not testable"
    assert {claim.verdict for claim in found.values()} == {"undecided"}
    assert all(claim.reason.startswith("fewer than 5 ") for claim in found.values())


def test_an_evaluation_on_other_images_is_no_maximum_and_no_crossing() -> None:
    """The last one, on all digits; photographs have no such evaluation, and keep it."""
    seen, raised = made_up(), made_up(last=0.01)
    cut = converged.on_the_same_images(raised)
    assert inception.best(raised, BN_X5).max() > 0.98
    for arm in NETWORKS:
        own = arm.of(converged.networks(cut))
        before = inception.curves(converged.networks(raised), arm).iloc[:, :-1]
        pd.testing.assert_frame_equal(inception.curves(converged.networks(cut), arm), before)
        assert own.runs["best_top1"].tolist() == before.max(axis=1).tolist()
        assert own.runs["best_step"].tolist() == before.idxmax(axis=1).tolist()
        assert own.runs["final_top1"].tolist() != before.iloc[:, -1].tolist()
    assert _verdicts(seen) == _verdicts(raised)
    whole = {claim.id: claim for claim in fig3_photographs.STUDY.claims(raised)}
    assert whole["bn_x30_later_maximum_ratio"].verdict == "undecided"  # all at the last step


def test_what_diverged_has_no_evaluation_on_all_images() -> None:
    runs = made_up()
    died = (runs.runs["experiment"] == "imagenet/bn_x30").to_numpy()
    state, step = runs.runs["state"].where(~died, "diverged"), runs.runs["step"].where(~died, 500)
    kept = (runs.curves["experiment"] != "imagenet/bn_x30") | (runs.curves["step"] <= 500)
    runs = replace(
        runs, runs=runs.runs.assign(state=state, step=step), curves=runs.curves.loc[kept]
    )
    own = BN_X30.of(converged.on_the_same_images(runs))
    assert own.runs["best_step"].tolist() == [500] * 6
    nothing = converged.on_the_same_images(replace(runs, curves=runs.curves.iloc[:0]))
    assert np.isnan(nothing.runs["best_top1"].to_numpy()).all()


def _report(name: str, runs: Runs, out: Path) -> str:
    """The study's page, written from its rows."""
    for frame, file in ((runs.runs, results.RUNS), (runs.curves, results.CURVES)):
        results.write(out / file, results.to_csv(frame, file))
    report.write(name, runs.members, out)
    return (out / results.README).read_text()


@pytest.mark.usefixtures("drawn_once")
def test_the_page_is_written_from_values(runs: Runs, tmp_path: Path) -> None:
    words = _report("fig3_digits", runs, tmp_path)
    for figure in ("figure2", "figure3", "figure_targets", "figure_failures"):
        assert f"![{figure}]({figure}.svg)" in words
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    report.write("fig3_digits", runs.members, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert "- **Converged?** Yes" in words
    assert "| BN-x5 | 90 | 2.1M | 17.8 [" in words
    assert "| BN-x5-Sigmoid | 900 (900 to 950) | never |" in words
    assert "| Inception-x5 | 6 of 6 stayed at chance |" in words
    assert "| BN-Baseline-Sigmoid | 6 of 6 trained |" in words
    assert "Not finished" not in words


@pytest.mark.usefixtures("drawn_once")
def test_few_seeds_and_missing_runs_are_told(tmp_path: Path) -> None:
    """Two seeds, as ``make figures`` has them; and a study of which hardly anything is there."""
    words = _report("fig3_digits", made_up(seeds=range(2)), tmp_path)
    assert "Not known yet: it takes 5 seeds" in words
    assert "| BN-x5 | 90 (90, 90) | 2.1M | 17.8 | 14.8 | 96.9 % (96.9, 97.0) | 73.0 % |" in words
    assert words.count("**undecided**: fewer than 5 ") == 13
    (tmp_path / "some").mkdir()
    whole = made_up(split="val")
    some = whole.where(experiment="imagenet/inception_sigmoid", seed=[0, 1])
    words = _report("fig3_photographs", replace(some, members=whole.members), tmp_path / "some")
    assert "**Not finished:** Inception (0 of 6 runs), " in words
    assert "there is no target to count steps to" in words
    assert "nan" not in words
