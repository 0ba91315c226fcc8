"""CIFAR-10: 60,000 coloured images of 32x32 in ten classes, by torchvision's loader, in memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from bn_repro.data.augment import Preprocessing
from bn_repro.data.download import Published, fetch_archive
from bn_repro.data.image_cache import fingerprint_of
from bn_repro.data.listing import Listing
from bn_repro.data.resident import ResidentImages
from bn_repro.data.subset import WHOLE, Subset

FOLDER = "cifar-10-batches-py"


def cifar10(
    root: str | Path, preprocessing: Preprocessing, *, part: Subset = WHOLE, download: bool = False
) -> ResidentImages:
    """CIFAR-10 under ``root``: the archive's "Python version", unpacked (FOLDER, or its files).

    With ``download`` its archive (170 MB) is fetched there first. The splits are "train" and
    "test", and, where ``part`` holds images out, "val". Raises ValueError, in one line, where a
    file is missing or is not the published one.
    """
    root = Path(root).expanduser()
    if download:
        _fetch(root)
    official, classes = _read(root)
    chosen = part.of(_listing(root, classes, {s: y for s, (_, y) in official.items()}))
    images, labels = {}, {}
    for split, paths in chosen.paths.items():
        # A listing calls the official test images "val", or "test" once others are held out.
        name = split if part.held_out or split == "train" else "test"
        source = official["test" if name == "test" else "train"][0]
        images[name] = np.ascontiguousarray(source[paths])
        labels[name] = chosen.labels[split]
    fingerprint = fingerprint_of(chosen.classes, images, labels)
    return ResidentImages("cifar10", fingerprint, chosen.classes, images, labels, preprocessing)


def _fetch(root: Path) -> None:
    from torchvision.datasets import CIFAR10  # takes seconds, and a run that is finished needs none

    published = Published(CIFAR10.url, CIFAR10.tgz_md5, FOLDER, last=CIFAR10.meta["filename"])
    if not (root / published.last).is_file():
        fetch_archive(published, root, root / FOLDER, f"the folder of {FOLDER}/")


def _read(root: Path) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], tuple[str, ...]]:
    """The images (N, 32, 32, 3) and labels of both splits, checked, and the classes' names."""
    from torchvision.datasets import CIFAR10

    inside = root.is_dir() and (root / CIFAR10.meta["filename"]).is_file()
    loader = type("Here", (CIFAR10,), {"base_folder": ""}) if inside else CIFAR10
    files = root if inside else root / FOLDER
    if not files.is_dir():
        raise ValueError(
            f"data.root: no {FOLDER}/ under {root}; give the folder that holds it (the "
            '"Python version" of CIFAR-10), or data.download=true to fetch it'
        )
    try:
        sets = {"train": loader(root, train=True), "test": loader(root, train=False)}
    except (RuntimeError, OSError) as error:
        raise ValueError(
            f"data.root: a file of CIFAR-10 in {files} is missing, or is not the published one; "
            "remove the folder, and fetch it with data.download=true"
        ) from error
    found = {s: (d.data, np.array(d.targets, np.int64)) for s, d in sets.items()}
    return found, tuple(sets["train"].classes)


def _listing(root: Path, classes: tuple[str, ...], labels: Mapping[str, np.ndarray]) -> Listing:
    """A listing with the images' numbers in place of paths; ``Subset`` takes its part of it."""
    train, test = labels["train"], labels["test"]
    return Listing(
        root,
        classes,
        paths={"train": np.arange(len(train)), "val": np.arange(len(test))},
        labels={"train": train, "val": test},
    )
