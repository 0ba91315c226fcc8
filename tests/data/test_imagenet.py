from __future__ import annotations

import hashlib
import io
import itertools
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat
from torchvision.datasets import imagenet as official

from bn_repro import stop_signal
from bn_repro.data import archives as archives_of
from bn_repro.data import imagenet as module
from bn_repro.data.archives import extract_archives
from bn_repro.data.augment import Preprocessing
from bn_repro.data.imagenet import image_folder, imagenet, tiny_imagenet
from bn_repro.data.resident import ResidentImages
from bn_repro.data.streaming import StreamedImages

PLAIN = Preprocessing()


class TestNames:
    def test_tiny_imagenet_is_in_memory(self, tiny: Path, tmp_path: Path) -> None:
        data = tiny_imagenet(tiny, PLAIN, size=16, cache_dir=tmp_path)
        assert isinstance(data, ResidentImages)
        assert data.name == "tiny_imagenet"
        assert data.shape == (3, 16, 16)
        assert data.splits == {"train": 18, "val": 6}
        assert data.class_names == ("n10", "n20", "n30")

    def test_wrong_root_says_what_was_expected(self, tmp_path: Path) -> None:
        with pytest.raises(
            ValueError, match=r"data.root: no train/ under .*; expected the layout of tiny-imagenet"
        ):
            tiny_imagenet(tmp_path, PLAIN)
        with pytest.raises(ValueError, match=r"expected the layout of ImageNet: train/<wnid>"):
            imagenet(tmp_path, PLAIN)
        with pytest.raises(ValueError, match=r"expected the layout of an image folder"):
            image_folder(tmp_path, PLAIN)

    def test_image_folder_is_streamed_where_it_would_fill_the_memory(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        options = {"size": 20, "cache_dir": tmp_path}
        assert isinstance(image_folder(folder, PLAIN, **options), ResidentImages)
        monkeypatch.setattr(module, "RESIDENT_BYTES", 33 * 20 * 20 * 3 - 1)
        assert isinstance(image_folder(folder, PLAIN, **options), StreamedImages)


class TestArchives:
    @pytest.fixture
    def archives(self, tmp_path: Path, draw, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The three archives as ILSVRC2012 ships them, of 2 classes and a few drawn images."""
        root = tmp_path / "ilsvrc"
        root.mkdir()

        def jpeg(seed: int) -> bytes:
            content = io.BytesIO()
            draw(seed, 70, 60).save(content, format="JPEG")
            return content.getvalue()

        def tar(path: Path | None, members: dict[str, bytes], mode: str = "w") -> bytes:
            content = io.BytesIO()
            with tarfile.open(fileobj=content, mode=mode) as archive:  # pyright: ignore
                for name, data in members.items():
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
            if path is not None:
                path.write_bytes(content.getvalue())
            return content.getvalue()

        classes = {
            wnid: {f"{wnid}_{k}.JPEG": jpeg(10 * c + k) for k in range(3)}
            for c, wnid in enumerate(("n02", "n01"))
        }
        train = {f"{wnid}.tar": tar(None, images) for wnid, images in classes.items()}
        val = {f"ILSVRC2012_val_0000000{k}.JPEG": jpeg(100 + k) for k in range(1, 5)}
        synsets = np.array(
            [(1, "n02", "a, b", "", 0), (2, "n01", "c", "", 0), (3, "n00", "both", "", 2)],
            dtype=[("ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O"), ("children", "O")],
        )
        meta = io.BytesIO()
        savemat(meta, {"synsets": synsets})
        devkit = {
            "ILSVRC2012_devkit_t12/data/meta.mat": meta.getvalue(),
            "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt": b"2\n1\n1\n2\n",
        }
        known = {}
        for part, members, mode in (
            ("train", train, "w"),
            ("val", val, "w"),
            ("devkit", devkit, "w:gz"),
        ):
            name = official.ARCHIVE_META[part][0]
            content = tar(root / name, members, mode)
            known[part] = (name, hashlib.md5(content).hexdigest())
        monkeypatch.setattr(official, "ARCHIVE_META", known)
        return root

    def test_become_folders_by_class(self, archives: Path) -> None:
        data = imagenet(archives, PLAIN, size=32, workers=0)
        assert data.class_names == ("n01", "n02")
        assert data.splits == {"train": 6, "val": 4}
        labels = [int(k) for _, y in data.eval_batches("val", batch_size=4) for k in y]
        assert labels == [0, 0, 1, 1]  # validation images 1 and 4 are of n01
        assert sorted(p.name for p in (archives / "val" / "n01").iterdir()) == [
            "ILSVRC2012_val_00000001.JPEG",
            "ILSVRC2012_val_00000004.JPEG",
        ]
        assert not list((archives / "train").rglob("*.tar"))

    def test_are_extracted_once_by_one(
        self, archives: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        done = []
        extract = archives_of._extract_train
        monkeypatch.setattr(archives_of, "_extract_train", lambda *a: done.append(1) or extract(*a))
        ranks = [threading.Thread(target=extract_archives, args=(archives,)) for _ in range(3)]
        for rank in ranks:
            rank.start()
        for rank in ranks:
            rank.join()
        extract_archives(archives)
        assert len(done) == 1
        assert (archives / "val" / "n01").is_dir()

    def test_half_extracted_is_not_taken_for_whole(
        self, archives: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(archive: tarfile.TarFile, folder: Path, filter: object) -> None:
            folder.mkdir(parents=True)
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(tarfile.TarFile, "extractall", full)
            with pytest.raises(ValueError, match="cannot extract the archives .* No space left"):
                imagenet(archives, PLAIN)
        assert imagenet(archives, PLAIN, workers=0).splits["train"] == 6

    def test_a_class_extracted_before_a_stop_is_kept(
        self, archives: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        checks = itertools.count()

        def stop_in_the_second_class() -> None:
            if next(checks) == 5:  # a block of the MD5, three images, and one
                raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(stop_signal, "check", stop_in_the_second_class)
            with pytest.raises(KeyboardInterrupt):
                extract_archives(archives)
        assert not (archives / "train").exists()
        kept = archives / ".extracting-train" / "n02" / "n02_0.JPEG"
        made = kept.stat().st_ino
        extract_archives(archives)
        assert (archives / "train" / "n02" / "n02_0.JPEG").stat().st_ino == made
        assert len(list((archives / "train").rglob("*.JPEG"))) == 6
        assert not list(archives.glob(".extracting-*"))

    def test_a_stop_is_heard_while_an_archive_is_checked(
        self, archives: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(*arguments: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(stop_signal, "check", interrupted)
        monkeypatch.setattr(tarfile, "open", None)  # that comes after
        with pytest.raises(KeyboardInterrupt):
            extract_archives(archives)

    def test_damaged_are_named(self, archives: Path) -> None:
        with open(archives / official.ARCHIVE_META["train"][0], "ab") as f:
            f.write(b"x")
        with pytest.raises(ValueError, match=r"ILSVRC2012_img_train\.tar .*corrupted"):
            imagenet(archives, PLAIN)
        assert not (archives / "train").exists()

    @pytest.mark.parametrize("part", ["train", "val"])
    def test_never_write_outside_their_folder(
        self, archives: Path, tmp_path: Path, part: str
    ) -> None:
        """The validation images are torchvision's, which has a filter of its own."""
        evil = io.BytesIO()
        with tarfile.open(fileobj=evil, mode="w") as archive:
            info = tarfile.TarInfo("../../escaped.JPEG")
            archive.addfile(info)
        name = official.ARCHIVE_META[part][0]
        (archives / name).write_bytes(evil.getvalue())
        official.ARCHIVE_META[part] = (name, hashlib.md5(evil.getvalue()).hexdigest())
        with pytest.raises(ValueError, match="cannot extract the archives"):
            imagenet(archives, PLAIN)
        assert not list(tmp_path.rglob("escaped.JPEG"))

    def test_leave_other_extractions_as_they_were(self, archives: Path) -> None:
        before = tarfile.TarFile.extraction_filter
        extract_archives(archives)
        assert tarfile.TarFile.extraction_filter is before

    def test_absent_are_no_matter(self, folder: Path) -> None:
        extract_archives(folder)
        assert not list(folder.glob(".extracting*"))
