"""Paths from the environment: once for all commands, and a typed one wins."""

import pytest
from support import bn_repro

from bn_repro.config.compose import compose
from bn_repro.config.fields import settings
from bn_repro.config.identity import run_id
from bn_repro.config.schema import SETTINGS, Config

VARIABLES = {
    "runs": "BN_REPRO_RUNS",
    "data.root": "BN_REPRO_DATA_ROOT",
    "data.cache": "BN_REPRO_DATA_CACHE",
    "wandb.dir": "BN_REPRO_WANDB_DIR",
}


def value(key, *words):
    config = compose(["experiment=imagenet/bn_x5", *words])
    return {setting.key: setting.value for setting in settings(config)}[key]


@pytest.mark.parametrize("key", VARIABLES)
def test_a_path_is_typed_or_the_environments_or_the_usual_one(monkeypatch, tmp_path, key):
    usual, odd = SETTINGS[key].default, str(tmp_path / "a b=${c}[")
    assert value(key) == usual
    monkeypatch.setenv(VARIABLES[key], odd)
    assert value(key) == odd
    assert value(key, f"{key}=typed") == "typed"
    assert usual is not None or value(key, f"{key}=null") is None
    monkeypatch.setenv(VARIABLES[key], "")
    assert value(key) == usual
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(VARIABLES[key], "~/there")
    assert value(key) == str(tmp_path / "there")


def test_the_id_of_a_run_is_the_same_everywhere(monkeypatch):
    before = run_id(compose(["experiment=mnist/bn"]))
    for variable in VARIABLES.values():
        monkeypatch.setenv(variable, "/elsewhere")
    assert run_id(compose(["experiment=mnist/bn"])) == before
    assert Config().runs == "runs"


def test_help_names_the_variables(monkeypatch, capsys):
    out = " ".join(bn_repro(monkeypatch, capsys, "train", "--help")[1].split())
    for variable in VARIABLES.values():
        assert f"; or by ${variable}" in out


def test_a_folder_for_other_commands_does_not_stop_the_digits(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("BN_REPRO_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("BN_REPRO_DATA_ROOT", "/photographs")
    words = ["train", "experiment=mnist/bn", "scale=smoke", "train.steps=4"]
    code, out, err = bn_repro(monkeypatch, capsys, *words)
    assert code == 0, out + err
    (directory,) = (tmp_path / "runs").glob("mnist/bn-*/seed0")

    monkeypatch.delenv("BN_REPRO_DATA_ROOT")
    monkeypatch.setattr("bn_repro.training.build.build", lambda config: pytest.fail("read anew"))
    code, out, err = bn_repro(monkeypatch, capsys, *words)
    assert (code, f"{directory}: already completed" in out) == (0, True), err
    code, _, err = bn_repro(monkeypatch, capsys, *words, "data.root=/photographs")
    assert (code, "data.root: no run reads it" in err) == (2, True)
