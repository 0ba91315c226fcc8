"""Section 2's warning, judged from made-up runs."""

from pathlib import Path

import pytest
from analysis.reports import same_from_files
from support import as_lines

from bn_repro.analysis import report
from bn_repro.analysis.load import load
from bn_repro.analysis.studies import outside_gradient as study
from bn_repro.analysis.studies import outside_gradient_runs
from bn_repro.records import paths

STEPS = (1, 500, 1_000)


@pytest.fixture
def members(make_run):
    """Six seeds of each normalization; outside of the gradient the bias doubles, or not."""

    def made(growth=2.0, lost=True):
        found = []
        for k, arm in enumerate(study.ARMS):
            norm, inside = arm.keys["model.norm"], arm.keys["model.norm"].endswith("inside")
            how = {"steps": 1_000, "eval_every": 250, "pace": 100, "traces": False}
            how |= {
                "top": 0.97 if inside else 0.93,
                "varied": {"model.norm": norm},
                "blocks": "norms",
            }
            if lost and norm.endswith(":scaled"):
                how["state"] = "diverged"
            for seed in range(6):
                one = make_run("mnist/bn", seed, id=f"n{k}", **how)
                sizes = [0.0, 0.0, 1e-8] if inside else [0.1, 1.0 + seed / 10, growth]
                sizes = sizes if inside else [*sizes[:2], sizes[1] * growth]
                rows = [
                    {"step": s, "probe": "weights", "site": f"hidden{k}", "unit": None}
                    | {"norm": 10.0, "gradient": 0.1, "bias": b}
                    for s, b in zip(STEPS, sizes, strict=True)
                    for k in (1, 2, 3)
                ]
                (one.directory / paths.PROBES).write_text(as_lines(rows))
                found.append(one)
        return found

    return made


def test_the_biases_of_all_layers_are_one_number(members):
    found = study.biases(load(members()), outside_gradient_runs.CENTRED)
    assert list(found.columns) == list(STEPS)
    assert found.iloc[0].tolist() == pytest.approx([0.1 * 3**0.5, 3**0.5, 2 * 3**0.5], rel=1e-3)


def test_verdicts(members):
    claims = {claim.id: claim for claim in study.claims(load(members()))}
    assert {claim.verdict for claim in claims.values()} == {"holds"}
    grown = claims["centred_bias_grows_ratio"].quantity.interval
    assert grown.estimate == pytest.approx(2, rel=1e-3)


def test_a_bias_that_stops_and_a_network_that_trains_do_not_hold(members):
    found = {c.id: c.verdict for c in study.claims(load(members(growth=1.01, lost=False)))}
    assert found["centred_bias_grows_ratio"] == found["scaled_outside_fails"] == "does not hold"
    assert found["scaled_inside_difference"] == "holds"


@pytest.mark.usefixtures("drawn_once")
def test_the_report_from_its_files_alone_is_the_same(members, tmp_path: Path):
    out, made = tmp_path / "out", members()
    report.write("outside_gradient", made, out)
    assert "| centred, outside | 2.1" in (out / "README.md").read_text()
    same_from_files("outside_gradient", made, out)


def test_half_a_study_is_undecided(members):
    half = [m for m in members() if "inside" in m.varied["model.norm"]]
    found = {c.id: c.verdict for c in study.claims(load(half))}
    assert found["centred_bias_grows_ratio"] == found["scaled_outside_fails"] == "undecided"
    assert found["centred_bias_stays"] == "holds"


@pytest.mark.parametrize(("bn", "verdict"), [(0.97, "holds"), (0.1, "not testable")])
def test_at_a_higher_rate_a_network_blows_up_only_where_bn_trains(members, make_run, bn, verdict):
    found = members()
    for arm, top in ((study.SCALED, 0.12), (study.SCALED_INSIDE, bn)):
        varied = {**arm.keys, "optimizer.lr": 1.0}
        how = {"steps": 1_000, "traces": False, "varied": varied, "blocks": "rates", "top": top}
        found += [make_run("mnist/bn", s, id=f"r{len(arm.label)}", **how) for s in range(6)]
    claims = {claim.id: claim for claim in study.claims(load(found))}
    assert claims["scaled_outside_fails_1"].verdict == verdict
    assert claims["centred_bias_grows_ratio"].n == 6
