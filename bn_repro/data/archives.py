"""The official archives of ILSVRC2012, unpacked once into train/<wnid>/ and val/<wnid>/.

torchvision knows the archives, their MD5s and how the devkit names the validation images' classes.
But it extracts without a filter, into place, and in every process. Here one process extracts to a
temporary name, with a filter.
"""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from bn_repro.data.listing import SPLITS


def extract_archives(root: Path) -> None:
    """Extract the archives under ``root``, if there are any, to the train/ or val/ that is missing.

    Ranks and runs may all call this: the first extracts while the others wait. Raises ValueError
    where an archive is damaged or missing, where scipy (which reads the devkit) is not installed,
    or where the disk is full.
    """
    from torchvision.datasets import imagenet  # takes a second, and only archives need it

    wanted = {split: imagenet.ARCHIVE_META[split][0] for split in SPLITS}
    present = any((root / archive).is_file() for archive in wanted.values())
    if not present or all((root / split).is_dir() for split in SPLITS):
        return
    try:
        with FileLock(root / ".extracting.lock"), _only_plain_members():
            for split in SPLITS:
                if (root / split).is_dir():
                    continue
                scratch = root / f".extracting-{split}"
                shutil.rmtree(scratch, ignore_errors=True)
                if split == "train":
                    imagenet.parse_train_archive(root, folder=scratch.name)
                else:
                    imagenet.parse_devkit_archive(root)
                    imagenet.parse_val_archive(root, folder=scratch.name)
                scratch.rename(root / split)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"data.root: {error.name} is needed to read the devkit's archive under {root}; "
            f"pip install scipy, or extract it into train/<wnid>/ and val/<wnid>/ yourself"
        ) from error
    except (OSError, RuntimeError, tarfile.TarError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"data.root: cannot extract the archives under {root}: {reason}"
        ) from error


@contextmanager
def _only_plain_members() -> Iterator[None]:
    """Within this block, extraction refuses files, links and devices outside its folder."""
    before = tarfile.TarFile.__dict__.get("extraction_filter")
    tarfile.TarFile.extraction_filter = staticmethod(tarfile.data_filter)
    try:
        yield
    finally:
        if before is None:
            del tarfile.TarFile.extraction_filter
        else:
            tarfile.TarFile.extraction_filter = before
