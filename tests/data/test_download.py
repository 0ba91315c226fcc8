"""Tiny ImageNet fetched from a server on this machine: once, checked, and stopped by a signal."""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support import call

from bn_repro import stop_signal
from bn_repro.config.compose import compose
from bn_repro.config.dataset import StoredImagesConfig
from bn_repro.data import download
from bn_repro.data import imagenet as module
from bn_repro.data.augment import Preprocessing
from bn_repro.data.download import unpack
from bn_repro.data.imagenet import tiny_imagenet
from bn_repro.data.resident import ResidentImages

NAME = "tiny-imagenet-200"
ASKED = [f"/{NAME}.zip"] * 2
"""torchvision's downloader asks twice: where it is redirected to, and for the file."""


@pytest.fixture
def published(tiny: Path, tmp_path: Path, serve, fetched, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The archive of a tiny set in the layout of the real one, and where it is served."""
    archive = tmp_path / "served" / f"{NAME}.zip"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as members:
        for path in sorted(tiny.rglob("*")):
            members.write(path, f"{NAME}/{path.relative_to(tiny)}")
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(
        module,
        "TINY_IMAGENET",
        module.TINY_IMAGENET._replace(url=f"{serve(archive.parent)}{archive.name}", md5=md5),
    )
    return archive


def fetched_to(root: Path) -> ResidentImages:
    cache = root.parent / "cache"
    return tiny_imagenet(root, Preprocessing(), size=16, cache_dir=cache, download=True)


def left_in(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()} - {"download.lock"}


def test_it_is_fetched_once_and_is_the_set(published, fetched, tiny, tmp_path):
    root = tmp_path / "new" / "folder"
    data = fetched_to(root)
    kept = tiny_imagenet(tiny, Preprocessing(), size=16, cache_dir=tmp_path / "own")
    assert data.fingerprint == kept.fingerprint
    assert left_in(root) == {"train", "val", "wnids.txt"}
    assert fetched_to(root).fingerprint == data.fingerprint
    assert fetched == ASKED


def test_of_runs_side_by_side_one_fetches(published, fetched, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(fetched_to, [tmp_path / "set"] * 4))
    assert len({data.fingerprint for data in found}) == 1
    assert fetched == ASKED


def test_an_archive_that_lies_there_is_taken(published, fetched, tmp_path):
    root = tmp_path / "set"
    root.mkdir()
    shutil.copy(published, root)
    assert fetched_to(root).splits == {"train": 18, "val": 6}
    assert fetched == []
    assert left_in(root) == {"train", "val", "wnids.txt", f"{NAME}.zip"}


def test_another_file_of_its_name_stays_as_it_was(published, fetched, tmp_path):
    root = tmp_path / "set"
    root.mkdir()
    (root / f"{NAME}.zip").write_bytes(b"a user's own archive")
    assert fetched_to(root).splits == {"train": 18, "val": 6}
    assert fetched == ASKED
    assert (root / f"{NAME}.zip").read_bytes() == b"a user's own archive"


def test_what_was_changed_on_its_way_is_refused_in_a_line(published, tmp_path):
    published.write_bytes(published.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match=rf"^data\.root: {NAME} cannot be downloaded to ") as error:
        fetched_to(tmp_path / "set")
    assert "corrupted" in str(error.value)
    assert "give data.root" in str(error.value)
    assert "\n" not in str(error.value)
    assert left_in(tmp_path / "set") == set()


@pytest.mark.parametrize("while_it", ["downloads", "extracts"])
def test_a_stop_keeps_what_is_whole(
    published, fetched, tmp_path, monkeypatch: pytest.MonkeyPatch, while_it: str
):
    extracted, extract = [], download._extract
    archive = tmp_path / "set" / ".download" / f"{NAME}.zip"

    def stop() -> None:
        if archive.is_file() if while_it == "downloads" else len(extracted) == 12:
            raise KeyboardInterrupt

    monkeypatch.setattr(download, "_extract", lambda *a: (extracted.append(a[1]), extract(*a)))
    with monkeypatch.context() as patched:
        patched.setattr(stop_signal, "check", stop)
        with pytest.raises(KeyboardInterrupt):
            fetched_to(tmp_path / "set")
    assert not (tmp_path / "set" / "train").exists()
    kept = {p: p.stat().st_ino for p in (archive.parent / "unpacked").rglob("*") if p.is_file()}
    assert bool(kept) == (while_it == "extracts")
    names = {p.name: inode for p, inode in kept.items()}
    assert fetched_to(tmp_path / "set").splits == {"train": 18, "val": 6}
    here = {p.name: p.stat().st_ino for p in (tmp_path / "set").rglob("*") if p.is_file()}
    assert {name: here[name] for name in names} == names
    assert fetched == ASKED


def test_nothing_is_written_outside_the_folder(tmp_path):
    evil = "../../escaped.txt"
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as members:
        members.writestr(evil, "x")
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as members:
        members.addfile(tarfile.TarInfo(evil), io.BytesIO())
    unpack(tmp_path / "a.zip", tmp_path / "deep" / "down")
    with pytest.raises(tarfile.TarError):
        unpack(tmp_path / "a.tar.gz", tmp_path / "deep" / "down")
    (only,) = (path.parent for path in tmp_path.rglob("escaped.txt"))
    assert only == tmp_path / "deep" / "down"


def test_a_stop_is_heard_between_the_files_of_a_tar(tmp_path, monkeypatch):
    with tarfile.open(tmp_path / "a.tar", "w") as members:
        for name in ("1.txt", "2.txt"):
            members.addfile(tarfile.TarInfo(name), io.BytesIO())

    def stop() -> None:
        if (tmp_path / "here" / "1.txt").exists():
            raise KeyboardInterrupt

    monkeypatch.setattr(stop_signal, "check", stop)
    with pytest.raises(KeyboardInterrupt):
        unpack(tmp_path / "a.tar", tmp_path / "here")
    assert left_in(tmp_path / "here") == {"1.txt"}


@pytest.mark.filterwarnings("ignore:Python 3.14 will:DeprecationWarning")
def test_another_tar_is_then_extracted_as_before(tmp_path):
    """By whoever else extracts in this process, without a filter."""
    with tarfile.open(tmp_path / "a.tar", "w") as members:
        members.addfile(tarfile.TarInfo("a.txt"), io.BytesIO())
    unpack(tmp_path / "a.tar", tmp_path / "ours")
    with tarfile.open(tmp_path / "a.tar") as members:
        members.extractall(tmp_path / "theirs")
    assert left_in(tmp_path / "ours") == left_in(tmp_path / "theirs") == {"a.txt"}


def test_one_command_trains_on_photographs(published, fetched, tmp_path, monkeypatch, capsys):
    """The second finds in the cache what the first fetched, whether it asks for it or not."""
    words = ["experiment=imagenet/bn_x5", "scale=smoke", "data=tiny_imagenet", f"runs={tmp_path}"]
    words += ["train.steps=1", "train.batch_size=4", "data.image_size=32"]
    words += ["train.population_batches=1"]
    code, out, err = call(monkeypatch, capsys, *words)
    assert code == 2
    assert "give the set's folder, or data.download=true to fetch it" in out + err
    code, out, err = call(monkeypatch, capsys, *words, "data.download=true")
    assert code == 0, out + err
    assert f"downloading {module.TINY_IMAGENET.url} to {tmp_path}" in err
    code, out, err = call(monkeypatch, capsys, *words, "seed=1")
    assert code == 0, out + err
    assert fetched == ASKED


@pytest.mark.parametrize("data", ["imagenet", "image_folder"])
def test_a_set_that_cannot_be_fetched_says_so(data):
    config = compose(["experiment=imagenet/bn_x5", f"data={data}", "data.download=true"])
    assert isinstance(config.data, StoredImagesConfig)
    with pytest.raises(ValueError, match=rf"^data\.download: {data} cannot be fetched; leave it"):
        config.data.folder()
