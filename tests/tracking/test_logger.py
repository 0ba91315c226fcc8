"""The W&B logger, read back from what it leaves; after a resume; and its silence in trouble."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Event

import pytest
from resumed import silent, stopped
from support import OfflineRun, history_of

from bn_repro.analysis import frames
from bn_repro.analysis.load import load
from bn_repro.analysis.tables import Member
from bn_repro.config.compose import compose
from bn_repro.config.identity import directory_of
from bn_repro.records import paths
from bn_repro.records.accuracy import steps_to
from bn_repro.records.reader import Outcome
from bn_repro.records.recorder import Recorder, write_status
from bn_repro.tracking import live, series, wandb_run
from bn_repro.tracking.live import WandbLogger
from bn_repro.tracking.logger import RunUpload, shortened
from bn_repro.tracking.sent import Destination, is_synced, sent, wandb_id
from bn_repro.tracking.series import steps_key
from bn_repro.tracking.wandb_run import repository, service_of_wandb
from bn_repro.training.run import run

pytestmark = pytest.mark.usefixtures("apart")
WORDS = ["experiment=mnist/bn", "scale=smoke", "train.steps=60", "train.eval_every=20"]
WORDS += ["train.checkpoint_every=20", "train.population_batches=2", "data.limit=2000"]


def offline_in(folder):
    return Destination("offline", "bn", None, folder)


@pytest.mark.parametrize(
    ("row", "key"),
    [
        ({"split": "train", "statistics": "batch", "loss": 1.0}, "train/loss"),
        ({"split": "train", "statistics": "moving", "loss": 1.0}, "train_moving/loss"),
        ({"split": "test", "statistics": "moving", "top1": 1.0}, "test/top1"),
        ({"split": "val", "statistics": "population", "top5": 1.0}, "val_population/top5"),
        ({"site": "hidden3", "unit": 0, "p50": 1.0}, "trace/hidden3/unit/p50"),
        ({"site": "4a.3x3", "unit": None, "std": 1.0}, "trace/4a_3x3/layer/std"),
        ({"site": "4a.3x3", "counts": 1.0}, "histogram/4a_3x3"),
        ({"examples_per_second": 1.0}, "timing/examples_per_second"),
        ({"split": "test", "statistics": "moving", "loss": None}, None),
    ],
)
def test_a_record_becomes_a_series(row, key):
    assert series.values_of({"step": 1, **row}) == ({key: 1.0} if key else {})


def test_an_offline_run_holds_what_the_local_records_hold(tmp_path):
    config = compose([*WORDS, "wandb=offline", "optimizer.lr=0.5", f"runs={tmp_path}"])
    assert run(config, log=silent).state == "completed"
    directory, shown = directory_of(config), OfflineRun(tmp_path)

    history = list(history_of(directory))
    assert shown.history == [{"_step": s, "step": s, **values} for s, values in history]
    assert {"test/top1", "trace/hidden3/unit/p50", "timing/waiting"} <= set(history[-1][1])
    counts = history[-1][1]["histogram/hidden3"]
    assert isinstance(counts, list)
    assert sum(counts) == 60 * 100
    assert {row["train/learning_rate"] for row in shown.history if "train/loss" in row} == {0.5}
    step_of = {r.metric.glob_name: r.metric.step_metric for r in shown.of("metric")}
    assert {step_of[k] for k in ("test*", "train*", "trace/*", "histogram/*")} == {"step"}

    begun = json.loads((directory / paths.MANIFEST).read_text())["started"]
    digits = "".join(c for c in begun if c.isdigit())
    assert shown.about.run_id == f"mnist-{directory.parent.name}-seed0-{digits}"
    assert (shown.about.run_group, shown.about.job_type) == (shown.config["arm"], "train")
    assert shown.about.git.commit == shown.config["manifest.commit"]
    assert {"batch", "mlp", "smoke", "optimizer.lr=0.5", "data.limit=2000"} <= {*shown.about.tags}
    assert shown.config["optimizer.lr"] == 0.5
    arm = shown.config["arm"]
    assert arm.startswith("mnist/bn smoke ")  # its scale, where it is not the usual one
    assert "optimizer.lr=0.5" in arm.split()
    assert "seed" not in arm
    assert shown.about.display_name == f"{arm} seed 0"
    assert shown.config["manifest.data"]
    assert not any(isinstance(v, dict) for k, v in shown.config.items() if k[0] != "_")

    told = load([Member("mnist/bn", "", 0, directory=directory)])
    (row,) = told.runs.to_dict("records")
    summary = shown.summary
    for key in ("state", "step", "final_top1", "best_top1", "best_step"):
        assert summary[key] == row[key], key
    curve = frames.select(told.curves, split="test", statistics="moving", metric="top1")
    for target in series.TARGETS:
        steps = steps_to(zip(curve["step"], curve["value"], strict=True), target)
        assert summary.get(steps_key(target)) == (None if math.isnan(steps) else steps)
    assert "steps_to_20_percent" in summary
    assert not any(key.startswith(("trace/", "histogram/")) for key in summary)

    (artifact,) = (record.artifact for record in shown.of("artifact"))
    names = {content.path for content in artifact.manifest.contents}
    assert artifact.type == "records"
    written = {path.name for path in directory.iterdir() if path.is_file()} - {paths.PUBLISHED}
    assert {*written, "metrics.table.json"} <= names
    assert paths.CORRECT in written

    alone = compose([*WORDS, "optimizer.lr=0.5", f"runs={tmp_path / 'alone'}"])
    run(alone, log=silent)
    for name in (paths.METRICS, paths.TRACES):
        assert (directory / name).read_bytes() == (directory_of(alone) / name).read_bytes()
    assert not (directory_of(alone) / paths.PUBLISHED).exists()


def test_a_run_resumed_offline_is_one_whole_run(tmp_path):
    config = compose([*WORDS, "wandb=offline", f"runs={tmp_path}"])
    assert stopped(config, 30).state == "preempted"
    first = OfflineRun(tmp_path)
    assert first.summary["state"] == "preempted"
    assert first.of("preempting")
    assert first.of("exit")[0].exit.exit_code == 1

    assert run(config, log=silent).state == "completed"
    whole = OfflineRun(tmp_path)  # which is the only one
    assert whole.about.run_id == first.about.run_id
    history = history_of(directory_of(config))
    assert whole.history == [{"_step": s, "step": s, **values} for s, values in history]
    assert whole.summary["state"] == "completed"


def test_what_has_been_synced_is_left_alone(tmp_path, capsys):
    config = compose([*WORDS, "wandb=offline", f"runs={tmp_path}"])
    stopped(config, 10)
    before = OfflineRun(tmp_path).path
    before.with_suffix(".wandb.synced").touch()
    content = before.read_bytes()
    assert run(config, log=silent).state == "completed"
    assert "publish the rest with wandb=online; the run goes on" in capsys.readouterr().err
    assert OfflineRun(tmp_path).path.read_bytes() == content


def test_a_run_killed_between_its_offline_files_is_shown_all_the_same(
    directory, tmp_path, monkeypatch
):
    destination = offline_in(tmp_path)
    record = Recorder(directory, None, WandbLogger(destination))
    write_steps(record, 1, 4)
    written = record.written()
    record.close()
    with monkeypatch.context() as at:
        at.setattr("wandb.init", killed)  # the file before is gone by then
        with pytest.raises(KeyboardInterrupt):
            RunUpload(directory, destination).begin()
    record = Recorder(directory, written, WandbLogger(destination))
    write_steps(record, 5, 6)
    record.close()
    assert [row["step"] for row in OfflineRun(tmp_path).history] == [1, 2, 3, 4, 5, 6]


def killed(**how):
    raise KeyboardInterrupt


@pytest.fixture
def directory(tmp_path):
    """A run directory whose run has begun."""
    directory = paths.run_directory(tmp_path, "mnist/bn", "0a1b2c3d", 0)
    directory.mkdir(parents=True)
    (directory / paths.CONFIG).write_text("{experiment: mnist/bn, seed: 0}")
    (directory / paths.MANIFEST).write_text('{"started": "2026-01-02T03:04:05Z"}')
    return directory


def write_steps(record, first, last):
    for step in range(first, last + 1):
        record.traces([{"step": step, "site": "hidden1", "unit": None, "p50": step / 10}])
        record.metrics(step, "train", "batch", {"loss": 1 / step, "top1": float("nan")})


def test_a_run_resumed_offline_is_synced_without_a_row_twice(directory, tmp_path, server):
    destination = offline_in(tmp_path)
    record = Recorder(directory, None, WandbLogger(destination))
    write_steps(record, 1, 4)
    written = record.written()
    write_steps(record, 5, 6)
    record.close()
    record = Recorder(directory, written, WandbLogger(destination))
    write_steps(record, 5, 9)
    write_status(directory, Outcome("completed", 9, 1.0))
    record.close()
    OfflineRun(tmp_path)
    sync = [sys.executable, "-m", "wandb", "sync", "--yes", str(tmp_path / "wandb")]
    done = subprocess.run(sync, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    (name,) = server.runs
    assert [(r["_step"], r["step"]) for r in server.history(name)] == [(k, k) for k in range(1, 10)]
    assert is_synced(directory)


@pytest.mark.parametrize("seen", ["more than the checkpoint", "less than the checkpoint"])
def test_a_run_killed_online_goes_on_without_a_row_twice(directory, tmp_path, server, seen):
    destination = Destination("online", "bn", None, tmp_path)
    record, upload = Recorder(directory), RunUpload(directory, destination)
    write_steps(record, 1, 6)
    upload.begin()
    written = record.written()
    write_steps(record, 7, 9)
    upload.follow()
    for file in record._files.values():  # as a kill would
        file.close()
    upload.run.finish(exit_code=1)
    (name,) = server.runs
    assert [r["step"] for r in server.history(name)] == list(range(1, 9))
    if "less" in seen:
        lines = server.runs[name]["wandb-history.jsonl"]
        server.runs[name] = {"wandb-history.jsonl": {k: lines[k] for k in range(4)}}

    record = Recorder(directory, written, WandbLogger(destination))
    write_steps(record, 7, 12)
    write_status(directory, Outcome("completed", 12, 1.0))
    record.close()
    assert [*server.runs] == [name] == [wandb_id(directory)]
    shown = server.history(name)
    local = [{"step": s, **values} for s, values in history_of(directory)]
    assert [{k: v for k, v in r.items() if k[0] != "_"} for r in shown] == local
    assert [r["_step"] for r in shown] == list(range(1, 13))
    assert server.summary(name)["state"] == "completed"
    assert server.requests == [f"artifact {name}"]


def test_what_a_failed_step_recorded_is_sent_once_it_is_whole(directory, tmp_path, server):
    """A run that failed at its evaluation goes on by another batch size, from its checkpoint."""
    destination = Destination("online", "bn", None, tmp_path)
    record = Recorder(directory, None, WandbLogger(destination))
    write_steps(record, 1, 5)
    written = record.written()
    record.close("failed")
    record = Recorder(directory, written, WandbLogger(destination))
    record.metrics(5, "val", "moving", {"top1": 0.5})
    write_steps(record, 6, 7)
    record.close("completed")
    (name,) = server.runs
    assert [r["step"] for r in server.history(name)] == list(range(1, 8))
    assert [r["val/top1"] for r in server.history(name) if "val/top1" in r] == [0.5]


def test_an_offline_file_in_another_folder_is_replaced_too(directory, tmp_path):
    for k, name in enumerate(("here", "there")):
        record = Recorder(directory, None, WandbLogger(offline_in(tmp_path / name)))
        write_status(directory, Outcome("running", 0, 0.0))
        write_steps(record, 1, 3)
        record.close("preempted" if k == 0 else "completed")
    assert not list((tmp_path / "here").rglob("*.wandb"))
    assert len(list((tmp_path / "there").rglob("*.wandb"))) == 1


@pytest.mark.parametrize(("live", "alerts"), [(True, 1), (False, 0)])
def test_a_run_that_diverges_while_it_is_watched_is_told_at_once(directory, tmp_path, live, alerts):
    record, upload = Recorder(directory), RunUpload(directory, offline_in(tmp_path), live=live)
    write_steps(record, 1, 3)
    write_status(directory, Outcome("diverged", 3, 1.0))
    record.close()
    upload.begin()
    upload.finish("diverged")
    told = [r.alert for r in OfflineRun(tmp_path).of("alert")]
    assert [(a.title, a.level) for a in told] == alerts * [("diverged", "ERROR")]
    assert all(a.text == "mnist/bn seed 0: the loss was not finite at step 3" for a in told)


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_what_artifacts_copy_is_gone_or_goes_with_the_run(
    directory, tmp_path, server, monkeypatch, mode
):
    monkeypatch.delenv("WANDB_DATA_DIR")
    record = Recorder(directory, None, WandbLogger(Destination(mode, "bn", None, tmp_path)))
    write_steps(record, 1, 3)
    write_status(directory, Outcome("completed", 3, 1.0))
    record.close()
    assert "WANDB_DATA_DIR" not in os.environ
    copies = {path.parent for path in tmp_path.rglob("staging")}
    offline = [path / "artifacts" for path in (tmp_path / "wandb").glob("offline-run-*")]
    assert copies == set(offline if mode == "offline" else [])
    if mode == "online":
        assert len(server.requests) == 1  # the artifact


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://me:secret@example.org/a/b.git\n", "https://example.org/a/b.git"),
        ("ssh://git:secret@example.org:22/a/b", "ssh://example.org:22/a/b"),
        ("git@example.org:a/b.git", "git@example.org:a/b.git"),
        ("/home/me/b", None),
        ("file:///home/me/b", None),
        ("", None),
    ],
)
def test_a_repository_is_told_without_password_or_folder(monkeypatch, url, told):
    done = subprocess.CompletedProcess([], 0, stdout=url)
    monkeypatch.setattr(wandb_run, "is_repository", lambda checkout: True)
    monkeypatch.setattr(subprocess, "run", lambda *args, **how: done)
    assert repository() == told


def test_a_long_name_is_cut_and_kept_apart():
    assert shortened("mnist/bn seed 0", "bn-1a2b") == "mnist/bn seed 0"
    cut = shortened("mnist/bn " + "model.norm_eps=0.001 " * 9, "bn-1a2b3c4d")
    assert len(cut) == 128
    assert cut.endswith("... bn-1a2b3c4d")


def test_a_failed_run_is_shown_as_failed(directory, tmp_path):
    record = Recorder(directory, None, WandbLogger(offline_in(tmp_path)))
    write_status(directory, Outcome("running", 0, 0.0))
    write_steps(record, 1, 3)
    record.close()
    shown = OfflineRun(tmp_path)
    assert shown.summary["state"] == "failed"
    assert shown.of("exit")[0].exit.exit_code == 1
    assert not shown.of("artifact")


def test_a_sweep_names_its_runs_itself(directory, tmp_path, monkeypatch):
    import wandb

    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    monkeypatch.setenv("WANDB_RUN_ID", "abc123")
    wandb.teardown()
    Recorder(directory, None, WandbLogger(offline_in(tmp_path))).close()
    monkeypatch.undo()
    wandb.teardown()
    assert OfflineRun(tmp_path).about.run_id == "abc123"


def told(outcome):
    return outcome.state, outcome.step, outcome.top1


def test_a_sweep_that_asks_for_a_finished_run_sees_it(tmp_path, server, monkeypatch):
    """Its controller waits for the metric, under the id that it gave the run."""
    import wandb

    words = [*WORDS, f"runs={tmp_path}"]
    begun = told(run(compose(words), log=silent))
    online = compose([*words, "wandb=online"])
    assert told(run(online, log=silent)) == begun
    assert server.runs == {}  # it shows itself to none but an agent

    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    monkeypatch.setenv("WANDB_RUN_ID", "abc123")
    wandb.teardown()
    assert told(run(online, log=silent)) == begun
    assert [*server.runs] == ["abc123"]
    history = server.history("abc123")
    local = [{"step": s, **values} for s, values in history_of(directory_of(online))]
    assert [{k: v for k, v in row.items() if k[0] != "_"} for row in history] == local
    summary = server.summary("abc123")
    assert summary["state"] == "completed"
    assert summary["test/top1"] == summary["final_top1"] == begun[2]


def test_an_agent_has_no_part_in_a_run_without_wandb(tmp_path, monkeypatch, capsys):
    words = [*WORDS, f"runs={tmp_path}"]
    begun = told(run(compose(words), log=silent))
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    monkeypatch.setitem(sys.modules, "wandb", None)  # importing it is an error
    assert told(run(compose(words), log=silent)) == begun
    assert capsys.readouterr().err == ""
    assert told(run(compose([*words, "wandb=online"]), log=silent)) == begun
    assert capsys.readouterr().err.startswith("wandb: ")


def test_trouble_over_there_never_ends_a_run(tmp_path, monkeypatch, capsys):
    def broken(*args, **kwargs):
        raise BrokenPipeError("gone")

    monkeypatch.setattr("wandb.init", broken)
    assert run(compose([*WORDS, "wandb=offline", f"runs={tmp_path}"]), log=silent).state == (
        "completed"
    )
    said = capsys.readouterr().err
    assert "wandb: gone; the run goes on" in said
    assert said.count("\n") == 1


def services() -> list[int]:
    """The processes that W&B has begun for this one."""
    mine = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            if int(fields[1]) == os.getpid() and "wandb-core" in (folder / "cmdline").read_text():
                mine.append(int(folder.name))
    return mine


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_a_service_that_is_frozen_or_killed_holds_no_run_up(tmp_path, monkeypatch, capsys, number):
    """It is so while the run trains; the run's end waits for a limited time, and says so."""
    import wandb

    wandb.teardown()
    monkeypatch.setattr(live, "FINISH_SECONDS", 1.0)
    monkeypatch.setattr(live, "EVERY_SECONDS", 0.05)
    config = compose([*WORDS, "wandb=offline", f"runs={tmp_path}"])
    directory, hit = directory_of(config), []

    def freeze(step, values):
        deadline = time.monotonic() + 300
        while not hit and time.monotonic() < deadline:
            if sent(directory, "offline").get("where"):
                hit.extend(services())
                os.kill(hit[0], number)
            time.sleep(0.05)

    assert run(config, log=silent, progress=freeze).state == "completed"
    said = capsys.readouterr().err
    assert said.startswith("wandb: ")
    assert said.count("the run goes on with its local records alone") == 1
    assert not sent(directory, "offline").get("records")
    service = service_of_wandb()
    assert service is not None
    service.wait()
    begun = time.monotonic()
    with suppress(Exception):
        wandb.teardown()  # as at the end of the process
    assert time.monotonic() - begun < 120  # it waits for minutes


def test_an_unreachable_server_costs_a_run_nothing_at_its_start(directory, tmp_path, monkeypatch):
    waited, over = Event(), Event()
    monkeypatch.setattr(RunUpload, "begin", lambda self: (waited.wait(60), over.set()))
    monkeypatch.setattr(live, "FINISH_SECONDS", 0.1)
    write_status(directory, Outcome("running", 0, 0.0))
    record = Recorder(directory, None, WandbLogger(Destination("online", "bn", None, tmp_path)))
    write_steps(record, 1, 2)
    assert not over.is_set()
    record.close()
    waited.set()


def test_without_an_api_key_there_is_a_line_and_no_question(directory, tmp_path, capsys):
    import wandb

    wandb.teardown()
    record = Recorder(directory, None, WandbLogger(Destination("online", "bn", None, tmp_path)))
    write_steps(record, 1, 2)
    record.close()
    said = capsys.readouterr().err
    assert said.startswith("wandb: no API key; log in with: wandb login; the run goes on")
    assert said.count("\n") == 1
    assert (directory / paths.METRICS).read_text().count("\n") == 2
