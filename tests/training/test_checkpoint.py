"""A checkpoint is whole or not there."""

import hashlib
import io
import os
import pickle

import pytest
import torch

from bn_repro.training import checkpoint


def state_of(step, w):
    parts = {"optimizer": {}, "replicas": [], "average": None, "seconds": 1.0, "last": {}}
    return {"step": step, "model": {"w": w}, **parts}


def saved(tmp_path, *steps):
    return [checkpoint.save(tmp_path, s, state_of(s, torch.full((3,), s))) for s in steps]


def test_the_last_two_are_kept_and_the_last_is_loaded(tmp_path):
    saved(tmp_path, 5, 10, 100)
    assert len(list(tmp_path.iterdir())) == 2
    state = checkpoint.load_latest(tmp_path)
    assert state is not None
    assert state["step"] == 100
    assert torch.equal(state["model"]["w"], torch.full((3,), 100))


@pytest.mark.parametrize("damage", ["cut", "empty", "flip"])
def test_a_damaged_file_is_passed_over_for_the_one_before(tmp_path, damage):
    _, last = saved(tmp_path, 5, 10)
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes({"cut": content[:-1], "empty": b"", "flip": content}[damage])
    state = checkpoint.load_latest(tmp_path)
    assert state is not None
    assert state["step"] == 5


class Foreign:
    """What only a pickle of another program would hold."""


def named(content):
    return f"step000000010-{hashlib.sha256(content).hexdigest()[:16]}.pt"


def file_of(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


WITHOUT = {k: v for k, v in state_of(10, torch.zeros(3)).items() if k != "model"}


@pytest.mark.parametrize(
    "content",
    [
        *(pickle.dumps(Foreign()), b"no pickle", file_of(Foreign()), file_of(5), file_of(WITHOUT)),
        *(file_of(state_of(10, 5)), file_of(state_of("10", torch.zeros(3)))),
        pickle.dumps({"a": 1}, protocol=4),  # of which torch warns
        file_of(state_of(9, torch.zeros(3))),
        file_of(state_of(10, torch.zeros(3)) | {"replicas": [1]}),
        file_of(state_of(10, torch.zeros(3)) | {"seconds": float("nan")}),
        file_of(state_of(10, torch.zeros(3)) | {"last": {"top1": "x"}}),
    ],
)
def test_a_file_of_the_right_digest_that_is_no_checkpoint_is_passed_over(tmp_path, content):
    saved(tmp_path, 5)
    (tmp_path / named(content)).write_bytes(content)
    said = []
    state = checkpoint.load_latest(tmp_path, log=said.append)
    assert state is not None
    assert state["step"] == 5
    (line,) = said
    assert line.startswith(f"{tmp_path / named(content)}: damaged")
    assert "weights_only" not in line


@pytest.mark.parametrize("kind", ["folder", "link", "dangling link", "fifo", "loop"])
def test_what_is_no_file_is_passed_over_and_stays(tmp_path, kind):
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "checkpoints"
    elsewhere.mkdir()
    (target,) = saved(elsewhere, 50)
    saved(folder, 5)
    path = folder / target.name
    if kind == "folder":
        path.mkdir()
        (path / "note").touch()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to({"link": target, "loop": path}.get(kind, tmp_path / "none"))
    said = []
    state = checkpoint.load_latest(folder, log=said.append)
    assert state is not None
    assert state["step"] == 5
    assert [line.split(": ")[:2] for line in said] == [[str(path), "damaged"]]
    saved(folder, 40, 60)  # a run goes on
    assert os.path.lexists(path)


def test_a_file_with_an_odd_name_is_passed_over(tmp_path):
    saved(tmp_path, 5)
    for name in ("stepx-0.pt", "step9-x.pt", "best.pt", "step000000010-.pt"):
        (tmp_path / name).write_bytes(b"")
    said = []
    state = checkpoint.load_latest(tmp_path, log=said.append)
    assert state is not None
    assert state["step"] == 5
    assert len(said) == 4
    saved(tmp_path, 10)
    assert (tmp_path / "best.pt").exists()


def test_damaged_files_are_not_counted_among_those_kept(tmp_path):
    for path in saved(tmp_path, 50, 100):
        path.write_bytes(b"")
    again = saved(tmp_path, 30)  # as the run begins anew, from its start
    assert list(tmp_path.iterdir()) == again
    again[0].write_bytes(b"")
    for other in range(8):  # the same step once more, with other seconds in it
        path = checkpoint.save(tmp_path, 30, state_of(30, torch.tensor(other)))
        assert list(tmp_path.iterdir()) == [path]


def test_none_without_any(tmp_path):
    assert checkpoint.load_latest(tmp_path) is None
    assert checkpoint.load_latest(tmp_path / "missing") is None


def test_weights_of_another_network_are_told_in_one_line(tmp_path):
    model, other = torch.nn.Linear(3, 2), torch.nn.Linear(4, 2)
    with pytest.raises(ValueError, match="of another network: weight is 2x4 there and 2x3 here"):
        checkpoint.load_weights(model, other.state_dict(), tmp_path)
    checkpoint.load_weights(model, torch.nn.Linear(3, 2).state_dict(), tmp_path)


def test_a_save_makes_no_folder_but_its_own(tmp_path):
    with pytest.raises(FileNotFoundError):
        saved(tmp_path / "seed0" / "checkpoints", 5)
    assert list(tmp_path.iterdir()) == []


def test_weights_in_another_layout_are_of_another_network(tmp_path):
    model = torch.nn.Linear(3, 2)
    saved = {name: value.to_sparse() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"weight is 2x3 torch\.sparse_coo there and 2x3 here"):
        checkpoint.load_weights(model, saved, tmp_path)


def test_moving_averages_of_another_network_are_told(tmp_path):
    model = torch.nn.Linear(3, 2)
    state = {**state_of(5, None), "model": model.state_dict(), "replicas": [torch.zeros(7)]}
    checkpoint.save(tmp_path, 5, state)
    with pytest.raises(ValueError, match="its moving averages are of another network"):
        checkpoint.load_trained(model, tmp_path, 5)


def test_an_interrupted_save_leaves_the_one_before(tmp_path, monkeypatch):
    saved(tmp_path, 5)

    def interrupted(*paths):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        saved(tmp_path, 10)
    monkeypatch.undo()
    state = checkpoint.load_latest(tmp_path)
    assert state is not None
    assert state["step"] == 5
    saved(tmp_path, 15)
    assert not list(tmp_path.glob(".*"))
