"""The keys of ``data``: one dataclass a data set (``DATASETS``), and those of what they share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from bn_repro.config.fields import Rule, Section, number, one_of, setting
from bn_repro.records.paths import cache_folder


@dataclass
class DataConfig(Section):
    """The data set.

    Every data set has ``root``, ``cache``, ``workers`` and ``download``, for one command may train
    on several; a set without files ignores them.
    """

    prefix: ClassVar[str] = "data."
    licence: ClassVar[str] = "Not known here: that of the images' owner."

    name: str = setting("", "the data set")
    shuffling: str = setting(
        "full",
        "what is shuffled each epoch: full (all images); within_shard (the order of shards, and "
        "images within each); fixed (shards alone); fixed_batches (mini-batches alone)",
        one_of("full", "within_shard", "fixed", "fixed_batches"),
    )
    eval_limit: int | None = setting(
        None,
        "evaluations during training use at most this many images, evenly spaced; the last one "
        "uses all; a run's best accuracy is then over evaluations of both kinds; null: all",
        number(1),
        identity=False,
    )
    root: str | None = setting(
        None, "folder of the files", identity=False, path=True, variable=True
    )
    cache: str | None = setting(
        None,
        "folder for decoded images; null: ~/.cache/bn_repro",
        identity=False,
        path=True,
        variable=True,
    )
    workers: int = setting(2, "processes that read files", number(0, 1024), identity=False)
    download: bool = setting(
        False,
        "fetch tiny_imagenet or cifar10 once, into data.root (null: ~/.cache/bn_repro); mnist is "
        "fetched where data.root is null",
        identity=False,
    )


@dataclass
class StoredConfig(DataConfig):
    """A data set of which a part can be used."""

    held_out: int = setting(
        0,
        "training images held out as the val split (photographs: as many of each class; the "
        "official validation images become test); 0: none",
        number(0),
    )
    limit: int | None = setting(
        None, "number of images to train on, drawn from the seed; null: all", number(1)
    )


@dataclass
class DigitsConfig(StoredConfig):
    """MNIST's 60,000 + 10,000 digits, or a set of that format."""


@dataclass
class MnistBinaryConfig(DigitsConfig):
    """The paper's binary digits, inside the package."""

    licence: ClassVar[str] = "MNIST (Y. LeCun, C. Cortes, C. Burges), CC BY-SA 3.0."
    name: str = setting("mnist_binary", "the data set")


@dataclass
class MnistConfig(DigitsConfig):
    """The grey digits, downloaded, or IDX files under ``root``."""

    licence: ClassVar[str] = f"{MnistBinaryConfig.licence} Other IDX files have their own."
    name: str = setting("mnist", "the data set")


@dataclass
class ImagesConfig(DataConfig):
    """Coloured images, as they come to the network."""

    augmentation: bool = setting(True, "train on random patches and mirror images")
    photometric: str = setting(
        "none", "strength of the photometric distortions", one_of("full", "reduced", "none")
    )


@dataclass
class ScaledImagesConfig(ImagesConfig):
    """Coloured images of any size, brought to one."""

    image_size: int = setting(64, "side of the images in pixels", number(1, 10_000))


def _some_classes(value: Any) -> bool:
    if isinstance(value, list):
        return len(set(value)) == len(value) > 1
    return number(2, 100_000).holds(value)


@dataclass
class StoredImagesConfig(ImagesConfig, StoredConfig):
    """Images in a folder, ``root``, of which some classes can be used."""

    fetched: ClassVar[str | None] = None
    """The folder in the cache for the download; None: there is none."""

    classes: Any = setting(
        None,
        "a number (the first classes by name), or a list of names; null: all (the synthetic set: a "
        "number; null: 10)",
        Rule(_some_classes, "2 or more, or a list of 2 or more different names"),
    )

    def __post_init__(self) -> None:
        if isinstance(self.classes, list):  # the order in which they are named changes nothing
            self.classes = sorted(map(str, self.classes))
        super().__post_init__()

    def folder(self) -> str:
        """``root``, or the cache's folder of a set that is, or is to be, fetched.

        ValueError where there is none.
        """
        if self.download and self.fetched is None:
            raise ValueError(
                f"data.download: {self.name} cannot be fetched; leave it out, and give data.root"
            )
        if self.root is not None:
            return self.root
        fetch = ""
        if self.fetched is not None:
            cached, fetch = cache_folder() / self.fetched, ", or data.download=true to fetch it"
            if self.download or any(cached.glob("[!.]*/")):
                return str(cached)
        raise ValueError(f"data.root: data={self.name} needs it; give the set's folder{fetch}")


@dataclass
class ImageFilesConfig(ScaledImagesConfig, StoredImagesConfig):
    """Images in files under ``root``."""

    on_error: str = setting(
        "raise",
        "an unreadable file ends the run (raise), or is left out and listed in the manifest "
        "(quarantine)",
        one_of("raise", "quarantine"),
        identity=False,
    )


@dataclass
class Cifar10Config(StoredImagesConfig):
    """CIFAR-10, 32x32, ten classes; held in memory."""

    licence: ClassVar[str] = (
        "CIFAR-10 (A. Krizhevsky 2009) states none; its images were collected from the web, for "
        "research."
    )
    fetched: ClassVar[str | None] = "cifar10"
    name: str = setting("cifar10", "the data set")


IMAGENET_TERMS = (
    "ImageNet's terms of access: non-commercial research and education only; the images are their "
    "owners'."
)


@dataclass
class ImageNetConfig(ImageFilesConfig):
    """ILSVRC2012: ``train/<wnid>/`` and ``val/<wnid>/``, or the official archives; streamed."""

    licence: ClassVar[str] = IMAGENET_TERMS
    name: str = setting("imagenet", "the data set")


@dataclass
class TinyImageNetConfig(ImageFilesConfig):
    """Tiny ImageNet in its official layout, any number of classes; held in memory."""

    licence: ClassVar[str] = IMAGENET_TERMS
    fetched: ClassVar[str | None] = "tiny-imagenet-200"
    name: str = setting("tiny_imagenet", "the data set")


@dataclass
class ImageFolderConfig(ImageFilesConfig):
    """Any folder of ``train/<class>/`` and ``val/<class>/``."""

    name: str = setting("image_folder", "the data set")


@dataclass
class SyntheticConfig(ScaledImagesConfig):
    """Synthetic images, one grating for each class; for tests."""

    licence: ClassVar[str] = "None: the images are computed."
    name: str = setting("synthetic", "the data set")
    classes: int = setting(10, "number of classes", number(2, 100_000))
    train_images: int = setting(
        2048, "training images; there are a quarter as many for validation", number(1, 10**7)
    )

    def __post_init__(self) -> None:
        if self.classes is None:  # what it is where no one says it, as for the other sets
            self.classes = type(self).classes
        super().__post_init__()


DATASETS: dict[str, type[DataConfig]] = {
    "mnist_binary": MnistBinaryConfig,
    "mnist": MnistConfig,
    "imagenet": ImageNetConfig,
    "tiny_imagenet": TinyImageNetConfig,
    "image_folder": ImageFolderConfig,
    "cifar10": Cifar10Config,
    "synthetic": SyntheticConfig,
}
