"""Read sets of labelled images in MNIST's format (IDX); download MNIST itself.

Every file is checked against its own header; MNIST's files also against their published checksums.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bn_repro.data.download import fetch_once, in_background
from bn_repro.records.paths import cache_folder

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
MNIST_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
"""The MD5 sums of MNIST's files, gunzipped."""


@dataclass(frozen=True)
class Digits:
    """Labelled images as they are stored: ``images`` uint8 (N, H, W), ``labels`` uint8 (N,)."""

    images: np.ndarray
    labels: np.ndarray
    digest: str
    """A digest of the content, the same for gzipped and plain files."""


def read_idx_set(root: Path, *, published: bool = False) -> tuple[Digits, Digits]:
    """The training and test images of the four IDX files under ``root``, checked.

    A set is held to MNIST's published MD5s if ``published``, or if one of its image files is
    MNIST's. Raises ValueError with the file and the reason: a missing or damaged file, different
    numbers of images and labels, a label beyond the largest training label.
    """
    paths = _located(root)
    arrays, md5s = {}, {}
    for name, path in paths.items():
        arrays[name], md5s[name] = _read_idx(path, dimensions=3 if "images" in name else 1)
    if published or any(md5s[images] == MNIST_MD5[images] for images, _ in FILES.values()):
        for name, expected in MNIST_MD5.items():
            if md5s[name] != expected:
                raise ValueError(
                    f"{paths[name]}: not MNIST's file: its content has MD5 {md5s[name]}, "
                    f"published is {expected}; delete it and get it again"
                )
    read = []
    for images, labels in FILES.values():
        if len(arrays[images]) != len(arrays[labels]):
            raise ValueError(
                f"{paths[labels]}: {len(arrays[labels])} labels for the {len(arrays[images])} "
                f"images of {paths[images].name}"
            )
        read.append(Digits(arrays[images], arrays[labels], f"{md5s[images]} {md5s[labels]}"))
    _check_labels({paths[labels]: arrays[labels] for _, labels in FILES.values()})
    train, test = read
    if train.images.shape[1:] != test.images.shape[1:]:
        sizes = ["x".join(map(str, part.images.shape[1:])) for part in read]
        raise ValueError(f"{root}: training images of {sizes[0]} pixels, test images of {sizes[1]}")
    return train, test


def _located(root: Path) -> dict[str, Path]:
    """The paths of the four files; a plain file is preferred to a gzipped one.

    They lie in ``root``, in raw/ or in MNIST/raw/, or else in the raw/ of the one set below it.
    """
    names = [name for pair in FILES.values() for name in pair]
    usual = [_files(folder) for folder in (root, root / "raw", root / "MNIST" / "raw")]
    others = [_files(folder) for folder in sorted(root.glob("*/raw")) if os.path.isdir(folder)]
    best = max(usual, key=len)
    if len(best) < len(names):
        whole = [files for files in others if len(files) == len(names)]
        if len(whole) > 1:
            sets = " and ".join(str(files[names[0]].parent) for files in whole[:2])
            raise ValueError(f"data.root: {root} has several sets, {sets}; give the folder of one")
        best = whole[0] if whole else best
    missing = [name for name in names if name not in best]
    if missing:
        raise ValueError(
            f"data.root: no {' and no '.join(missing)} (.gz or not) under {root}; expected the "
            f"four IDX files {', '.join(names)} there, in raw/ or in <set>/raw/"
        )
    return best


def _files(folder: Path) -> dict[str, Path]:
    """Which of the four files are in ``folder``, also under their names with a dot."""
    names = [name for pair in FILES.values() for name in pair]
    return {
        name: path
        for name in names
        for spelled in (name.replace("-idx", ".idx"), name)
        for path in (folder / f"{spelled}.gz", folder / spelled)
        if os.path.isfile(path)
    }


def _read_idx(path: Path, dimensions: int) -> tuple[np.ndarray, str]:
    """The array in an IDX file of bytes, and the MD5 of the gunzipped file.

    The format: two zero bytes, the type (8: unsigned byte), the number of dimensions, each
    dimension as a big-endian 32-bit integer, then the data.
    """
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: cannot be read, or is truncated or corrupt: {error}") from error
    header = 4 + 4 * dimensions
    magic = bytes((0, 0, 8, dimensions))
    if len(content) < header or content[:4] != magic:
        raise ValueError(
            f"{path}: not an IDX file of {'images' if dimensions == 3 else 'labels'}: "
            f"it begins with {content[:4].hex() or 'nothing'}, expected {magic.hex()}"
        )
    shape = [int(d) for d in np.frombuffer(content[4:header], ">u4")]
    promised = int(np.prod(shape, dtype=object))
    if len(content) - header != promised or promised == 0:
        raise ValueError(
            f"{path}: its header promises {' x '.join(map(str, shape))} = {promised} bytes, "
            f"{len(content) - header} follow; the file is truncated, corrupt or empty"
        )
    array = np.frombuffer(content, np.uint8, offset=header).reshape(shape)
    return array, hashlib.md5(content, usedforsecurity=False).hexdigest()


def _check_labels(labels: dict[Path, np.ndarray]) -> None:
    """ValueError for a label beyond the largest training label, which is the last class.

    A damaged training label would add classes without examples. So more than ten classes must leave
    no gap; up to ten may, since a small set may lack one.
    """
    path, train = next(iter(labels.items()))
    used = np.unique(train)
    first, last = int(used[0]), int(used[-1])
    if last >= 10 and len(used) < last - first + 1:
        raise ValueError(
            f"{path}: label {last}, but classes below it have no example; the file is corrupt, "
            "or the set lacks examples of some of its classes"
        )
    for path, values in labels.items():
        if values.max() > last:
            raise ValueError(f"{path}: label {values.max()} is out of range for {last + 1} classes")


def downloaded() -> Path:
    """The cache folder with MNIST's four files; torchvision downloads them if they are missing.

    Raises ValueError where they cannot be downloaded; KeyboardInterrupt where the process is asked
    to stop, with the files that are whole kept for the next.
    """
    cache = cache_folder() / "mnist"

    def fetch(scratch: Path) -> None:
        from torchvision.datasets import MNIST  # takes seconds, and few runs need it

        in_background(lambda: MNIST(scratch, train=False, download=True))
        for name in MNIST_MD5:
            os.replace(scratch / "MNIST" / "raw" / name, cache / name)

    fetch_once(
        cache,
        lambda: all((cache / name).is_file() for name in MNIST_MD5),
        fetch,
        "not given, and MNIST",
        "give data.root, a directory with its four IDX files",
    )
    return cache
