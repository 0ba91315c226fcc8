"""ImageNet, Tiny ImageNet and image folders, held in memory or streamed."""

from __future__ import annotations

from pathlib import Path

from bn_repro.data.archives import extract_archives
from bn_repro.data.augment import Preprocessing
from bn_repro.data.decode import Quarantine
from bn_repro.data.download import Published, fetch_archive
from bn_repro.data.image_cache import open_cache
from bn_repro.data.listing import Listing, list_images
from bn_repro.data.resident import ResidentImages
from bn_repro.data.streaming import StreamedImages
from bn_repro.data.subset import WHOLE, Subset

RESIDENT_BYTES = 4 * 2**30
"""A folder of images up to this decoded size is held in memory; a larger one is streamed."""

TINY_IMAGENET = Published(
    "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
    "90528d7ca1a48142e341f4ef8d21d0de",
    "tiny-imagenet-200",
    last="train",
)


def imagenet(
    root: str | Path,
    preprocessing: Preprocessing,
    *,
    part: Subset = WHOLE,
    size: int = 224,
    workers: int = 2,
    on_error: str = "raise",
) -> StreamedImages:
    """ILSVRC2012 under ``root``, streamed: train/<wnid>/ and val/<wnid>/, or the official archives.

    The archives (train, val, devkit) are checked and extracted there, once.
    """
    root = Path(root).expanduser()
    extract_archives(root)
    listing = part.of(list_images(root, "ImageNet: train/<wnid>/*.JPEG, val/<wnid>/*.JPEG"))
    return StreamedImages(
        "imagenet", listing, preprocessing, size=size, workers=workers, on_error=on_error
    )


def tiny_imagenet(
    root: str | Path,
    preprocessing: Preprocessing,
    *,
    part: Subset = WHOLE,
    size: int = 64,
    cache_dir: str | Path | None = None,
    on_error: str = "raise",
    download: bool = False,
) -> ResidentImages:
    """Tiny ImageNet in its official layout, any number of classes: decoded once, in memory.

    With ``download`` its archive (248 MB) is fetched into ``root`` first, where there is no set.
    """
    root = Path(root).expanduser()
    if download:
        fetch_archive(TINY_IMAGENET, root, root, "the folder of its train/ and val/")
    listing = part.of(list_images(root, "tiny-imagenet-200"))
    return _resident("tiny_imagenet", listing, preprocessing, size, cache_dir, on_error)


def image_folder(
    root: str | Path,
    preprocessing: Preprocessing,
    *,
    part: Subset = WHOLE,
    size: int = 64,
    workers: int = 2,
    cache_dir: str | Path | None = None,
    on_error: str = "raise",
) -> ResidentImages | StreamedImages:
    """Any folder of train/<class>/ and val/<class>/, at ``size``.

    If all images take at most ``RESIDENT_BYTES``, each image's central square is decoded once and
    kept in memory; otherwise files are streamed, and patches are cut from the whole image.
    """
    listing = part.of(list_images(root, "an image folder: train/<class>/*, val/<class>/*"))
    images = sum(map(len, listing.labels.values()))
    if images * size * size * 3 <= RESIDENT_BYTES:
        return _resident("image_folder", listing, preprocessing, size, cache_dir, on_error)
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
) -> ResidentImages:
    quarantine = Quarantine(on_error)
    cache = open_cache(listing, name=name, size=size, quarantine=quarantine, cache_dir=cache_dir)
    data = ResidentImages(
        name,
        cache.fingerprint,
        cache.classes,
        cache.images,
        cache.labels,
        preprocessing,
        cache.quarantined,
    )
    data.passed_over = listing.passed_over
    return data
