"""Local records sent to W&B later: all of them, once; and sweeps and reports."""

import json
import os
import re
import runpy
import shutil
import signal
import sys
from unittest.mock import Mock

import pytest
import yaml
from filelock import FileLock
from support import ROOT, OfflineRun, call, history_of

import bn_repro
from bn_repro.cli.publish import directories_to_send
from bn_repro.config.compose import compose
from bn_repro.config.identity import directory_of, tags_of, usual_scale, variation
from bn_repro.records import paths, reader
from bn_repro.sweep.study import expand
from bn_repro.tracking import publish
from bn_repro.training.checkpoint import TrainingState
from bn_repro.training.run import run

pytestmark = pytest.mark.usefixtures("apart")
SMOKE = ["scale=smoke", "train.steps=20", "train.eval_every=10", "data.limit=500"]
SMOKE += ["train.population_batches=2"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two runs of Figure 1 trained without W&B, one of them with another rate."""
    runs = tmp_path_factory.mktemp("trained")
    for words in ([], ["optimizer.lr=0.5"]):
        run(compose(["experiment=mnist/bn", *SMOKE, *words, f"runs={runs}"]), log=lambda line: None)
    return runs


@pytest.fixture
def runs(trained, tmp_path):
    """A copy of them."""
    shutil.copytree(trained, tmp_path / "runs")
    return tmp_path / "runs"


def published(*words):
    """What the command prints, for the words of its line."""
    said, config = list[str](), compose(words)
    publish.publish_all(config, directories_to_send(config, list(words)), said.append)
    return "\n".join([*said, ""])


ONE = ["experiment=mnist/bn", *SMOKE]


def test_a_run_published_later_is_as_if_it_had_been_logged_live(runs, tmp_path):
    published(*ONE, f"runs={runs}", "wandb=offline")
    live = compose([*ONE, f"runs={tmp_path / 'live'}", "wandb=offline"])
    run(live, log=lambda line: None)
    later, logged = OfflineRun(runs), OfflineRun(tmp_path / "live")
    clock = {"timing/examples_per_second", "timing/waiting"}
    assert [{**r, **dict.fromkeys(clock & set(r))} for r in later.history] == [
        {**r, **dict.fromkeys(clock & set(r))} for r in logged.history
    ]
    assert later.about.run_id.split("-")[:4] == logged.about.run_id.split("-")[:4]
    for name in ("run_group", "job_type", "tags", "display_name"):
        assert getattr(later.about, name) == getattr(logged.about, name), name
    configs = [
        {k: v for k, v in told.config.items() if not k.startswith("manifest.")}
        for told in (later, logged)
    ]
    assert configs[0] == configs[1]
    assert later.summary.keys() == logged.summary.keys()
    assert "there already" in published(*ONE, f"runs={tmp_path / 'live'}", "wandb=offline")


def test_asked_twice_it_sends_nothing_twice(runs):
    words = [f"runs={runs}", "wandb=offline"]
    said = published(*words)
    assert "2 runs: 2 sent" in said
    assert f"wandb sync {runs}/wandb" in said
    files = {path: path.stat().st_mtime_ns for path in (runs / "wandb").rglob("*.wandb")}
    assert len(files) == 2
    assert "2 runs: 2 there already" in published(*words)
    assert {path: path.stat().st_mtime_ns for path in (runs / "wandb").rglob("*.wandb")} == files


def test_a_run_with_half_a_configuration_is_left_out_and_the_others_are_sent(runs):
    path = directory_of(compose([*ONE, f"runs={runs}"])) / paths.CONFIG
    path.write_text(path.read_text().replace("scale: smoke\n", ""))
    said = published(f"runs={runs}", "wandb=offline")
    assert f"{path.parent}: not a run's records ('scale'); left out" in said
    assert "2 runs: " in said
    assert "1 sent" in said


def test_what_came_later_is_sent_too(runs):
    words = [*ONE, f"runs={runs}", "wandb=offline"]
    published(*words)
    row = {"crops": 144, "statistics": "moving", "split": "test", "step": 20, "top1": 0.5}
    directory = directory_of(compose(words))
    (directory / paths.EVALUATION).write_text(json.dumps(row) + "\n")
    assert "1 sent" in published(*words)
    assert OfflineRun(runs).summary["evaluation/144_moving/top1"] == 0.5
    assert "1 sent" in published(*words, "wandb.tags=[thesis]")
    assert "thesis" in OfflineRun(runs).about.tags
    assert "1 there already" in published(*words)
    assert "1 sent" in published(*words, "wandb.project=another")
    assert "1 sent" in published(*words, "wandb.project=another", "force=true")


def test_a_study_is_a_tag_of_its_runs(runs, tmp_path):
    words = ["study=fig1", "scale=smoke", "train.steps=4", f"runs={tmp_path / 'fig1'}"]
    planned, _ = expand(compose(words).study, words, lambda run: None)
    run(planned[1].config, log=lambda line: None)
    said = published(*words, "wandb=offline")
    assert "2 runs: 1 not finished, 1 sent" in said
    shown = OfflineRun(tmp_path / "fig1")
    assert {"fig1", "train.steps=4"} <= {*shown.about.tags}


def test_killed_half_way_it_is_made_whole(runs, server, monkeypatch):
    import wandb

    words = [*ONE, f"runs={runs}", "wandb=online"]
    directory, rows = directory_of(compose(words)), []
    log = wandb.Run.log

    def cut_short(self, values, **options):
        rows.append(values)
        if len(rows) == 6:
            self.finish(exit_code=1)
            raise ConnectionError("gone")
        log(self, values, **options)

    monkeypatch.setattr(wandb.Run, "log", cut_short)
    with pytest.raises(OSError, match="wandb: gone; 0 of 1 runs are done, and the same command"):
        published(*words)
    monkeypatch.setattr(wandb.Run, "log", log)
    (name,) = server.runs
    assert len(server.history(name)) == 5

    assert "1 sent" in published(*words)
    local = [{"step": s, **values} for s, values in history_of(directory)]
    shown = [{k: v for k, v in r.items() if k[0] != "_"} for r in server.history(name)]
    assert shown == local
    (directory / paths.PUBLISHED).unlink()  # as if sent from elsewhere
    assert "1 sent" in published(*words)
    assert len(server.history(name)) == len(local)


def test_a_damaged_run_and_a_busy_one_are_left_out(runs, tmp_path):
    shutil.copytree(directory_of(compose([*ONE, f"runs={runs}"])), runs / "mnist/bn-cafe/seed0")
    damaged = runs / "mnist/bn-cafe/seed0/metrics.jsonl"
    damaged.write_text('{"step": 1\n' + damaged.read_text())
    busy = directory_of(compose([*ONE, f"runs={runs}", "optimizer.lr=0.5"]))
    with FileLock(paths.lock_file(busy)):
        shutil.copytree(busy, copy := busy.with_name("seed3"))
        said = published(f"runs={runs}", "wandb=offline")
    assert f"{copy}: its config.yaml is of seed 0, so it is a copy" in said
    assert "bn-cafe/seed0/metrics.jsonl: line 1 is not JSON" in said
    assert f"{busy}: another process works on this run; left out" in said
    assert "1 sent" in said
    assert "3 left out" in said
    with pytest.raises(publish.CannotSend, match="so it is a copy"):
        publish.write_events(copy)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "wandb: give wandb=online, or wandb=offline"),
        (["wandb=offline", "runs=nowhere"], "runs: no run directory under"),
        (["wandb=offline", "experiment=mnist/bn"], "is not finished; finish it with"),
        (["wandb=offline", "study=fig1"], "each of 200 runs is not finished"),
        (["wandb=online", *ONE], "wandb: no API key; log in with: wandb login"),
    ],
)
def test_bad_input_is_told_in_a_line(runs, words, said, monkeypatch, capsys):
    import wandb

    wandb.teardown()
    code, _, err = call(monkeypatch, capsys, f"runs={runs}", *words, command="publish")
    assert said in err
    assert err.count("\n") == 1
    assert code == 2


def test_a_report_shows_figures_tables_and_verdicts(tmp_path, capsys):
    folder = ROOT / "results" / "fig1"
    config = compose(["study=fig1", "wandb=offline", f"wandb.dir={tmp_path}"])
    for _ in range(2):
        publish.publish_report(config, "fig1", folder)
    shown = OfflineRun(tmp_path)
    assert (shown.about.job_type, shown.about.run_group) == ("report", "fig1")
    (row,) = shown.history
    assert row["figures/figure1/_type"] == "image-file"
    assert row["tables/claims/_type"] == row["tables/runs/_type"] == "table-file"
    (artifact,) = (r.artifact for r in shown.of("artifact") if r.artifact.type == "report")
    names = {content.path for content in artifact.manifest.contents}
    assert {"runs.csv", "figure1.svg", "claims.json", "README.md"} <= names
    claims = json.loads((folder / "claims.json").read_text())
    assert shown.summary[f"claim/{claims[0]['id']}"] == claims[0]["verdict"]

    other = ["study=fig1", "scale=smoke", "wandb=offline", f"wandb.dir={tmp_path / 'other'}"]
    publish.publish_report(compose(other), "fig1", folder)
    assert OfflineRun(tmp_path / "other").about.run_group == "fig1 smoke"  # beside no other

    publish.publish_report(config, "fig1", tmp_path / "nothing")
    assert re.search(r"^wandb: .*the report in .*nothing is complete$", capsys.readouterr().err)


def test_what_was_varied_is_told(tmp_path):
    from dataclasses import asdict

    plain = asdict(compose(["experiment=imagenet/bn_x5"]))
    assert variation(plain) == {}
    assert {"batch", "inception", "tiny_imagenet", "proxy"} <= {*tags_of(plain)}
    words = ["experiment=mnist/baseline", "scale=smoke", "optimizer.lr=0.5", "seed=3"]
    assert variation(asdict(compose(words))) == {"optimizer.lr": 0.5}
    assert "no norm" in tags_of(asdict(compose(words)))
    assert variation({**plain, "experiment": "imagenet/of_another_time"}) == {}


@pytest.mark.parametrize(("name", "scale"), [("mnist/bn", "paper"), ("imagenet/bn_x5", "proxy")])
def test_the_usual_scale_is_what_it_is_called(name, scale):
    assert usual_scale(name) == scale
    usual, named = (compose([f"experiment={name}", f"scale={s}"]) for s in ("default", scale))
    assert (usual.model, usual.data, usual.train) == (named.model, named.data, named.train)


EVALUATED = {"crops": 144, "statistics": "moving", "split": "test", "step": 20, "top1": 0.5}


def test_a_network_goes_along_and_its_evaluation_says_that_it_used_it(
    runs, server, monkeypatch, capsys
):
    words = [*ONE, f"runs={runs}", "wandb=online"]
    directory = directory_of(compose(words))
    (directory / paths.EVALUATION).write_text(json.dumps(EVALUATED) + "\n")
    assert call(monkeypatch, capsys, *words, command="publish")[0] == 0
    (name,) = server.runs
    assert server.requests == [f"artifact {name}"]  # its records; no network was asked for

    with monkeypatch.context() as at:  # what goes wrong in between is made good
        at.setattr("wandb.Run.use_artifact", Mock(side_effect=ConnectionError("gone")))
        code, _, err = call(at, capsys, *words, "wandb.log_model=final", command="publish")
    assert (code, err) == (
        1,
        "error: wandb: gone; 0 of 1 runs are done, and the same command goes on from there\n",
    )
    server.requests.clear()
    asked = [*words, "wandb.log_model=final"]
    code, out, _ = call(monkeypatch, capsys, *asked, command="publish")
    assert code == 0
    assert "1 sent" in out
    model = f"{name}-weights"
    sent = [f"artifact {name}", f"artifact {model}", f"asked for {model}:final"]
    assert server.requests == [*sent, f"{name}-evaluation used id of {model}"]
    assert server.summary(f"{name}-evaluation")["evaluation/144_moving/top1"] == 0.5
    assert server.told[f"{name}-evaluation"]["jobType"] == "evaluate"
    assert server.told[f"{name}-evaluation"]["groupName"] == server.told[name]["groupName"]
    assert "1 there already" in call(monkeypatch, capsys, *asked, command="publish")[1]
    assert bn_repro.load(directory / paths.WEIGHTS).config.experiment == "mnist/bn"


def test_a_run_without_a_network_is_sent_without(runs, monkeypatch, capsys):
    words = [*ONE, f"runs={runs}", "wandb=offline", "wandb.log_model=final"]
    shutil.rmtree(directory_of(compose(words)) / paths.CHECKPOINTS)
    code, out, _ = call(monkeypatch, capsys, *words, command="publish")
    assert code == 0
    assert "no intact checkpoint of step 20" in out
    assert "; without its network" in out
    assert "1 runs: 1 sent" in out
    assert "1 there already" in call(monkeypatch, capsys, *words, command="publish")[1]


def test_a_run_that_is_watched_leaves_its_network_at_its_end(tmp_path):
    config = compose([*ONE, f"runs={tmp_path}", "wandb=offline", "wandb.log_model=final"])
    assert run(config, log=lambda line: None).state == "completed"
    artifacts = {r.artifact.type: r.artifact for r in OfflineRun(tmp_path).of("artifact")}
    assert artifacts.keys() == {"records", "model"}
    names = {content.path for content in artifacts["model"].manifest.contents}
    assert names == {"weights.safetensors", "weights.md"}
    assert "final" in artifacts["model"].aliases
    network = bn_repro.load(directory_of(config) / paths.WEIGHTS).network
    assert not network.training


def words_of_the_agent(sweep, arguments):
    """What ``wandb agent`` calls ``train.py`` with, by wandb's own functions."""
    from wandb.sdk.launch.sweeps import utils

    macros = utils.create_sweep_command_args({"args": arguments})
    macros |= {"env": ["/usr/bin/env"], "program": [sweep["program"]]}
    command = []
    for word in utils.create_sweep_command(list(sweep["command"])):
        name = re.fullmatch(r"\$\{(\w+)\}", word)
        command += macros[name[1]] if name else [word]
    assert command[:4] == ["/usr/bin/env", "python", "scripts/train.py", "wandb=online"]
    return command[3:]


def as_the_agent(words, monkeypatch):
    """The exit code of ``train.py``, in a sweep's run of a given id."""
    import wandb

    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    monkeypatch.setenv("WANDB_RUN_ID", "abc123")
    wandb.teardown()
    monkeypatch.setattr(sys, "argv", [str(ROOT / "scripts" / "train.py"), *words])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(sys.argv[0], run_name="__main__")
    return end.value.code


@pytest.fixture
def sweep():
    """The sweep that comes with the project, and the arguments of a short run of it."""
    sweep = yaml.safe_load((ROOT / "configs" / "wandb_sweep.yaml").read_text())
    first = {key: p.get("values", [p.get("value")])[0] for key, p in sweep["parameters"].items()}
    chosen = {**first, "experiment": "mnist/bn", "train.steps": 40, "data.limit": 500}
    return sweep, {key: {"value": value} for key, value in chosen.items()}


def test_a_run_that_the_agent_starts_again_goes_on_where_it_was(
    sweep, server, tmp_path, monkeypatch
):
    """A preempted run of a sweep gets all that it told W&B of itself as words (wandb#9143)."""
    own = ["train.eval_every=20", "train.checkpoint_every=10", f"runs={tmp_path}"]
    save = TrainingState.save

    def save_and_stop(self, *how):
        os.kill(os.getpid(), signal.SIGTERM)
        return save(self, *how)

    with monkeypatch.context() as at:
        at.setattr(TrainingState, "save", save_and_stop)
        words = [*words_of_the_agent(*sweep), "scale=smoke", "force=true", *own]
        assert as_the_agent(words, at) == 75
    told = json.loads(server.told["abc123"]["config"])
    assert told["optimizer.lr"]["value"] == 0.03
    assert told["data.held_out"]["value"] == 10_000
    assert {"model.hidden", "manifest.versions.torch", "arm"} <= set(told)
    assert not [key for key in told if key.startswith(("wandb.", "study.", "force", "runs"))]
    assert not [key for key, v in told.items() if isinstance(v["value"], dict) and key[0] != "_"]

    again = [*words_of_the_agent(sweep[0], told), f"runs={tmp_path}"]
    assert any(word.startswith("manifest.") for word in again)
    assert as_the_agent(again, monkeypatch) == 0
    (directory,) = (tmp_path / "mnist").glob("*/seed0")
    assert reader.read_status(directory)["state"] == "completed"
    assert len(reader.read_manifest(directory)["resumed"]) == 1
    assert [*server.runs] == ["abc123"]
    local = [step for step, _ in history_of(directory)]
    assert [row["step"] for row in server.history("abc123")] == local
    metric, last = sweep[0]["metric"]["name"], server.history("abc123")[-1]
    assert {metric, "test/top1", "val/top1"} <= set(last)
    assert metric in server.summary("abc123")
