"""Files are written whole, where folders can be opened and where they cannot."""

import os

import pytest

from bn_repro.records import files


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
