"""A run whose files were altered, damaged or removed: it goes on equally, or says so in a line."""

import hashlib
import io
import json
import shutil
from pathlib import Path

import pytest
import resumed
import torch
from resumed import assert_same_run, config_of, silent

from bn_repro.config.identity import directory_of
from bn_repro.records import paths
from bn_repro.records.reader import finished, last_status
from bn_repro.training.run import build, run


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The directory of a run that nothing happened to."""
    config = config_of(tmp_path_factory.mktemp("whole"))
    assert run(config, log=silent).state == "completed"
    return directory_of(config)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The runs folder of a run that was stopped at step 70, with checkpoints of 60 and 70."""
    runs = tmp_path_factory.mktemp("stopped")
    resumed.stopped(config_of(runs), 70)
    return runs


@pytest.fixture
def cut(stopped, tmp_path):
    """A copy of it: the configuration, and the directory."""
    shutil.copytree(stopped, tmp_path / "runs")
    config = config_of(tmp_path / "runs")
    return config, directory_of(config)


@pytest.mark.parametrize("name", [paths.METRICS, paths.TRACES, paths.HISTOGRAMS, paths.TIMING])
def test_a_record_that_was_deleted_is_told(cut, name):
    config, directory = cut
    (directory / name).unlink()
    outcome = run(config, log=silent)
    assert outcome.state == "failed"
    assert f"{name}: 0 bytes, but its checkpoint recorded" in str(outcome.error)


@pytest.mark.parametrize("what", ["directory", "runs", "replaced", "metrics"])
def test_a_run_whose_files_are_removed_fails_and_leaves_nothing_behind(tmp_path, what):
    config = config_of(tmp_path / "runs")
    directory = directory_of(config)

    def remove(step: int, values) -> None:
        if step == 50 and what == "metrics":
            (directory / paths.METRICS).unlink(missing_ok=True)
        elif step == 50 and directory.exists():
            shutil.move(directory, tmp_path / "aside")
            if what == "runs":
                shutil.rmtree(tmp_path / "runs")
            if what == "replaced":
                shutil.copytree(tmp_path / "aside", directory)

    outcome = run(config, log=silent, progress=remove)
    assert outcome.state == "failed"
    assert str(outcome.error).endswith("while the run trained; start over with force=true")
    if what == "replaced":
        assert last_status(directory).state == "running"  # as it was laid there
    else:
        assert not (directory / paths.STATUS).exists() or what == "metrics"
        assert finished(directory) is None


@pytest.mark.parametrize("name", [paths.STATUS, paths.MANIFEST])
@pytest.mark.parametrize("content", [b"", b'{"step": null, "data": 5}'])
def test_a_damaged_status_or_manifest_loses_nothing(cut, whole, name, content):
    config, directory = cut
    (directory / name).write_bytes(content)
    said = []
    assert run(config, log=said.append).state == "completed"
    assert any(line.startswith(f"{directory / name}: ") for line in said)
    assert_same_run(directory, whole)
    assert json.loads((directory / paths.MANIFEST).read_text())["data"]


@pytest.mark.parametrize("lost", [True, False])
def test_a_run_whose_manifest_is_lost_keeps_its_engine_and_threads(cut, lost):
    config, directory = cut
    (directory / paths.MANIFEST).unlink() if lost else (directory / paths.MANIFEST).write_text("")
    with pytest.raises(ValueError, match=r"train\.engine: .* was begun with by_hand"):
        run(config_of(Path(config.runs), "train.engine=eager"), log=silent)
    with pytest.raises(ValueError, match=r"threads: .* was begun with 1, not with 2"):
        run(config_of(Path(config.runs), "threads=2"), log=silent)


@pytest.mark.parametrize("lost", [True, False])
def test_a_run_whose_manifest_is_lost_refuses_other_data_and_is_not_spoilt(
    cut, whole, lost, monkeypatch
):
    config, directory = cut
    (directory / paths.MANIFEST).unlink() if lost else (directory / paths.MANIFEST).write_text("")
    before = sorted(directory.rglob("*"))
    status = (directory / paths.STATUS).read_bytes()
    other = build(config)
    own, other[1].fingerprint = other[1].fingerprint, "0" * 64
    monkeypatch.setattr("bn_repro.training.run.build", lambda config: other)
    with pytest.raises(
        ValueError, match=f"^{directory}: the run was begun on data {own[:16]}, but .* is now 00000"
    ):
        run(config, log=silent)
    assert (sorted(directory.rglob("*")), (directory / paths.STATUS).read_bytes()) == (
        before,
        status,
    )
    monkeypatch.undo()
    assert run(config, log=silent).state == "completed"
    assert_same_run(directory, whole)


def test_a_finished_run_whose_status_is_lost_ends_as_it_did(whole, tmp_path):
    config = config_of(tmp_path)
    shutil.copytree(whole, directory_of(config))
    (directory_of(config) / paths.STATUS).write_bytes(b"")
    assert run(config, log=silent).state == "completed"
    assert_same_run(directory_of(config), whole)


@pytest.mark.parametrize("name", [paths.METRICS, paths.TRACES, paths.HISTOGRAMS, paths.TIMING])
def test_a_record_altered_at_the_same_length_is_told(cut, name):
    config, directory = cut
    path = directory / name
    content = bytearray(path.read_bytes())
    at = next(i for i in range(len(content) // 2, len(content)) if content[i : i + 1].isdigit())
    content[at] = ord("1") if content[at] != ord("1") else ord("2")
    path.write_bytes(content)
    outcome = run(config, log=silent)
    assert outcome.state == "failed"
    assert f"{path}: its first" in str(outcome.error)
    assert path.read_bytes() == content


def test_a_finished_run_with_garbled_metrics_is_named(whole, tmp_path):
    config = config_of(tmp_path)
    shutil.copytree(whole, directory_of(config))
    path = directory_of(config) / paths.METRICS
    content = path.read_bytes()
    path.write_bytes(content[:300] + b"\xff" + content[301:])
    with pytest.raises(ValueError, match=f"^{path}: line 3 is not JSON; start over with force"):
        run(config, log=silent)


def test_a_run_copied_to_another_seed_is_not_taken_for_that_seeds(whole, stopped, tmp_path):
    for name, original in (("whole", whole), ("cut", directory_of(config_of(stopped)))):
        config = config_of(tmp_path / name, "seed=1")
        shutil.copytree(original, directory_of(config))
        with pytest.raises(ValueError, match="config.yaml is of seed 0, so it is a copy of that"):
            run(config, log=silent)


def altered(path: Path, change) -> None:
    """The checkpoint with a ``change``, under its own digest."""
    saved = torch.load(path, weights_only=True)
    change(saved)
    buffer = io.BytesIO()
    torch.save(saved, buffer)
    content = buffer.getvalue()
    path.unlink()
    name = f"step{saved['step']:09d}-{hashlib.sha256(content).hexdigest()[:16]}.pt"
    path.with_name(name).write_bytes(content)


def of_another_shape(saved) -> None:
    saved["optimizer"]["state"] = {0: {"momentum_buffer": torch.zeros(3)}}


@pytest.mark.parametrize(
    ("change", "count"),
    [
        (lambda saved: saved.pop("last"), 1),
        (lambda saved: saved["optimizer"]["param_groups"].clear(), 1),
        (lambda saved: saved.update(written={paths.METRICS: "long"}), 2),
        (of_another_shape, 2),
        (lambda saved: saved.update(step=10**6 + saved["step"]), 2),
    ],
)
def test_a_checkpoint_that_does_not_fit_gives_way_to_the_one_before(cut, whole, change, count):
    config, directory = cut
    for path in sorted((directory / paths.CHECKPOINTS).iterdir())[-count:]:
        altered(path, change)
    said = []
    assert run(config, log=said.append).state == "completed"
    assert sum("damaged; going on from" in line for line in said) == count
    assert_same_run(directory, whole)
