from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from support import Forked

from bn_repro.data import image_cache
from bn_repro.data.crops import square
from bn_repro.data.decode import decode
from bn_repro.data.files import list_images
from bn_repro.data.image_cache import ImageCache, open_cache


def opened(root: Path, size: int = 16, **options) -> ImageCache:
    options = {"cache_dir": root.parent / "cache", "progress": False} | options
    return open_cache(list_images(root), name="set", size=size, **options)


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
        monkeypatch.setattr(image_cache, "CHUNK", 5)
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
        opened(tiny, progress=True)
        assert "24/24" in capsys.readouterr().err


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

    def test_of_the_content_is_seen_when_asked_for(self, tiny: Path) -> None:
        opened(tiny).verify()
        with open(folders(tiny)[0] / "train-images.npy", "r+b") as f:
            f.seek(-1, 2)
            last = f.read(1)[0]
            f.seek(-1, 2)
            f.write(bytes([last ^ 1]))
        with pytest.raises(ValueError, match="the content has changed since it was built"):
            opened(tiny).verify()

    def test_what_a_killed_build_left_is_cleared(self, tiny: Path) -> None:
        opened(tiny)
        name = folders(tiny)[0].name
        shutil.rmtree(folders(tiny)[0])
        (tiny.parent / "cache" / f".{name}.abc").mkdir()
        opened(tiny)
        assert [p.name for p in folders(tiny)] == [name]


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
        with pytest.raises(ValueError, match="nor can the 5 after it"):
            opened(tiny, on_error="quarantine")


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
