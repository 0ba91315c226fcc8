"""Every file under configs/ composes; every experiment takes a step; the arms differ as said."""

from dataclasses import replace

import pytest
from support import ROOT

from bn_repro.compose import compose
from bn_repro.config import differences
from bn_repro.experiment import run
from bn_repro.study import expand

CONFIGS = ROOT / "configs"
EXPERIMENTS = sorted(
    str(path.relative_to(CONFIGS / "experiment").with_suffix(""))
    for path in (CONFIGS / "experiment").rglob("*.yaml")
    if path.stem != "base"
)
STUDIES = sorted(path.stem for path in (CONFIGS / "study").glob("*.yaml"))
SCALES = sorted(path.stem for path in (CONFIGS / "scale").glob("*.yaml"))
DATA = sorted(path.stem for path in (CONFIGS / "data").glob("*.yaml"))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_composes_at_every_scale_under_its_own_name(experiment, scale):
    config = compose([f"experiment={experiment}", f"scale={scale}"])
    assert (config.experiment, config.scale) == (experiment, scale)


@pytest.mark.parametrize("data", DATA)
def test_a_data_set_can_be_chosen_for_any_experiment(data):
    assert compose(["experiment=mnist/bn", f"data={data}"]).data.name == data


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_takes_a_step(experiment, tmp_path):
    words = ["scale=smoke", "train.steps=2", "train.population_batches=2", f"runs={tmp_path}"]
    outcome = run(compose([f"experiment={experiment}", *words]), say=lambda line: None)
    assert (outcome.state, outcome.step) == ("completed", 2)


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_expands_at_smoke_scale_to_one_seed(study):
    words = ["scale=smoke"]
    config = compose([f"study={study}", *words])
    assert config.study.name == study
    runs, whole = expand(config.study, words, lambda run: 0.5)
    assert whole
    assert len({(r.key[0], r.key[1]) for r in runs}) == len(runs)


def test_the_arms_of_figure_1_differ_in_the_norm_alone():
    baseline, bn = compose(["experiment=mnist/baseline"]), compose(["experiment=mnist/bn"])
    assert differences(replace(bn, model=replace(bn.model, norm="none"))) == differences(baseline)
    assert (baseline.model.norm, bn.model.norm) == ("none", "batch")


def test_section_4_1_is_as_the_paper_has_it():
    config = compose(["experiment=mnist/bn"])
    assert config.model.hidden == [100, 100, 100]
    assert config.model.nonlinearity == "sigmoid"
    assert (config.train.steps, config.train.batch_size) == (50_000, 60)
    assert config.data.name == "mnist_binary"
