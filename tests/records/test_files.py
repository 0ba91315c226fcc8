"""Files are written whole, where folders can be opened and where they cannot."""

import os
from types import SimpleNamespace

import pytest

from bn_repro.records import files, paths
from bn_repro.records.reader import Outcome
from bn_repro.records.recorder import Recorder


@pytest.mark.parametrize("folders_open", [True, False])
def test_a_folder_is_flushed_where_the_system_opens_folders(tmp_path, monkeypatch, folders_open):
    opened = []

    def open_file(path, *rest):
        opened.append(path)
        if not folders_open:
            raise PermissionError(13, "Permission denied", str(path))  # as Windows says
        return system_open(path, *rest)

    system_open = os.open
    monkeypatch.setattr(files, "FOLDERS_OPEN", folders_open)
    monkeypatch.setattr(os, "open", open_file)
    files.write_json(tmp_path / "status.json", {"state": "running"})
    assert (tmp_path / "status.json").read_text() == '{\n  "state": "running"\n}\n'
    assert opened == [tmp_path] * folders_open


def test_no_row_of_a_finished_run_waits_in_a_buffer(tmp_path, monkeypatch):
    """After a power loss a run that says "completed" has its last rows."""
    record, synced = Recorder(tmp_path), []
    record.metrics(1, "test", "population", {"top1": 0.5})
    inode = (tmp_path / paths.METRICS).stat().st_ino
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_ino))
    record.status(Outcome("running", 1, 0.1))
    assert inode not in synced
    record.status(Outcome("completed", 1, 0.1))
    assert synced.index(inode) < len(synced) - 1  # before the status
    record.close()


def test_on_a_full_disk_a_logger_is_finished_all_the_same(tmp_path, monkeypatch):
    ended = []
    record = Recorder(tmp_path)
    monkeypatch.setattr(record.logger, "finish", ended.append)

    def close():
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(record, "_files", {"metrics": SimpleNamespace(close=close)})
        with pytest.raises(OSError, match="No space"):
            record.close("failed")
    assert ended == ["failed"]
    record.close("failed")
