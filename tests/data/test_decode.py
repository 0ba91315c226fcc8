from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bn_repro.data import crops
from bn_repro.data.decode import CorruptImage, Quarantine, decode, read
from bn_repro.data.listing import list_images


def whole(width: int, height: int) -> np.ndarray:
    return np.array([[0.0, 0.0, 1.0, 1.0, 0.0]])


def difference(a: np.ndarray, b: object) -> float:
    return float(np.abs(a.astype(int) - np.asarray(b).astype(int)).mean())


class TestDecode:
    @pytest.mark.parametrize(
        ("mode", "kind", "tolerance"),
        [
            ("RGB", "JPEG", 3),
            ("L", "JPEG", 3),
            ("CMYK", "JPEG", 4),
            ("RGB", "PNG", 0),
            ("RGBA", "PNG", 0),
            ("LA", "PNG", 0),
            ("P", "PNG", 0),
            ("1", "PNG", 0),
        ],
    )
    def test_gives_rgb_whatever_the_suffix_says(
        self, mode: str, kind: str, tolerance: float, draw, tmp_path: Path
    ) -> None:
        path = tmp_path / "n02105855_2933.JPEG"
        image = draw(1, 64, 64)
        expected = image if mode == "CMYK" else image.convert(mode).convert("RGB")
        image.convert(mode).save(path, format=kind, quality=95)
        pixels = decode(path, whole, 64)
        assert pixels.shape == (1, 64, 64, 3)
        assert pixels.dtype == np.uint8
        assert difference(pixels[0], expected) <= tolerance

    def test_takes_the_colours_of_a_transparent_palette(self, draw, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        image = draw(1).convert("P")
        image.save(path, transparency=bytes(range(256)))  # Pillow would warn of it
        assert difference(decode(path, whole, 64)[0], image.convert("RGB")) == 0

    def test_ignores_the_orientation_of_exif(self, draw, tmp_path: Path) -> None:
        path = tmp_path / "a.jpg"
        exif = Image.Exif()
        exif[0x0112] = 3  # upside down
        draw(1).save(path, quality=95, exif=exif)
        assert difference(decode(path, whole, 64)[0], draw(1)) < 3

    def test_cuts_every_box_and_mirrors(self, draw, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        draw(1, 100, 80).save(path)
        boxes = np.array([[0.1, 0.25, 0.5, 0.75, 0], [0.1, 0.25, 0.5, 0.75, 1]])
        pixels = decode(path, lambda width, height: boxes, 40)
        assert np.array_equal(pixels[0], np.asarray(draw(1, 100, 80).crop((10, 20, 50, 60))))
        assert np.array_equal(pixels[1], pixels[0][:, ::-1])

    @pytest.mark.parametrize("format_size", [(1003, 771), (640, 480)])
    def test_reads_a_large_jpeg_at_a_part_of_its_size(
        self, format_size: tuple[int, int], draw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "a.jpg"
        image = draw(1, *format_size)
        image.save(path, quality=95)
        loaded = []
        resize = Image.Image.resize
        monkeypatch.setattr(
            Image.Image,
            "resize",
            lambda self, *args, **box: loaded.append(self.size) or resize(self, *args, **box),
        )
        pixels = decode(path, crops.square, 64)[0]
        # At least 64 pixels a side are left of the square, and less than four times as many.
        assert 64 <= min(loaded[0]) < 200
        width, height = format_size
        left = (width - height) / 2
        full = image.resize(
            (64, 64), Image.Resampling.BILINEAR, box=(left, 0, left + height, height)
        )
        assert difference(pixels, full) < 1.5
        decode(path, crops.square, 500)
        assert loaded[-1] == format_size

    @pytest.mark.parametrize("damage", ["truncated", "empty", "text", "missing", "directory", "16"])
    def test_of_a_bad_file_names_it_in_one_line(self, damage: str, draw, tmp_path: Path) -> None:
        path = tmp_path / "bad.JPEG"
        draw(1, 200, 200).save(path)
        if damage == "truncated":
            path.write_bytes(path.read_bytes()[:900])
        elif damage == "empty":
            path.write_bytes(b"")
        elif damage == "text":
            path.write_text("<html>404</html>")
        elif damage == "16":
            Image.fromarray(np.full((9, 9), 40_000, np.uint16)).save(path, format="PNG")
        else:
            path.unlink()
            if damage == "directory":
                path.mkdir()
        with pytest.raises(CorruptImage) as caught:
            decode(path, whole, 64)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_of_a_drawing_calls_no_other_program(self, tmp_path: Path, monkeypatch) -> None:
        called = []
        monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *how: called.append(how))
        path = tmp_path / "bad.png"
        path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n")
        with pytest.raises(CorruptImage, match=r"bad\.png: .* EPS, which is drawn by a program"):
            decode(path, whole, 64)
        assert not called

    def test_of_a_damaged_png_names_it(self, draw, tmp_path: Path) -> None:
        path = tmp_path / "bad.png"
        draw(1, 200, 200).save(path)
        content = bytearray(path.read_bytes())
        content[200:260] = bytes(60)
        path.write_bytes(content)
        with pytest.raises(CorruptImage, match=r"bad\.png"):
            decode(path, whole, 64)


class TestRead:
    def test_takes_the_next_that_can_be_read_with_its_label(self, folder: Path) -> None:
        listing = list_images(folder)
        for k in (6, 7):  # the last of class 0
            listing.path("train", k).write_bytes(b"no image")
        pixels, label, faults = read(listing, "train", 6, crops.square, 32)
        expected, _, none = read(listing, "train", 8, crops.square, 32)
        assert pixels is not None
        assert expected is not None
        assert np.array_equal(pixels, expected)
        assert label == 1
        assert all(str(listing.path("train", k)) in f for k, f in zip((6, 7), faults, strict=True))
        assert none == []

    def test_takes_no_other_where_none_is_to_replace_it(self, folder: Path) -> None:
        listing = list_images(folder)
        listing.path("val", 2).write_bytes(b"no image")
        pixels, label, faults = read(listing, "val", 2, crops.square, 32, replace=False)
        assert pixels is None
        assert label == 0
        assert [str(listing.path("val", 2)) in fault for fault in faults] == [True]
        whole, label, none = read(listing, "val", 3, crops.square, 32, replace=False)
        assert whole is not None
        assert (whole.shape, label, none) == ((1, 32, 32, 3), 1, [])

    def test_after_the_last_goes_on_from_the_first(self, folder: Path) -> None:
        listing = list_images(folder)
        listing.path("val", 8).unlink()
        _, label, faults = read(listing, "val", 8, crops.square, 32)
        assert (label, len(faults)) == (0, 1)

    @pytest.mark.parametrize(("limit", "more"), [(4, 4), (100, 8)])
    def test_gives_up_beyond_the_limit_or_when_all_are_bad(
        self, folder: Path, limit: int, more: int
    ) -> None:
        listing = list_images(folder)
        for k in range(9):
            listing.path("val", k).unlink()
        with pytest.raises(CorruptImage, match=rf"val_0\.JPEG: .*; nor can the {more} after it"):
            read(listing, "val", 0, crops.square, 32, limit)


class TestQuarantine:
    def test_raises_at_once_by_default(self) -> None:
        with pytest.raises(ValueError, match=r"a\.jpg: bad; data.on_error=quarantine"):
            Quarantine().record(["a.jpg: bad"])

    def test_counts_each_file_once_up_to_its_limit(self) -> None:
        quarantine = Quarantine("quarantine", limit=2)
        quarantine.record(["a", "b"])
        quarantine.record(["a"])
        assert quarantine.reasons == ["a", "b"]
        with pytest.raises(ValueError, match="c; more than 2 such files"):
            quarantine.record(["c"])

    def test_of_an_unknown_kind_is_refused(self) -> None:
        with pytest.raises(ValueError, match="data.on_error: 'ignore' is unknown"):
            Quarantine("ignore")
