"""Every file under configs/ composes; every experiment takes a step; the arms differ as said."""

from dataclasses import replace

import hydra
import pytest
from support import ROOT

from bn_repro.config.compose import compose, compose_once, plain
from bn_repro.config.identity import differences
from bn_repro.config.network import MLPConfig
from bn_repro.sweep.study import expand
from bn_repro.training.run import run

CONFIGS = ROOT / "configs"
EXPERIMENTS = sorted(
    str(path.relative_to(CONFIGS / "experiment").with_suffix(""))
    for path in (CONFIGS / "experiment").rglob("*.yaml")
    if path.stem != "base"
)
STUDIES = sorted(path.stem for path in (CONFIGS / "study").glob("*.yaml"))
DATA = sorted(path.stem for path in (CONFIGS / "data").glob("*.yaml"))


FIRST = {experiment.split("/")[0]: experiment for experiment in reversed(EXPERIMENTS)}
SCALES = sorted((FIRST[path.parent.name], path.stem) for path in CONFIGS.glob("scale/*/*.yaml"))


@pytest.mark.parametrize(
    ("experiment", "scale"), sorted({*((e, "smoke") for e in EXPERIMENTS), *SCALES})
)
def test_every_experiment_and_every_scale_composes_under_its_own_name(experiment, scale):
    config = compose([f"experiment={experiment}", f"scale={scale}"])
    assert (config.experiment, config.scale) == (experiment, scale)


@pytest.mark.parametrize(
    "words",
    [
        ["optimizer.lr=0.5", "experiment=mnist/bn", "model.hidden=[7,8]", "scale=smoke"],
        ["experiment=imagenet/bn_x5", "data=synthetic", "data.root=null", "runs=some/where"],
        ["study=fig1", "train.steps=3", "wandb.tags=[a,'b c']", "study.seeds=2", "wandb=offline"],
    ],
)
def test_plain_keys_are_set_as_hydra_sets_them(words):
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        assert compose(words) == plain(hydra.compose("config", overrides=words), words)


@pytest.mark.parametrize("word", ["optimizer.lr=0.5", "runs=a/${seed}", "data.limit=${seed}"])
def test_what_is_composed_once_for_all_seeds_is_as_if_composed_for_each(word):
    for seed in (3, 4):
        words = [word, f"seed={seed}", "experiment=mnist/bn"]
        assert compose_once(words) == compose(words)


@pytest.mark.parametrize("data", DATA)
def test_a_data_set_can_be_chosen_for_any_experiment(data):
    assert compose(["experiment=mnist/bn", f"data={data}"]).data.name == data


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_takes_a_step(experiment, tmp_path):
    words = ["scale=smoke", "train.steps=2", "train.population_batches=2", f"runs={tmp_path}"]
    outcome = run(compose([f"experiment={experiment}", *words]), log=lambda line: None)
    assert (outcome.state, outcome.step) == ("completed", 2)


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_expands_at_smoke_scale_to_one_seed(study):
    words = ["scale=smoke"]
    config = compose([f"study={study}", *words])
    assert config.study.name == study
    runs, whole = expand(config.study, words, lambda run: 0.5)
    assert whole
    of_block = [(block, r.key[0], r.key[1]) for r in runs for block in r.blocks]
    assert len(set(of_block)) == len(of_block)


def test_the_arms_of_figure_1_differ_in_the_norm_alone():
    baseline, bn = compose(["experiment=mnist/baseline"]), compose(["experiment=mnist/bn"])
    assert differences(replace(bn, model=replace(bn.model, norm="none"))) == differences(baseline)
    assert (baseline.model.norm, bn.model.norm) == ("none", "batch")


def test_section_4_1_is_as_the_paper_has_it():
    config = compose(["experiment=mnist/bn"])
    assert isinstance(config.model, MLPConfig)
    assert config.model.hidden == [100, 100, 100]
    assert config.model.nonlinearity == "sigmoid"
    assert (config.train.steps, config.train.batch_size) == (50_000, 60)
    assert config.data.name == "mnist_binary"


SEVEN_CHANGES = {
    "optimizer.lr": 0.0075,
    "model.dropout": 0.0,
    "optimizer.weight_decay": 8e-6,
    "optimizer.decay_speed": 6.0,
    "model.lrn": False,
    "data.shuffling": "within_shard",
    "data.photometric": "reduced",
}
"""Section 4.2.1, in its order."""


def test_bn_x5_is_bn_baseline_and_all_seven_changes():
    words = [f"{key}={value}" for key, value in SEVEN_CHANGES.items()]
    length = "train.paper_steps=6000000"  # of the run at paper scale, which the faster decay leaves
    baseline, made = (
        differences(compose(["experiment=imagenet/bn_baseline", length, *more]))
        for more in ([], words)
    )
    assert made == differences(compose(["experiment=imagenet/bn_x5"]))
    assert {k for k in baseline | made if baseline.get(k) != made.get(k)} == {*SEVEN_CHANGES}


@pytest.mark.parametrize(
    ("experiment", "parent", "changed"),
    [
        ("bn_baseline", "inception", {"model.norm": "batch"}),
        ("bn_x30", "bn_x5", {"optimizer.lr": 0.045}),
        ("bn_x5_sigmoid", "bn_x5", {"model.nonlinearity": "sigmoid"}),
        ("inception_x5", "inception", {"optimizer.lr": 0.0075}),
        ("bn_baseline_x5", "inception_x5", {"model.norm": "batch"}),
        ("inception_sigmoid", "inception", {"model.nonlinearity": "sigmoid"}),
    ],
)
def test_the_networks_of_section_4_2_2_differ_as_the_paper_says(experiment, parent, changed):
    words = [f"{key}={value}" for key, value in changed.items()]
    made = compose([f"experiment=imagenet/{parent}", *words])
    assert differences(made) == differences(compose([f"experiment=imagenet/{experiment}"]))


def test_the_rates_are_multiples_of_inceptions():
    rates = {
        name: compose([f"experiment=imagenet/{name}"]).optimizer.lr
        for name in ("inception", "bn_baseline", "bn_x5", "bn_x30")
    }
    one = rates["inception"]
    assert one == 0.0015
    assert list(rates.values()) == [0.0015, 0.0015, 0.0075, 0.045]


@pytest.mark.parametrize("r0", ["0.02", "0.03", "0.07"])  # times 30, times 5: not as one writes it
def test_a_scale_sets_inceptions_rate_and_so_can_a_user(r0):
    for name, factor in (("inception", 1), ("bn_baseline_x5", 5), ("bn_x5", 5), ("bn_x30", 30)):
        words = [f"experiment=imagenet/{name}", "scale=digits"]
        typed = compose([*words, f"optimizer.r0={r0}"])
        written = compose([*words, f"optimizer.lr={round(factor * float(r0), 6)}"])
        assert differences(typed) == differences(written)


@pytest.mark.parametrize(
    ("scale", "data", "left"),
    [("digits", "mnist_binary", {"photometric"}), ("photographs", "tiny_imagenet", set())],
)
@pytest.mark.parametrize("experiment", ["inception", "bn_x5"])
def test_a_scale_moves_no_setting_of_an_experiment_but_those_its_data_lack(
    experiment, scale, data, left
):
    usual = compose([f"experiment=imagenet/{experiment}"])
    small = compose([f"experiment=imagenet/{experiment}", f"scale={scale}"])
    assert small.data.name == data
    own = {"model.width", "model.modules", "train.steps", "train.eval_every", "train.eval_dense"}
    of_data = {"name", "image_size", "classes", "held_out", "limit"}
    own |= {f"data.{key}" for key in of_data | left} | {"optimizer.lr", "train.final_splits"}
    one, other = differences(usual), differences(small)
    assert {key for key in one | other if one.get(key) != other.get(key)} <= own
    assert getattr(small.model, "modules", None) == ["3b", "4a", "4e", "5b"]
