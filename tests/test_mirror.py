"""The W&B mirror, read back from what an offline run leaves; and its silence in trouble."""

import json
import struct
import time

from wandb.proto import wandb_internal_pb2 as protocol

from bn_repro import rundir
from bn_repro.compose import compose
from bn_repro.experiment import directory_of, run

BLOCK, HEADER = 32768, 7


def records(path):
    """The records of a ``.wandb`` file: LevelDB's log format behind seven bytes of its own."""
    content, at, parts = path.read_bytes(), HEADER, b""
    while at + HEADER <= len(content):
        if BLOCK - at % BLOCK < HEADER:  # the rest of a block too short for a header is padding
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + HEADER])
        if at + HEADER + length > len(content):
            return  # still being written
        parts += content[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield protocol.Record.FromString(parts)  # pyright: ignore[reportAttributeAccessIssue]
            parts = b""


def test_an_offline_run_holds_what_the_local_records_hold(tmp_path):
    words = ["experiment=mnist/bn", "scale=smoke", "wandb=offline", f"runs={tmp_path}"]
    config = compose(words)
    assert run(config, say=lambda line: None).state == "completed"
    (path,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    for _ in range(300):  # W&B's own process may still be writing when finish() has returned
        found = list(records(path))
        if found and found[-1].WhichOneof("record_type") == "exit":
            break
        time.sleep(0.1)

    (about,) = [r.run for r in found if r.WhichOneof("record_type") == "run"][:1]
    assert about.run_group == "mnist/bn"
    assert about.job_type == "train"
    assert "batch" in about.tags
    assert about.run_id.endswith("-seed0")
    settings = {c.key: json.loads(c.value_json) for c in about.config.update}
    assert settings["optimizer"]["lr"] == 0.1

    shown = []
    for record in found:
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            shown.append({i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items})
    lines = (directory_of(config) / rundir.METRICS).read_text().splitlines()
    local = [json.loads(line) for line in lines]
    tests = [
        (r["step"], r["top1"]) for r in local if (r["split"], r["statistics"]) == ("test", "moving")
    ]
    assert [(r["step"], r["test/top1"]) for r in shown if "test/top1" in r] == tests
    assert any("trace/hidden3/unit/p50" in r for r in shown)


def test_trouble_over_there_never_ends_a_run(tmp_path, monkeypatch, capsys):
    def broken(*args, **kwargs):
        raise BrokenPipeError("gone")

    monkeypatch.setattr("wandb.init", broken)
    words = ["experiment=mnist/bn", "scale=smoke", "wandb=offline", f"runs={tmp_path}"]
    assert run(compose(words), say=lambda line: None).state == "completed"
    assert "wandb: gone; the run goes on" in capsys.readouterr().err
