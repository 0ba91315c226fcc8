"""The 224 network on streamed files, from the command line's words to a finished run."""

import json

import pytest

from bn_repro.config.compose import compose
from bn_repro.config.dataset import ImageNetConfig
from bn_repro.config.identity import directory_of
from bn_repro.config.network import InceptionConfig
from bn_repro.records import paths
from bn_repro.training.run import run

SMALL = [
    "scale=paper",
    "train.steps=2",
    "train.batch_size=4",
    "train.precision=float32",
    "train.population_batches=1",
    "data.workers=0",
]


# From Python 3.12 on, forking a process that has threads warns; torch's loader forks.
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize(
    ("experiment", "workers"), [("imagenet/inception", 0), ("imagenet/bn_x5", 1)]
)
def test_a_dry_run_at_224_through_the_real_loader(experiment, workers, folder, tmp_path):
    words = [f"experiment={experiment}", *SMALL, f"data.root={folder}", f"data.workers={workers}"]
    config = compose([*words, f"runs={tmp_path / 'runs'}"])
    assert isinstance(config.data, ImageNetConfig)
    assert isinstance(config.model, InceptionConfig)
    assert config.data.image_size == 224
    assert config.model.width == 1.0
    outcome = run(config, log=lambda line: None)
    assert (outcome.state, outcome.step) == ("completed", 2), outcome.error
    lines = (directory_of(config) / paths.METRICS).read_text().splitlines()
    last = json.loads(lines[-1])
    assert last["split"] == "val"
    assert last["loss"] > 0
    timing = json.loads((directory_of(config) / paths.TIMING).read_text().splitlines()[-1])
    assert timing["examples_per_second"] > 0
    assert 0 <= timing["waiting"] < 1


def test_too_few_images_for_a_batch_are_told_before_anything_is_written(folder, tmp_path):
    words = ["experiment=imagenet/bn_x5", *SMALL, f"data.root={folder}", "train.batch_size=32"]
    with pytest.raises(ValueError, match="train.batch_size: a mini-batch of 32 needs"):
        run(compose([*words, f"runs={tmp_path / 'runs'}"]), log=lambda line: None)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("data", ["imagenet", "tiny_imagenet", "image_folder"])
def test_a_set_without_its_root_is_told(data, tmp_path):
    words = ["experiment=imagenet/bn_x5", f"data={data}", f"runs={tmp_path / 'runs'}"]
    with pytest.raises(ValueError, match="^data.root: "):
        run(compose(words), log=lambda line: None)
    with pytest.raises(ValueError, match="^data.root: no train/ under "):
        run(compose([*words, f"data.root={tmp_path}"]), log=lambda line: None)
    assert not (tmp_path / "runs").exists()


def test_tiny_imagenet_from_its_files_to_a_run(tiny, tmp_path):
    words = [
        "experiment=imagenet/bn_x30",
        "scale=smoke",
        "data=tiny_imagenet",
        f"data.root={tiny}",
        f"data.cache={tmp_path / 'cache'}",
        f"runs={tmp_path / 'runs'}",
        "train.batch_size=8",
        "train.steps=3",
    ]
    assert run(compose(words), log=lambda line: None).state == "completed"
