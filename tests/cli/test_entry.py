"""The entry point of all scripts: no traceback where the surroundings are at fault."""

import os
import pwd
import subprocess
import sys

import pytest
from support import ROOT, call

from bn_repro.cli.entry import exit_with

SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))


def raises(error):
    raise error


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ValueError("data.root: no folder"), 2, "error: data.root: no folder\n"),
        (ValueError("a\x1b[2J\nb\udcff"), 2, "error: a\\x1b[2J b\\udcff\n"),
        (OSError(28, "No space left on device", "a/b"), 1, "error: a/b: No space left on device\n"),
        (OSError(28, "No space left"), 1, "error: [Errno 28] No space left\n"),
        (subprocess.CalledProcessError(128, ["git"]), 1, "exit status 128.\n"),
        (KeyboardInterrupt(), 75, ""),
        (BrokenPipeError(32, "of another pipe"), 1, "error: [Errno 32] of another pipe\n"),
    ],
)
def test_an_error_that_can_be_mended_is_a_line_and_a_code(capsys, error, code, said):
    with pytest.raises(SystemExit) as end:
        exit_with(lambda: raises(error))
    assert end.value.code == code
    assert capsys.readouterr().err.endswith(said)


@pytest.mark.parametrize("error", [None, ValueError("seed: no")])
def test_an_output_that_was_closed(monkeypatch, error):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with pytest.raises(SystemExit) as end:
        exit_with(lambda: raises(error) if error else 0)
    assert end.value.code == (2 if error else 0)


def test_an_error_of_ours_keeps_its_traceback():
    with pytest.raises(KeyError):
        exit_with(lambda: raises(KeyError("lr")))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_goes_through_it(path):
    last = path.read_text().partition('if __name__ == "__main__":\n')[2]
    assert last.strip().startswith(('main("', 'start("', "exit_with(main)"))


@pytest.mark.parametrize("words", [["train", "--help"], ["list"]])
def test_a_reader_that_leaves_and_a_full_disk_are_no_traceback(words):
    command = [sys.executable, "-m", "bn_repro", *words]
    reader, writer = os.pipe()
    os.close(reader)
    left = subprocess.Popen(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    with open("/dev/full", "w") as full:
        disk = subprocess.Popen(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert left.communicate(timeout=300)[1] == ""
    assert disk.communicate(timeout=300)[1] == "error: [Errno 28] No space left on device\n"
    assert (left.returncode, disk.returncode) == (1, 1)


def test_a_current_folder_that_was_deleted(monkeypatch, capsys):
    monkeypatch.setattr(os, "getcwd", lambda: raises(FileNotFoundError(2, "No such file")))
    code, _, err = call(monkeypatch, capsys, "experiment=mnist/bn")
    assert code == 2
    assert err == "error: the current folder was deleted; cd to one that is there\n"


def test_a_sweep_needs_no_folder_that_others_share(monkeypatch, capsys, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.chdir(tmp_path)
    code, _, err = call(monkeypatch, capsys, "-m", "experiment=mnist/bn", "optimizer.lr=-1")
    assert code == 2
    assert err == "error: optimizer.lr: -1.0 is not positive (in float32)\n"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_user_without_a_home_folder(monkeypatch, capsys, tmp_path):
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", lambda user: raises(KeyError(user)))
    words = ["experiment=mnist/bn", "data=mnist", f"runs={tmp_path / 'runs'}"]
    code, _, err = call(monkeypatch, capsys, *words)
    assert code == 2
    assert err.startswith("error: XDG_CACHE_HOME: not set, and there is no home folder")
    assert not (tmp_path / "runs").exists()
