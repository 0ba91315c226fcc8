"""ImageNet, Tiny ImageNet and image folders, held in memory or streamed."""

from __future__ import annotations

from pathlib import Path

from bn_repro.data.archives import extract_archives
from bn_repro.data.augment import Preprocessing
from bn_repro.data.image_cache import open_cache
from bn_repro.data.listing import SPLITS, Listing, list_images
from bn_repro.data.resident import ResidentImages
from bn_repro.data.streaming import StreamedImages

RESIDENT_BYTES = 4 * 2**30
"""A folder of images up to this decoded size is held in memory; a larger one is streamed."""


def imagenet(
    root: str | Path,
    preprocessing: Preprocessing,
    *,
    size: int = 224,
    workers: int = 2,
    on_error: str = "raise",
) -> StreamedImages:
    """ILSVRC2012 under ``root``, streamed: train/<wnid>/ and val/<wnid>/, or the official archives.

    The archives (train, val, devkit) are checked and extracted there, once.
    """
    root = Path(root).expanduser()
    extract_archives(root)
    listing = list_images(root, "ImageNet: train/<wnid>/*.JPEG, val/<wnid>/*.JPEG")
    return StreamedImages(
        "imagenet", listing, preprocessing, size=size, workers=workers, on_error=on_error
    )


def tiny_imagenet(
    root: str | Path,
    preprocessing: Preprocessing,
    *,
    size: int = 64,
    cache_dir: str | Path | None = None,
    on_error: str = "raise",
    progress: bool = True,
) -> ResidentImages:
    """Tiny ImageNet in its official layout, any number of classes: decoded once, in memory."""
    listing = list_images(root, "tiny-imagenet-200")
    return _resident("tiny_imagenet", listing, preprocessing, size, cache_dir, on_error, progress)


def image_folder(
    root: str | Path,
    preprocessing: Preprocessing,
    *,
    size: int = 64,
    resident: bool | None = None,
    workers: int = 2,
    cache_dir: str | Path | None = None,
    on_error: str = "raise",
    progress: bool = True,
) -> ResidentImages | StreamedImages:
    """Any folder of train/<class>/ and val/<class>/, at ``size``.

    If ``resident``, each image's central square is decoded once at ``size`` and kept in memory;
    otherwise files are streamed, and patches are cut from the whole image. None: resident if all
    images take at most ``RESIDENT_BYTES``.
    """
    listing = list_images(root, "an image folder: train/<class>/*, val/<class>/*")
    if resident is None:
        images = sum(len(listing.labels[split]) for split in SPLITS)
        resident = images * size * size * 3 <= RESIDENT_BYTES
    if resident:
        return _resident(
            "image_folder", listing, preprocessing, size, cache_dir, on_error, progress
        )
    return StreamedImages(
        "image_folder", listing, preprocessing, size=size, workers=workers, on_error=on_error
    )


def _resident(
    name: str,
    listing: Listing,
    preprocessing: Preprocessing,
    size: int,
    cache_dir: str | Path | None,
    on_error: str,
    progress: bool,
) -> ResidentImages:
    cache = open_cache(
        listing, name=name, size=size, cache_dir=cache_dir, on_error=on_error, progress=progress
    )
    return ResidentImages(
        name,
        cache.fingerprint,
        cache.classes,
        cache.images,
        cache.labels,
        preprocessing,
        cache.quarantined,
    )
