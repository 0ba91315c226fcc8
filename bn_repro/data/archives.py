"""The official archives of ILSVRC2012, unpacked once into train/<wnid>/ and val/<wnid>/.

torchvision knows the archives, their MD5s and how the devkit names the validation images' classes.
But it extracts into place, and in every process. Here one process has it extract the devkit and the
validation images, whose MD5s it checks first, to a temporary name. The 138 GB of the training
images are extracted here, class by class; a stop is heard before each image.
"""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from pathlib import Path

from bn_repro import stop_signal
from bn_repro.data.listing import SPLITS
from bn_repro.records.files import waiting_for


def extract_archives(root: Path) -> None:
    """Extract the archives under ``root``, if there are any, to the train/ or val/ that is missing.

    Ranks and runs may all call this: the first extracts while the others wait. Raises ValueError
    where an archive is damaged or missing, or where the disk is full; KeyboardInterrupt where the
    process is asked to stop, with the training classes that are extracted kept for the next.
    """
    from torchvision.datasets import imagenet  # takes a second, and only archives need it

    wanted = {split: imagenet.ARCHIVE_META[split][0] for split in SPLITS}
    present = any((root / archive).is_file() for archive in wanted.values())
    if not present or all((root / split).is_dir() for split in SPLITS):
        return
    try:
        with waiting_for(root / ".extracting.lock"):
            for split in SPLITS:
                if (root / split).is_dir():
                    continue
                scratch = root / f".extracting-{split}"
                if split == "train":
                    _extract_train(root / wanted[split], imagenet.ARCHIVE_META[split][1], scratch)
                else:
                    shutil.rmtree(scratch, ignore_errors=True)
                    imagenet.parse_devkit_archive(root)
                    imagenet.parse_val_archive(root, folder=scratch.name)
                scratch.rename(root / split)
    except (OSError, RuntimeError, tarfile.TarError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"data.root: cannot extract the archives under {root}: {reason}"
        ) from error


def _extract_train(archive: Path, md5: str, folder: Path) -> None:
    """Extract the training archive, which holds an archive a class; skip extracted classes."""
    digest = hashlib.md5(usedforsecurity=False)
    with open(archive, "rb") as file:
        while block := file.read(2**22):
            stop_signal.check()
            digest.update(block)
    if digest.hexdigest() != md5:
        raise RuntimeError(f"the archive {archive.name} is corrupted: its MD5 is not {md5}")
    with tarfile.open(archive) as classes:
        for member in classes:
            name = tarfile.data_filter(member, str(folder)).name.removesuffix(".tar")
            if (folder / name).is_dir():
                continue
            partial = folder / f".{name}"
            shutil.rmtree(partial, ignore_errors=True)
            with tarfile.open(fileobj=classes.extractfile(member)) as images:
                images.extractall(partial, filter=plain_member)
            partial.rename(folder / name)


def plain_member(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo | None:
    """A filter for ``extractall``: it refuses files, links and devices outside the folder.

    It looks at the stop flag before each member.
    """
    stop_signal.check()
    return tarfile.data_filter(member, path)
