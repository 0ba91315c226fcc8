"""List the image files of a folder, with their classes."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bn_repro import stop_signal

SUFFIXES = (
    *(".jpeg", ".jpg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".dib", ".webp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
)
"""What every build of Pillow reads; of an animation, its first image."""
BESIDE = ("thumbs.db", "desktop.ini", "icon\r")
"""Files, in small letters, that file managers leave beside images; Tiny ImageNet has boxes.txt."""
NOT_OF_THE_SET = (
    *("@eadir", "#recycle", "#snapshot", "@tmp", "@recycle", "@recently-snapshot", "lost+found"),
    *("$recycle.bin", "recycler", "recycled", "system volume information", "network trash folder"),
    *("temporary items", "__macosx", "__pycache__"),
)
"""Folders, in small letters, that storage servers, file managers, archive tools and Python leave;
some hold small copies of the images, or removed ones."""
SPLITS = ("train", "val")
"""The folders of a set; a listing may hold training images out, and then has "test" as well."""
SIZED = 1000
"""How many files, at most, have their sizes in a listing's fingerprint."""


@dataclass(frozen=True)
class Listing:
    """The images of a folder: for each split, paths below ``root`` (bytes, sorted) and labels.

    The splits are in the order "train", "val", "test". Arrays, not lists: loader workers share the
    memory of an array, but reading a list copies it.
    """

    root: Path
    classes: tuple[str, ...]
    paths: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    passed_over: Mapping[str, int] = field(default_factory=dict)
    """By suffix, the number of files that are not images, or lie outside the class folders."""

    def path(self, split: str, index: int) -> Path:
        return self.root / os.fsdecode(self.paths[split][index])

    def fingerprint(self) -> str:
        """SHA-256 over ``digest`` and the sizes in bytes of up to ``SIZED`` files, evenly spaced.

        It changes if images are resized, or encoded again, under the same names.
        """
        # Not of all files: each run asks, and a stat for each of ImageNet's 1.28 million files is
        # too slow on a network file system.
        paths = np.concatenate(list(self.paths.values()))
        count = min(len(paths), SIZED)
        sizes = self.sizes(paths[np.arange(count) * len(paths) // count])
        return hashlib.sha256(f"{self.digest()} {sizes}".encode()).hexdigest()

    def sizes(self, paths: np.ndarray) -> list[int]:
        """The sizes in bytes of files of the set."""
        found = []
        for path in paths:
            stop_signal.check()
            found.append(bytes_of(self.root / os.fsdecode(path)))
        return found

    def digest(self) -> str:
        """SHA-256 over the names of classes and files, not over their content."""
        sha = hashlib.sha256(os.fsencode("\n".join(self.classes)))
        for split, paths in self.paths.items():
            sha.update(b"\n\n" + b"\n".join(paths.tolist()))
            sha.update(self.labels[split].tobytes())
        return sha.hexdigest()


def bytes_of(path: Path) -> int:
    """The size of a file in bytes; -1 if there is none, as behind a broken link."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def list_images(root: str | Path, layout: str = "an image folder") -> Listing:
    """List the images under ``root``, in ImageFolder's layout or in that of tiny-imagenet-200.

    train/<class>/ has images at any depth (Tiny ImageNet: in images/); val/ has the same layout, or
    images/ and val_annotations.txt. A class is numbered by its place in the sorted names. Raises
    ValueError if something is missing or cannot be read, a class has no image, or train/ and val/
    have different classes; KeyboardInterrupt where the process is asked to stop.
    """
    root = Path(root).expanduser()
    for split in SPLITS:
        if not (root / split).is_dir():
            raise _unexpected(f"no {split}/ under {root}", layout)
    passed_over: Counter[str] = Counter()
    try:
        train = _by_class(root, "train", layout, passed_over)
        classes = tuple(sorted(train))
        named = root / "wnids.txt"
        if named.is_file():
            _same_classes(root, "wnids.txt", set(_text(named).split()), set(classes))
        if _is_annotated(root / "val", classes):
            val = _annotated(root / "val" / ANNOTATIONS, passed_over)
        else:
            val = _by_class(root, "val", layout, passed_over)
    except OSError as error:
        raise ValueError(f"data.root: {error.filename}: {error.strerror}") from None
    _same_classes(root, "val/", set(val), set(classes))
    files_by_class = {"train": train, "val": val}
    paths, labels = {}, {}
    for split, files in files_by_class.items():
        pairs = sorted((name, label) for label, c in enumerate(classes) for name in files[c])
        paths[split] = np.array([name for name, _ in pairs])
        labels[split] = np.array([label for _, label in pairs], np.int64)
    return Listing(root, classes, paths, labels, passed_over)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"data.root: {path}: not UTF-8 at byte {error.start}; save it in that encoding"
        ) from None


def _by_class(
    root: Path, split: str, layout: str, passed_over: Counter[str]
) -> dict[str, list[bytes]]:
    classes = []
    for entry in filter(_of_the_set, os.scandir(root / split)):
        if entry.is_dir():
            classes.append(entry.name)
        elif entry.name.lower() not in BESIDE and entry.name != ANNOTATIONS:
            suffix = os.path.splitext(entry.name.lower())[1]
            passed_over[f"{suffix or 'without a suffix'} in no class folder"] += 1
    classes.sort()
    if not classes:
        raise _unexpected(f"no class folders in {split}/ under {root}", layout)
    by_class = {c: list(_images_below(root, f"{split}/{c}", passed_over)) for c in classes}
    if split == "val" and len(by_class) > 1 and not by_class.get("images", True):
        del by_class["images"]  # Tiny ImageNet's, once its images lie in folders of their classes
    empty = [c for c, files in by_class.items() if not files]
    if empty:
        raise _unexpected(f"no images in {split}/{_some(empty)} under {root}", layout)
    return by_class


def _of_the_set(entry: os.DirEntry[str]) -> bool:
    """Not what file managers, storage servers, archive tools and notebooks leave behind."""
    return not entry.name.startswith(".") and entry.name.lower() not in NOT_OF_THE_SET


def _images_below(
    root: Path, folder: str, passed_over: Counter[str], above: tuple[str, ...] = ()
) -> Iterator[bytes]:
    """The images in ``folder``, at any depth; ``above`` are the folders that lead there."""
    here = os.path.realpath(root / folder)
    if here in above:
        raise ValueError(f"data.root: {root / folder}: a link to a folder above it; remove it")
    with os.scandir(root / folder) as entries:
        for entry in entries:
            stop_signal.check()
            below, name = f"{folder}/{entry.name}", entry.name.lower()
            if not _of_the_set(entry) or name in BESIDE or name.endswith("_boxes.txt"):
                continue
            if entry.is_dir():
                yield from _images_below(root, below, passed_over, (*above, here))
            elif name.endswith(SUFFIXES) and (entry.is_file() or _is_broken_link(entry)):
                yield os.fsencode(below)
            else:
                passed_over[os.path.splitext(name)[1]] += 1


def _is_broken_link(entry: os.DirEntry[str]) -> bool:
    """A file that should be there and cannot be read, unlike a pipe or a device."""
    return entry.is_symlink() and not os.path.exists(entry.path)


ANNOTATIONS = "val_annotations.txt"


def _is_annotated(val: Path, classes: Iterable[str]) -> bool:
    """Whether Tiny ImageNet's val/ is as published, and not sorted into folders of its classes."""
    return (val / ANNOTATIONS).is_file() and not any((val / name).is_dir() for name in classes)


def _annotated(annotations: Path, passed_over: Counter[str]) -> dict[str, list[bytes]]:
    """Tiny ImageNet's val/: a line of file name, class and box for every image, exactly one."""
    if not (annotations.parent / "images").is_dir():
        raise _unexpected(f"no images/ beside {annotations}", "tiny-imagenet-200")
    found = _images_below(annotations.parent, "images", passed_over)
    left = {p.removeprefix(b"images/") for p in found}
    by_class: dict[str, list[bytes]] = {}
    for number, line in enumerate(_text(annotations).splitlines(), start=1):
        name, *rest = line.split("\t")
        if not rest or os.fsencode(name) not in left:
            raise ValueError(
                f"data.root: {annotations}, line {number}: expected a file of val/images/, a tab "
                f"and its class, and each file once; found {line[:60]!a}"
            )
        left.remove(os.fsencode(name))
        by_class.setdefault(rest[0], []).append(os.fsencode(f"val/images/{name}"))
    if left:
        names = [os.fsdecode(name) for name in sorted(left)]
        raise ValueError(f"data.root: no line in {annotations} for images/{_some(names)}")
    return by_class


def _same_classes(root: Path, where: str, classes: set[str], train: set[str]) -> None:
    if classes != train:
        parts = [
            f"only in {place}: {_some(sorted(names))}"
            for place, names in (("train/", train - classes), (where, classes - train))
            if names
        ]
        raise ValueError(
            f"data.root: the classes of train/ and {where} disagree under {root}: "
            f"{'; '.join(parts)}"
        )


def _some(names: list[str]) -> str:
    """The first name, quoted if it has odd characters (``'n01 '``), and how many more."""
    plain = names[0].isascii() and names[0].isprintable() and names[0].split() == names[:1]
    first = names[0] if plain else ascii(names[0])
    return first if len(names) == 1 else f"{first} and {len(names) - 1} more"


def _unexpected(what: str, layout: str) -> ValueError:
    return ValueError(f"data.root: {what}; expected the layout of {layout} (see docs/data.md)")
