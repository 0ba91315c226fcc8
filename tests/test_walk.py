"""From the wheel, in an empty folder: Figure 1, its histograms, its weights, one's own norm."""

import importlib
import re

import pytest
from support import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text()
SMALL = ["scale=smoke", "train.steps=120"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("walk")


@pytest.fixture(scope="module")
def trained(installed, folder):
    """Figure 1's networks by arm, with event files."""
    installed.said("study", "fig1", "seeds=1", *SMALL, "logger=tensorboard", cwd=folder)
    runs = {arm: folder.glob(f"runs/mnist/{arm}-*/seed0") for arm in ("baseline", "bn")}
    return {arm: next(found) for arm, found in runs.items()}


def test_the_histograms_of_the_last_layer_are_there_over_time_without_an_account(trained):
    loader = importlib.import_module(
        "tensorboard.backend.event_processing.event_file_loader"
    ).EventFileLoader
    for directory in trained.values():
        (file,) = directory.glob("tensorboard/events.out.tfevents.*")
        shown = {
            event.step
            for event in loader(str(file)).Load()
            for value in event.summary.value
            if value.metadata.plugin_data.plugin_name == "histograms" and "hidden3" in value.tag
        }
        assert {1, 100, 120} <= shown


def test_the_better_network_is_loaded_in_three_lines(installed, trained, folder):
    code = f"""
import bn_repro
network, config = bn_repro.load("{trained["bn"].relative_to(folder)}")
print(config.experiment, network.training)
"""
    assert installed.evaluate(code, folder).split() == ["mnist/bn", "False"]


def test_the_two_runs_are_compared(installed, trained, folder):
    out = installed.said("diff", *(str(trained[arm]) for arm in ("baseline", "bn")), cwd=folder)
    assert re.search(r"model\.norm.*none.*batch", out)
    assert re.search(r"accuracy|top-1", out)


def test_a_norm_of_ones_own_trains_without_a_checkout(installed, trained, folder):
    (text,) = re.findall(r"^`mine.py`, new:\n\n```python\n(.*?)```$", PAGE, re.DOTALL | re.M)
    (folder / "mine.py").write_text(text)
    words = ["experiment=mnist/bn", "model.norm=mine:rms", *SMALL]
    assert "completed at step 120" in installed.said("train", *words, cwd=folder)
    (own,) = (
        path.parent
        for path in folder.glob("runs/mnist/bn-*/seed0/config.yaml")
        if "mine:rms" in path.read_text()
    )
    out = installed.said("diff", str(trained["bn"]), str(own), cwd=folder)
    assert re.search(r"model\.norm.*batch.*mine:rms", out)
