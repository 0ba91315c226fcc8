"""A checkpoint is whole or not there."""

import pytest
import torch

from bn_repro.training import checkpoint


def saved(tmp_path, *steps):
    return [checkpoint.save(tmp_path, s, {"step": s, "w": torch.full((3,), s)}) for s in steps]


def test_the_last_two_are_kept_and_the_last_is_loaded(tmp_path):
    saved(tmp_path, 5, 10, 100)
    assert len(list(tmp_path.iterdir())) == 2
    state = checkpoint.load_latest(tmp_path)
    assert state is not None
    assert state["step"] == 100
    assert torch.equal(state["w"], torch.full((3,), 100))


@pytest.mark.parametrize("damage", ["cut", "empty", "flip"])
def test_a_damaged_file_is_passed_over_for_the_one_before(tmp_path, damage):
    _, last = saved(tmp_path, 5, 10)
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes({"cut": content[:-1], "empty": b"", "flip": content}[damage])
    state = checkpoint.load_latest(tmp_path)
    assert state is not None
    assert state["step"] == 5


def test_damaged_files_are_not_counted_among_those_kept(tmp_path):
    for path in saved(tmp_path, 50, 100):
        path.write_bytes(b"")
    again = saved(tmp_path, 30)  # as the run begins anew, from its start
    assert list(tmp_path.iterdir()) == again
    again[0].write_bytes(b"")
    for other in range(8):  # the same step once more, with other seconds in it
        path = checkpoint.save(tmp_path, 30, {"step": 30, "w": torch.tensor(other)})
        assert list(tmp_path.iterdir()) == [path]


def test_none_without_any(tmp_path):
    assert checkpoint.load_latest(tmp_path) is None
    assert checkpoint.load_latest(tmp_path / "missing") is None


def test_weights_of_another_network_are_told_in_one_line(tmp_path):
    model, other = torch.nn.Linear(3, 2), torch.nn.Linear(4, 2)
    with pytest.raises(ValueError, match="of another network: weight is 2x4 there and 2x3 here"):
        checkpoint.load_weights(model, other.state_dict(), tmp_path)
    checkpoint.load_weights(model, torch.nn.Linear(3, 2).state_dict(), tmp_path)


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
