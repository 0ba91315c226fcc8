"""The words of a command line: what cannot be meant is refused, and the form to paste is right."""

import os
import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from support import call

from bn_repro.cli.overrides import for_hydra, not_understood, several_values
from bn_repro.config.compose import compose
from bn_repro.config.schema import SETTINGS, StudyConfig
from bn_repro.sweep.study import expand

ODD = [
    "a=b",
    "a&b",
    "a#b",
    "a(b)",
    "a[1]",
    "[a",
    "a{b}",
    "ä/ß",
    "日",
    "a'b",
    'a"b',
    "a;b",
    "a~b",
    "=\\",
]


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("key", ["runs", "data.root", "hydra.run.dir"])
def test_what_needs_quotes_is_told_with_the_character_and_the_form_to_paste(key, value):
    word, parser = f"{key}={value}", OverridesParser.create()
    with pytest.raises(HydraException):
        parser.parse_override(word)
    line = not_understood(word, "Unknown function 'a'")
    odd = next(c for c in value if c in "=&#([{ä日'\";~")
    assert line.startswith(f"{word}: {odd!r} needs quotes; give ")
    (pasted,) = shlex.split(line.partition("give ")[2])
    assert parser.parse_override(pasted).value() == value


def test_a_text_that_a_study_lists_reaches_its_runs_as_it_is():
    for odd in [*ODD, "plain", "a,b", "a b"]:
        study = StudyConfig(blocks=[{"experiment": ["mnist/bn"], "wandb.tags": [[odd]]}])
        ((run,), _) = expand(study, [], lambda run: None)
        assert run.config.wandb.tags == [odd]


@pytest.mark.parametrize(
    "key", ["model", "model.norm", "optimizer", "seed", "data", "scale", "hydra"]
)
def test_nothing_can_be_taken_out(key, monkeypatch, capsys):
    """Once ``~model`` trained the network without BN, under the name of that with it."""
    code, _, err = call(monkeypatch, capsys, "experiment=mnist/bn", f"~{key}")
    assert code == 2
    assert err == f"error: ~{key}: nothing can be taken out of a configuration; give other values\n"
    with pytest.raises(ValueError, match=f"^~{key}"):
        compose(["experiment=mnist/bn", f"~{key}"])


@pytest.mark.parametrize(
    ("word", "sweeps", "said"),
    [
        ("seed=0,1", True, "several values; add -m to try each"),
        ("seed=0,1", False, "several values; this script takes one"),
        ("model.norm=batch,none", True, "several values; add -m to try each"),
        ("foo=a,b", True, "several values; add -m to try each"),
        (
            "runs=a,b",
            True,
            "several values; add -m to try each; with a comma in it, give 'runs=\"a,b\"'",
        ),
        ("wandb.tags=a,b", True, "several values; give a list as wandb.tags=[a,b]"),
        ("model.hidden=9,9", True, "several values; give a list as model.hidden=[9,9]"),
    ],
)
def test_a_comma_offers_a_list_only_where_the_key_takes_one(word, sweeps, said):
    assert several_values(word, sweeps) == f"{word}: {said}"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["mnist/bn"], "mnist/bn: expected key=value; did you mean experiment=mnist/bn?"),
        (["fig1"], "fig1: expected key=value; did you mean study=fig1?"),
        (["experiment=mnist/bn", ""], "an empty argument: expected key=value"),
        (["experiment=mnist/bn", "--seed=3"], "--seed=3: keys have no dashes; give seed=3"),
        (["experiment=mnist/bn", "ä=3"], "ä: no such key"),
        (["study=fig1", "run=0"], "run: no such key; did you mean study.run?"),
        (["study=fig1", "seeds=2"], "seeds: no such key; did you mean study.seeds?"),
        (["experiment=mnist/bn", "optimizer.r0=0.1"], "where model.name is not inception"),
        (["experiment=mnist/bn", "optimizer.lr=0.1;"], "optimizer.lr=0.1;: not understood"),
        (["experiment=mnist/bn", "optimizer.lr=interval(1)"], "missing a required argument: 'end'"),
        (["experiment=mnist/bn", "wandb.tags=[a;b]"], "give 'wandb.tags=[\"a;b\"]'"),
        (["experiment=mnist/bn", "+optimizer.foo=1"], "optimizer has lr, r0, momentum"),
        (["experiment=mnist/bn", "+optimizer.lr=1"], "optimizer.lr: is there already; leave out"),
        (["experiment=mnist/bn", "model.norm=null"], "model.norm: null, but it needs a value"),
        (["experiment=mnist/bn", "scale=null"], "scale: no name given"),
        (["experiment=mnist/bn", "runs=???"], "runs: missing mandatory value"),
        (["experiment=[mnist/bn,mnist/baseline]"], "a list; give one name, or several by commas"),
        (["experiment=mnist/bn", "scale=[smoke]"], "scale=[smoke]: a list; give one name"),
        (["-m", "experiment=mnist/bn", "seed=range(0,100000000)"], "-m: 100,000,000 runs; at most"),
        (["-m", "experiment=mnist/bn,mnist/baseline", "seed=range(0,60000)"], "-m: 120,000 runs"),
        (["-m", "experiment=mnist/bn", "hydra.sweeper.max_batch_size=0"], "hydra: refused by an"),
        (["--cfg", "job", "--package", "nope"], "package 'nope' not found in config"),
    ],
)
def test_a_word_that_hydra_does_not_take_is_one_line(words, said, monkeypatch, capsys):
    code, _, err = call(monkeypatch, capsys, *words)
    assert code == 2
    assert said in err
    assert err.count("\n") <= 1


@pytest.mark.parametrize("folder", ["2026.10", "1e3", "007", "1_000", "true", "nan", ".5", "~/x"])
def test_a_text_that_looks_like_a_number_is_the_text(folder):
    runs = compose(for_hydra(["experiment=mnist/bn", f"runs={folder}"])).runs
    assert runs == os.path.expanduser(folder)
    study = StudyConfig(blocks=[{"experiment": ["mnist/bn"], "runs": [folder]}])
    ((run,), _) = expand(study, [], lambda run: None)
    assert run.config.runs == os.path.expanduser(folder)


@pytest.mark.parametrize("key", [key for key, s in SETTINGS.items() if s.field.metadata["path"]])
def test_every_path_is_expanded_and_checked(key, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))

    def value(*words):
        section, _, name = f".{key}".rpartition(".")
        config = compose(["experiment=mnist/bn", *words])
        return getattr(getattr(config, section[1:]) if section else config, name)

    assert value(f'{key}="~/a b"') == f"{tmp_path}/a b"
    assert value(f'{key}="./~x"') == "./~x"
    for bad in ("", " ", "~nobody-of-this-name/x", "None"):
        with pytest.raises(ValueError, match=f"^{key}: "):
            value(f'{key}="{bad}"')


def test_the_paths_are_the_keys_that_are_folders():
    paths = {key for key, setting in SETTINGS.items() if setting.field.metadata["path"]}
    assert paths == {"runs", "out", "data.root", "data.cache", "wandb.dir"}


def test_none_is_null():
    assert for_hydra(["data.cache=None", "-m", "model.norm=none"]) == [
        "-m",
        "data.cache=null",
        "model.norm=none",
    ]


def test_every_kind_of_key_has_a_line_for_a_value_that_is_no_grammar():
    for key in SETTINGS:
        assert not_understood(f"{key}=;", "").startswith(f"{key}=;: ")
