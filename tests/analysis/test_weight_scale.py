"""What section 3.3 says of scale, judged from made-up rows of its probes."""

from pathlib import Path

import pytest
from analysis.reports import same_from_files
from support import as_lines

from bn_repro.analysis import report
from bn_repro.analysis.load import load
from bn_repro.analysis.prose import Prose
from bn_repro.analysis.studies import weight_scale
from bn_repro.records import paths

SITES = ("hidden1", "hidden2", "hidden3")
EXACT, NONE = 1e-15, 0.9


def scaled(step, bn, exact):
    for site in SITES:
        for epsilon in (0.0, 1e-5) if bn else (0.0,):
            for a in (0.001, 1.0, 1000.0):
                departure = exact if bn and not epsilon else NONE
                names = ("output", "input_gradient", "weight_gradient")
                row = {"step": step, "probe": "scale", "site": site, "unit": None}
                row |= {"epsilon": epsilon, "scale": a, "gradient": 1 / a if bn else 1.0}
                yield row | dict.fromkeys(names, departure * (a != 1))


def trained(step, bn, seed):
    for k, site in enumerate(SITES):
        row = {"step": step, "site": site, "unit": None}
        norm = (1 + 0.1 * k + 0.01 * seed) * (1 + step / (20_000 if bn else 10_000))
        yield row | {"probe": "weights", "norm": norm, "gradient": 0.1}
        for normalized in (0, 1) if k else ():
            near = (0.8 if bn else 2.0) + 0.01 * seed
            of_s = {"p15": 0.2, "p50": 0.8, "p85": 1.5, "distance": near, "within": 0.6 + 0.01 * k}
            yield row | {"probe": "jacobians", "normalized": normalized, **of_s}


@pytest.fixture
def members(make_run):
    """Six seeds of each block, with the rows that the probes would write."""

    def made(exact=EXACT):
        found = []
        for arm in ("mnist/baseline", "mnist/bn", "imagenet/inception", "imagenet/bn_baseline"):
            bn = arm in ("mnist/bn", "imagenet/bn_baseline")
            block = "layers" if arm.startswith("mnist") else "Inception"
            how = {"steps": 1_000, "traces": False}
            for seed in range(6):
                one = make_run(arm, seed, id=f"s{bn:d}", blocks=block, **how)
                rows = [row for step in (1, 1_000) for row in scaled(step, bn, exact)]
                members = [(one, rows)]
                if block == "layers":
                    other = make_run(arm, seed, id=f"t{bn:d}", blocks="training", **how)
                    members.append((other, [r for s in (1, 500) for r in trained(s, bn, seed)]))
                for member, lines in members:
                    (member.directory / paths.PROBES).write_text(as_lines(lines))
                    found.append(member)
        return found

    return made


def test_verdicts(members):
    claims = {c.id: c for c in weight_scale.claims(load(members()))}
    assert {c.verdict for c in claims.values()} == {"holds"}
    assert claims["scale_leaves_output_exact"].n == 12  # MNIST and Inception
    assert claims["jacobian_last_distance_ratio"].quantity.interval.estimate < 0.5
    assert claims["normalized_jacobian_last_distance_ratio"].n == 6
    assert claims["jacobian_first_within_difference"].n == 6
    assert claims["jacobian_first_within_difference"].quantity.beside == "without BN +11.50"


def test_a_layer_that_departs_does_not_hold(members):
    exact, gradient, *_ = weight_scale.claims(load(members(exact=1e-6)))
    assert (exact.verdict, gradient.verdict) == ("does not hold", "does not hold")


def test_nothing_measured_is_undecided(members):
    without = [m for m in members() if m.blocks == "Inception" and m.experiment.endswith("ion")]
    assert {c.verdict for c in weight_scale.claims(load(without))} == {"undecided"}


def test_the_text_shows_what_departs(members):
    runs = load(members())
    words = Prose("weight_scale", weight_scale.STUDY, runs, list(weight_scale.claims(runs)))
    assert "| BN-Baseline | output | 0.9 | 0 | 0.9 |" in words["findings"]
    assert (
        "| with BN | J, normalized inputs | last step | 0.20 | 0.80 | 1.50 |" in words["findings"]
    )
    assert "the scale of the weights changes nothing but their gradient" in words["outcome"]


@pytest.mark.usefixtures("drawn_once")
def test_the_report_from_its_files_alone_is_the_same(members, tmp_path: Path):
    out, made = tmp_path / "out", members()
    report.write("weight_scale", made, out)
    files = same_from_files("weight_scale", made, out)
    assert {"probes.csv.gz", "figure_weight_scale.svg"} <= files
