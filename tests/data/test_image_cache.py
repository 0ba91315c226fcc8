from __future__ import annotations

import itertools
import json
import os
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from support import Forked

from bn_repro.data import chunks, image_cache
from bn_repro.data.crops import square
from bn_repro.data.decode import Quarantine, decode
from bn_repro.data.image_cache import ImageCache, open_cache
from bn_repro.data.listing import list_images


def opened(root: Path, size: int = 16, **options) -> ImageCache:
    quarantine = Quarantine(options.pop("on_error", "raise"), options.pop("limit", 100))
    options.setdefault("cache_dir", root.parent / "cache")
    return open_cache(list_images(root), name="set", size=size, quarantine=quarantine, **options)


def folders(root: Path) -> list[Path]:
    return [p for p in (root.parent / "cache").iterdir() if p.is_dir()]


class TestBuild:
    def test_holds_what_the_files_hold(self, tiny: Path) -> None:
        cache = opened(tiny)
        listing = list_images(tiny)
        assert cache.images["train"].shape == (18, 16, 16, 3)
        assert cache.images["val"].shape == (6, 16, 16, 3)
        assert cache.classes == ("n10", "n20", "n30")
        assert cache.quarantined == ()
        for split in ("train", "val"):
            assert np.array_equal(cache.labels[split], listing.labels[split])
            for i, image in enumerate(cache.images[split]):
                assert np.array_equal(image, decode(listing.path(split, i), square, 16)[0])

    def test_does_not_depend_on_threads_or_chunks(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = opened(folder, cache_dir=folder.parent / "one", workers=1)
        monkeypatch.setattr(chunks, "CHUNK", 5)
        other = opened(folder, cache_dir=folder.parent / "other", workers=3)
        assert one.fingerprint == other.fingerprint
        assert np.array_equal(one.images["train"], other.images["train"])

    def test_is_not_done_twice(self, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        first = opened(tiny)

        def build(*arguments: object) -> None:
            raise AssertionError("the cache was built again")

        monkeypatch.setattr(image_cache, "_build", build)
        second = opened(tiny)
        assert second.fingerprint == first.fingerprint
        assert np.array_equal(second.images["train"], first.images["train"])

    def test_of_another_size_or_source_is_another(self, tiny: Path, draw) -> None:
        fingerprints = {opened(tiny).fingerprint, opened(tiny, size=12).fingerprint}
        path = tiny / "train" / "n10" / "images" / "n10_3.JPEG"
        draw(77, 16, 16).save(path, quality=40)
        fingerprints.add(opened(tiny).fingerprint)
        path.unlink()
        fingerprints.add(opened(tiny).fingerprint)
        assert len(fingerprints) == len(folders(tiny)) == 4

    def test_of_files_with_the_same_names_and_sizes_is_another(self, tmp_path: Path) -> None:
        for name, pixel in (("a", 10), ("b", 200)):
            for split, n in itertools.product(("train", "val"), range(2)):
                path = tmp_path / name / split / f"n{n}" / "1.bmp"
                path.parent.mkdir(parents=True)
                Image.new("RGB", (16, 16), (pixel,) * 3).save(path)
        cache = tmp_path / "cache"
        found = [opened(tmp_path / k, cache_dir=cache).images["train"].max() for k in "ab"]
        assert found == [10, 200]

    def test_fingerprint_is_of_the_content(self, tiny: Path, tmp_path: Path) -> None:
        shutil.copytree(tiny, tmp_path / "moved")
        assert opened(tmp_path / "moved", cache_dir=tmp_path / "b").fingerprint == (
            opened(tiny).fingerprint
        )

    def test_images_can_be_written_without_changing_the_cache(self, tiny: Path) -> None:
        cache = opened(tiny)
        cache.images["train"][:] = 0
        opened(tiny).verify()
        assert opened(tiny).images["train"].any()

    def test_shows_its_progress(self, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
        opened(tiny)
        assert "24/24" in capsys.readouterr().err

    def test_tells_a_log_how_far_it_is(
        self, tiny: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(image_cache, "LOG_SECONDS", -1)
        opened(tiny)
        assert "decoding tiny: 18 of 24 images\n" in capsys.readouterr().err


class TestDamage:
    @pytest.mark.parametrize("file", ["train-images.npy", "val-labels.npy", "meta.json"])
    def test_truncated_file_is_built_again(self, tiny: Path, file: str) -> None:
        fingerprint = opened(tiny).fingerprint
        damaged = folders(tiny)[0] / file
        damaged.write_bytes(damaged.read_bytes()[:-40])
        again = opened(tiny)
        assert again.fingerprint == fingerprint
        again.verify()

    def test_missing_file_is_built_again(self, tiny: Path) -> None:
        opened(tiny)
        (folders(tiny)[0] / "val-images.npy").unlink()
        opened(tiny).verify()

    @pytest.mark.parametrize("file", ["train-images.npy", "val-images.npy", "val-labels.npy"])
    def test_of_the_content_is_seen_by_the_next_process(self, tiny: Path, file: str) -> None:
        cache = opened(tiny)
        path = folders(tiny)[0] / file
        content = bytearray(path.read_bytes())
        content[-8] ^= 1
        path.write_bytes(content)
        image_cache._verified.clear()  # what a process knows
        with pytest.raises(ValueError, match="the content has changed since it was") as caught:
            opened(tiny)
        assert "remove this folder" in str(caught.value)
        assert str(cache.path) in str(caught.value)
        assert "\n" not in str(caught.value)
        shutil.rmtree(cache.path)
        assert opened(tiny).fingerprint == cache.fingerprint

    def test_is_looked_for_once_a_process_and_folder(
        self, tiny: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read = []
        monkeypatch.setattr(ImageCache, "verify", lambda cache: read.append(cache.path))
        first, again = opened(tiny), opened(tiny)
        other = opened(tiny, cache_dir=tiny.parent / "other")
        assert first.path == again.path != other.path
        assert read == [first.path, other.path]

    def test_what_a_killed_build_left_is_cleared(self, tiny: Path) -> None:
        opened(tiny)
        name = folders(tiny)[0].name
        shutil.rmtree(folders(tiny)[0])
        (tiny.parent / "cache" / f".{name}.abc").mkdir()
        opened(tiny)
        assert [p.name for p in folders(tiny)] == [name]


def stop_after(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """As if a signal came: the n-th time that decoding asks."""
    asked = itertools.count(1)

    def check() -> None:
        if next(asked) > times:
            raise KeyboardInterrupt

    monkeypatch.setattr(chunks, "stop_signal", SimpleNamespace(check=check))


@pytest.mark.parametrize(("times", "left"), [(0, 24), (1, 20), (4, 8), (6, 2)])
def test_what_was_decoded_before_a_stop_is_not_decoded_again(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int, left: int
) -> None:
    (tiny / "train" / "n20" / "images" / "n20_2.JPEG").write_bytes(b"no image")
    (tiny / "val" / "images" / "val_1.JPEG").write_bytes(b"no image")
    monkeypatch.setattr(chunks, "CHUNK", 4)
    whole = opened(tiny, on_error="quarantine", cache_dir=tmp_path / "whole")
    with monkeypatch.context() as stopped:
        stop_after(stopped, times)
        with pytest.raises(KeyboardInterrupt):
            opened(tiny, on_error="quarantine", workers=1)
    (partial,) = folders(tiny)
    for log in partial.glob("*.jsonl"):
        with open(log, "a") as torn:  # as a kill would leave it
            torn.write("[8, [1, 1")
    decoded = []
    decode = chunks.read
    monkeypatch.setattr(chunks, "read", lambda *a: decoded.append(a[1:3]) or decode(*a))
    cache = opened(tiny, on_error="quarantine")
    assert len(decoded) == len(set(decoded)) <= left
    assert cache.fingerprint == whole.fingerprint
    assert sorted(cache.quarantined) == sorted(whole.quarantined)
    assert [path.name for path in folders(tiny)] == [whole.path.name]


class TestBadImages:
    def test_stop_the_build_and_are_named(self, tiny: Path) -> None:
        bad = tiny / "train" / "n20" / "images" / "n20_2.JPEG"
        bad.write_bytes(b"no image")
        with pytest.raises(ValueError, match=rf"{bad.name}: not an image.*on_error=quarantine"):
            opened(tiny)
        assert folders(tiny) == []

    def test_are_replaced_and_listed_in_quarantine(self, tiny: Path) -> None:
        bad = tiny / "train" / "n20" / "images" / "n20_5.JPEG"
        bad.write_bytes(b"no image")
        cache = opened(tiny, on_error="quarantine")
        assert len(cache.quarantined) == 1
        assert str(bad) in cache.quarantined[0]
        assert np.array_equal(cache.images["train"][11], cache.images["train"][12])
        assert len(cache.images["val"]) == 6
        assert cache.labels["train"][11] == 2
        assert json.loads((cache.path / "meta.json").read_text())["quarantined"]
        # Whoever does not tolerate them is not given that cache.
        with pytest.raises(ValueError, match=bad.name):
            opened(tiny)

    def test_are_not_tolerated_beyond_a_limit(self, tiny: Path) -> None:
        for wnid in ("n10", "n20", "n30"):
            (tiny / "train" / wnid / "images" / f"{wnid}_2.JPEG").write_bytes(b"no image")
        with pytest.raises(ValueError, match="more than 2 such files"):
            opened(tiny, on_error="quarantine", limit=2)
        assert len(opened(tiny, on_error="quarantine", limit=3).quarantined) == 3

    def test_alone_are_an_error(self, tiny: Path) -> None:
        for path in (tiny / "val" / "images").iterdir():
            path.write_bytes(b"")
        with pytest.raises(ValueError, match=r"val_5\.JPEG: .*; nor can any before it"):
            opened(tiny, on_error="quarantine")
        assert folders(tiny) == []

    def test_are_left_out_of_what_is_evaluated(
        self, tiny: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(chunks, "CHUNK", 2)
        whole = opened(tiny)
        for k in (1, 4):
            (tiny / "val" / "images" / f"val_{k}.JPEG").write_bytes(b"no image")
        cache = opened(tiny, on_error="quarantine")
        assert len(cache.quarantined) == 2
        left = [0, 2, 3, 5]
        assert np.array_equal(cache.images["val"], whole.images["val"][left])
        assert np.array_equal(cache.labels["val"], whole.labels["val"][left])
        assert np.array_equal(cache.images["train"], whole.images["train"])
        assert cache.fingerprint != whole.fingerprint
        assert opened(tiny, on_error="quarantine").fingerprint == cache.fingerprint

    @pytest.mark.parametrize("bad", [False, True])
    def test_counted_twice_by_an_older_cache_are_no_more(
        self, tiny: Path, bad: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if bad:
            (tiny / "val" / "images" / "val_1.JPEG").write_bytes(b"no image")
        opened(tiny, on_error="quarantine")
        path = folders(tiny)[0] / "meta.json"
        meta = json.loads(path.read_text())
        del meta["left_out"]
        path.write_text(json.dumps(meta))
        built = []
        build = image_cache._build
        monkeypatch.setattr(
            image_cache, "_build", lambda *arguments: built.append(1) or build(*arguments)
        )
        opened(tiny, on_error="quarantine")
        assert len(built) == bad  # one of a set that could be read whole is as good as ever


def test_folder_that_cannot_be_written_is_one_line(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"data.cache: cannot write to .*file/cache") as caught:
        opened(tiny, cache_dir=tmp_path / "file" / "cache")
    assert "\n" not in str(caught.value)


def test_full_disk_is_one_line_and_leaves_nothing(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(image_cache.np, "save", full)
    with pytest.raises(ValueError, match=r"data.cache: .*No space left on device"):
        opened(tiny)
    assert folders(tiny) == []


class TestAnothersCache:
    """A cache that is there is used without writing anything."""

    def test_is_used_without_its_lock(self, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        first = opened(tiny)
        for lock in (tiny.parent / "cache").glob("*.lock"):
            lock.unlink()

        def refused(*arguments: object, **options: object) -> None:
            raise OSError(30, "Read-only file system")

        monkeypatch.setattr(image_cache, "waiting_for", refused)
        monkeypatch.setattr(Path, "mkdir", refused)
        assert opened(tiny).fingerprint == first.fingerprint
        assert [p.name for p in (tiny.parent / "cache").iterdir()] == [first.path.name]
        with pytest.raises(ValueError, match="data.cache: cannot write to .*Read-only file system"):
            opened(tiny, size=12)

    def test_that_may_not_be_read_is_one_line(
        self, tiny: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = opened(tiny)

        def refused(*arguments: object, **options: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(image_cache.np, "load", refused)
        with pytest.raises(ValueError, match="data.cache: cannot read .*Permission den") as caught:
            opened(tiny)
        assert str(first.path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_all_of_it_is_on_the_disk_before_it_has_its_name(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[int] = []  # the files and folders synced, by their numbers; -1: renamed
    fsync, rename = os.fsync, os.rename

    def synced(opened: int) -> None:
        done.append(os.fstat(opened).st_ino)
        fsync(opened)

    def renamed(old: Path, new: Path) -> None:
        done.append(-1)
        rename(old, new)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    folder = opened(tiny).path
    files = {path.stat().st_ino for path in folder.iterdir()}
    assert len(files) == 5
    assert set(done[:-3]) == files
    assert done[-3:] == [folder.stat().st_ino, -1, folder.parent.stat().st_ino]


def test_default_folder_is_in_the_users_cache(tiny: Path, tmp_path: Path) -> None:
    cache = opened(tiny, cache_dir=None)
    assert cache.path.parent == tmp_path / "xdg" / "bn_repro"


def test_concurrent_runs_build_once(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built, found = [], []
    build = image_cache._build
    monkeypatch.setattr(
        image_cache, "_build", lambda *arguments: built.append(1) or build(*arguments)
    )
    runs = [
        threading.Thread(target=lambda: found.append(opened(tiny).fingerprint)) for _ in range(4)
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert len(built) == 1
    assert len(found) == 4
    assert len(set(found)) == 1


def test_concurrent_processes_share_one(tiny: Path) -> None:
    runs = [Forked(opened, tiny) for _ in range(2)]
    said = [run.communicate() for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    assert len(folders(tiny)) == 1
    opened(tiny).verify()
