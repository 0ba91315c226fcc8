from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bn_repro.data import listing
from bn_repro.data.decode import decode
from bn_repro.data.listing import list_images


def refused(root: Path, *parts: str) -> str:
    with pytest.raises(ValueError, match=re.escape("data.root: ")) as caught:
        list_images(root, "tiny-imagenet-200")
    line = str(caught.value)
    assert "\n" not in line
    for part in parts:
        assert part in line
    return line


class TestListing:
    def test_of_an_image_folder_is_sorted_and_labelled_by_class(self, folder: Path) -> None:
        (folder / "train" / "n0" / "notes.txt").write_text("not an image")
        (folder / "train" / "n0" / "._train_0.JPEG").write_bytes(b"macOS")
        (folder / "train" / ".cache").mkdir()
        found = list_images(folder)
        assert found.classes == ("n0", "n1", "n2")
        assert found.labels["train"].tolist() == [0] * 8 + [1] * 8 + [2] * 8
        assert found.paths["train"][9] == b"train/n1/train_1.JPEG"
        assert found.path("val", 8) == folder / "val" / "n2" / "val_2.JPEG"

    @pytest.mark.parametrize("suffix", ["gif", "jfif", "jpe", "GIF", "pbm"])
    def test_what_pillow_reads_is_an_image(self, folder: Path, suffix: str) -> None:
        first = folder / "train" / "n0" / "train_0.JPEG"
        with Image.open(first) as image:
            image.convert("P").save(first.with_suffix(f".{suffix}"), "GIF", save_all=True)
        first.unlink()
        found = list_images(folder)
        assert found.labels["train"].tolist() == [0] * 8 + [1] * 8 + [2] * 8
        whole = np.array([[0, 0, 80, 72, 0]])
        assert decode(found.path("train", 0), lambda w, h: whole, 32).shape == (1, 32, 32, 3)

    def test_what_is_no_image_is_counted(self, folder: Path) -> None:
        before = list_images(folder).digest()
        for name in ("a.txt", "b.txt", "c.SVG", "README", "Thumbs.db", ".DS_Store", "n0_boxes.txt"):
            (folder / "train" / "n0" / name).write_text("not an image")
        os.mkfifo(folder / "train" / "n1" / "pipe.png")
        found = list_images(folder)
        assert found.passed_over == {".txt": 2, ".svg": 1, "": 1, ".png": 1}
        assert found.digest() == before

    def test_an_image_in_no_class_folder_is_counted(self, folder: Path, tiny: Path) -> None:
        image = (folder / "train" / "n0" / "train_0.JPEG").read_bytes()
        for name in ("loose.png", "Thumbs.db", ".DS_Store"):
            (folder / "train" / name).write_bytes(image)
        (folder / "val" / "n9").symlink_to("nowhere")
        found = list_images(folder)
        assert found.passed_over == {
            ".png in no class folder": 1,
            "without a suffix in no class folder": 1,
        }
        assert list_images(tiny).passed_over == {}

    def test_what_others_leave_beside_images_is_none(self, folder: Path) -> None:
        before = list_images(folder).digest()
        image = (folder / "train" / "n0" / "train_0.JPEG").read_bytes()
        places = ["@eaDir", "__MACOSX", "#recycle", ".ipynb_checkpoints", "lost+found"]
        places += ["@Recycle", "System Volume Information", "$Recycle.Bin", ".@__thumb"]
        for place in places:
            for above in ("train", "train/n0", "val"):
                (folder / above / place).mkdir()
                (folder / above / place / "SYNOPHOTO_THUMB_M.jpg").write_bytes(image)
        found = list_images(folder)
        assert (found.digest(), found.passed_over) == (before, {})

    @pytest.mark.parametrize("nested", [True, False])
    @pytest.mark.parametrize("emptied", [True, False])
    def test_of_tiny_imagenet_with_val_in_folders(
        self, tiny: Path, nested: bool, emptied: bool
    ) -> None:
        labels = list_images(tiny).labels["val"].tolist()
        val = tiny / "val"
        for line in (val / "val_annotations.txt").read_text().splitlines():
            name, wnid, *_ = line.split("\t")
            place = val / wnid / "images" if nested else val / wnid
            place.mkdir(parents=True, exist_ok=True)
            (val / "images" / name).rename(place / name)
        if not emptied:
            (val / "images").rmdir()
        assert sorted(list_images(tiny).labels["val"].tolist()) == sorted(labels)

    def test_of_tiny_imagenet_reads_the_annotations(self, tiny: Path) -> None:
        found = list_images(tiny)
        assert found.classes == ("n10", "n20", "n30")
        assert found.labels["train"].tolist() == [0] * 6 + [1] * 6 + [2] * 6
        assert found.paths["train"][0] == b"train/n10/images/n10_0.JPEG"
        # val_0 and val_1 are of n30, val_2 and val_3 of n10
        assert found.labels["val"].tolist() == [2, 2, 0, 0, 1, 1]

    def test_digest_is_of_names_and_classes(self, folder: Path, tmp_path: Path) -> None:
        digest = list_images(folder).digest()
        moved = tmp_path / "moved"
        shutil.copytree(folder, moved)
        assert list_images(moved).digest() == digest
        (moved / "val" / "n0" / "val_0.JPEG").rename(moved / "val" / "n1" / "val_9.JPEG")
        assert list_images(moved).digest() != digest


class TestBadRoot:
    @pytest.mark.parametrize("name", ["wnids.txt", "val/val_annotations.txt"])
    def test_a_text_in_another_encoding(self, tiny: Path, name: str) -> None:
        whole = list_images(tiny).digest()
        text = (tiny / name).read_text()
        (tiny / name).write_text(text, encoding="utf-8-sig")
        assert list_images(tiny).digest() == whole
        (tiny / name).write_text(f"{text}\xe9", encoding="latin-1")
        refused(tiny, f"{tiny / name}: not UTF-8 at byte {len(text)}; save it in that encoding")
        (tiny / name).write_text(text, encoding="utf-16")
        refused(tiny, f"{tiny / name}: not UTF-8 at byte 0")

    def test_names_that_look_the_same_are_told_so_that_they_differ(self, folder: Path) -> None:
        (folder / "train" / "n0").rename(folder / "train" / "\u00e9")
        (folder / "val" / "n0").rename(folder / "val" / "e\u0301")
        refused(folder, r"only in train/: '\xe9'", r"only in val/: 'e\u0301'")
        (folder / "val" / "e\u0301").rename(folder / "val" / "\u00e9 ")
        refused(folder, r"only in val/: '\xe9 '")

    @pytest.mark.parametrize("link", [".", "..", "../n1", "loop"])
    def test_a_link_loop_is_one_short_line(self, folder: Path, link: str) -> None:
        (folder / "train" / "n0" / "loop").symlink_to(link)
        if link == "../n1":
            (folder / "train" / "n1" / "back").symlink_to("../n0")
        assert refused(folder, "n0/loop").count("/loop") == 1

    def test_missing(self, tmp_path: Path) -> None:
        missing = tmp_path / "nowhere"
        refused(missing, f"no train/ under {missing}; expected the layout of tiny-imagenet-200")

    def test_without_val(self, folder: Path) -> None:
        shutil.rmtree(folder / "val")
        refused(folder, "no val/ under")

    def test_without_classes(self, folder: Path) -> None:
        shutil.rmtree(folder / "train")
        (folder / "train").mkdir()
        refused(folder, "no class folders in train/")

    def test_with_empty_classes(self, folder: Path) -> None:
        for wnid in ("n1", "n2"):
            for path in (folder / "train" / wnid).iterdir():
                path.unlink()
        refused(folder, "no images in train/n1 and 1 more")

    def test_with_other_classes_in_val(self, folder: Path) -> None:
        (folder / "val" / "n2").rename(folder / "val" / "n7")
        refused(folder, "train/ and val/ disagree", "only in train/: n2", "only in val/: n7")

    def test_with_other_classes_in_the_list(self, tiny: Path) -> None:
        (tiny / "wnids.txt").write_text("n10\nn20\nn30\nn40\n")
        refused(tiny, "train/ and wnids.txt disagree", "only in wnids.txt: n40")

    def test_with_a_file_that_is_not_there(self, tiny: Path) -> None:
        (tiny / "val" / "images" / "val_3.JPEG").unlink()
        refused(tiny, "val_annotations.txt, line 4", "val_3.JPEG")

    def test_with_a_file_twice(self, tiny: Path) -> None:
        annotations = tiny / "val" / "val_annotations.txt"
        annotations.write_text(annotations.read_text() + "val_0.JPEG\tn10\n")
        refused(tiny, "line 7", "each file once")

    def test_with_a_file_that_is_not_annotated(self, tiny: Path) -> None:
        shutil.copy(tiny / "val" / "images" / "val_0.JPEG", tiny / "val" / "images" / "new.JPEG")
        refused(tiny, "no line in", "images/new.JPEG")

    def test_with_a_class_without_validation_images(self, tiny: Path) -> None:
        annotations = tiny / "val" / "val_annotations.txt"
        annotations.write_text(annotations.read_text().replace("n20", "n10"))
        refused(tiny, "only in train/: n20")


class TestFingerprint:
    def test_changes_with_a_name_a_class_or_a_size(self, folder: Path, draw) -> None:
        found = [list_images(folder).fingerprint()]
        (folder / "val" / "n1" / "val_1.JPEG").rename(folder / "val" / "n1" / "val_9.JPEG")
        found.append(list_images(folder).fingerprint())
        (folder / "val" / "n1" / "val_9.JPEG").rename(folder / "val" / "n2" / "val_9.JPEG")
        found.append(list_images(folder).fingerprint())
        digest = list_images(folder).digest()
        draw(1, 32, 32).save(folder / "val" / "n2" / "val_9.JPEG")  # resized, under the same name
        found.append(list_images(folder).fingerprint())
        assert list_images(folder).digest() == digest
        assert len(set(found)) == len(found)

    def test_is_of_a_copy_too(self, folder: Path, tmp_path: Path) -> None:
        shutil.copytree(folder, tmp_path / "copy")
        assert list_images(tmp_path / "copy").fingerprint() == list_images(folder).fingerprint()

    def test_asks_for_a_few_sizes_spread_over_all_files(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = []
        monkeypatch.setattr(listing, "bytes_of", lambda path: asked.append(path) or 0)
        monkeypatch.setattr(listing, "SIZED", 5)
        found = list_images(folder)
        found.fingerprint()
        whole = [found.path(split, i) for split, n in (("train", 24), ("val", 9)) for i in range(n)]
        assert asked == [whole[i] for i in (0, 6, 13, 19, 26)]
        monkeypatch.setattr(listing, "SIZED", 1000)
        asked.clear()
        found.fingerprint()
        assert asked == whole

    def test_of_a_link_that_leads_nowhere_is_one_too(self, folder: Path) -> None:
        before = list_images(folder).fingerprint()
        path = folder / "train" / "n0" / "train_0.JPEG"
        path.unlink()
        path.symlink_to(folder / "nowhere.JPEG")
        assert list_images(folder).fingerprint() != before
