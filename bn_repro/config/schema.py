"""What a run is: every key with its type, its default, its check and its help.

One dataclass a model (``MODELS``) and a data set (``DATASETS``), and one each for what they share.
Values are checked when a dataclass is made: ValueError begins with the dotted key.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, make_dataclass
from typing import Any, ClassVar, NamedTuple, get_type_hints

from bn_repro.records.paths import cache_folder


class Rule(NamedTuple):
    """What a value must be, as a test and in words."""

    holds: Callable[[Any], bool]
    expected: str


def number(low: int, high: int = 10**9) -> Rule:
    """A whole number from ``low`` to ``high``."""
    return Rule(
        lambda value: type(value) is int and low <= value <= high,
        f"a whole number from {low} to {high:,}",
    )


FLOAT32 = 2.0**-126, 2.0**128
"""Networks compute in it: a smaller number is 0, a larger one infinite."""
POSITIVE = Rule(lambda value: FLOAT32[0] <= value < FLOAT32[1], "positive (in float32)")
SHARE = Rule(lambda value: 0 <= value < 1, "in [0, 1)")


def one_of(*known: Any) -> Rule:
    """One of the values ``known``."""
    return Rule(lambda value: value in known, f"one of {', '.join(map(str, known))}")


def setting(
    default: Any,
    text: str,
    rule: Rule | None = None,
    *,
    identity: bool = True,
    path: bool = False,
) -> Any:
    """A field with its help text and its rule, which null passes where it is the default.

    A tuple stands for a list.

    ``identity=False``: it does not change what is computed, and is no part of the run's identity.
    ``path=True``: a folder; ``~`` stands for the home folder.
    """
    metadata = {"help": text, "rule": rule, "identity": identity, "path": path}
    if isinstance(default, tuple):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


class Setting(NamedTuple):
    """A key of the configuration: its dotted name, its field, its value, whether it identifies."""

    key: str
    field: Field[Any]
    value: Any
    identity: bool

    @property
    def default(self) -> Any:
        """The field's own default."""
        made = self.field.default_factory
        return self.field.default if made is MISSING else made()


def settings(part: Any, prefix: str = "", identity: bool = True) -> Iterator[Setting]:
    """All keys of a configuration or of one of its sections, in order."""
    for f in fields(part):
        value = getattr(part, f.name)
        counts = identity and f.metadata.get("identity", True)
        if is_dataclass(value):
            yield from settings(value, f"{prefix}{f.name}.", counts)
        else:
            yield Setting(f"{prefix}{f.name}", f, value, counts)


def expanded(key: str, folder: str) -> str:
    """The path that ``key`` was given, with the home folder for ``~``; ValueError for none."""
    if not folder.strip():
        raise ValueError(f"{key}: {folder!r} is no folder; give one, or . for the current one")
    path = os.path.expanduser(folder)
    if path.startswith("~"):
        raise ValueError(
            f"{key}: {folder}: no such home folder; a folder of that name is ./{folder}"
        )
    return path


@dataclass
class Section:
    """Checks each of its fields by the field's own rule, and expands those that are paths."""

    prefix: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for f in fields(self):
            key, value = f"{self.prefix}{f.name}", getattr(self, f.name)
            if f.metadata.get("path") and value is not None:
                setattr(self, f.name, expanded(key, value))
            if value == "None":
                raise ValueError(f"{key}: {value!r} is a text; give null, or leave {key} out")
            rule = f.metadata.get("rule")
            if rule is None or (value is None and f.default is None):
                continue
            if value is None or not rule.holds(value):
                null = ", or null" if f.default is None else ""
                raise ValueError(f"{key}: {value!r} is not {rule.expected}{null}")

    def idle(self, key: str, other: str, *values: str) -> None:
        """ValueError where ``key`` is set and ``other`` has a value with which it has no effect."""
        own, usual, value = getattr(self, key), getattr(type(self), key), getattr(self, other)
        if value in values and own != usual:
            raise ValueError(
                f"{self.prefix}{key}: has no effect where {self.prefix}{other} is {value!r}; "
                f"leave it at {usual!r}, not {own!r}"
            )


NORMS = {
    "none": "no normalization",
    "batch": "BN over each rank's mini-batch",
    "sync_batch": "BN over the mini-batches of all ranks",
    "layer": "over an example's layer",
    "group": "over groups of an example's channels",
    "instance": "over an example's feature map",
    "weight": "of the weights",
}
"""Each is the function of this name in ``bn_repro.norm``, with its help text."""
BATCH_NORMS = ("batch", "sync_batch")
"""Those that have moving averages."""
_NORMS = ", ".join(f"{name} ({text})" for name, text in NORMS.items())
FACTORY = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
"""The import path of a norm of the user's own, ``package.module:factory``."""
NORM = Rule(
    lambda value: value in NORMS or FACTORY.fullmatch(value) is not None,
    f"one of {', '.join(NORMS)}, or package.module:factory for one of your own",
)


@dataclass
class ModelConfig(Section):
    """The network."""

    prefix: ClassVar[str] = "model."

    name: str = setting("", "the network")
    norm: str = setting(
        "none", f"before each nonlinearity: {_NORMS}; or your own, package.module:factory", NORM
    )
    norm_eps: float = setting(
        1e-5,
        "epsilon of Algorithm 1; with 0 (sec. 3.3 is exact) a unit without variance is NaN",
        Rule(lambda value: value == 0 or POSITIVE.holds(value), "0, or positive (in float32)"),
    )
    norm_momentum: float = setting(
        0.1,
        "share of the new mini-batch in the moving averages",
        Rule(lambda value: 0 <= value <= 1, "in [0, 1]"),
    )
    nonlinearity: str = setting("sigmoid", "after each norm", one_of("sigmoid", "tanh", "relu"))
    init: str = setting(
        "gaussian",
        "initial weights: gaussian (init_std), or he (variance 2 / fan-in; not for mlp)",
        one_of("gaussian", "he"),
    )
    init_std: float = setting(0.1, "standard deviation of Gaussian initial weights", POSITIVE)
    dropout: float = setting(0.0, "probability of dropping a feature", SHARE)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.idle("norm_eps", "norm", "none", "weight")
        self.idle("norm_momentum", "norm", *(NORMS.keys() - BATCH_NORMS))
        self.idle("init_std", "init", "he")


@dataclass
class MLPConfig(ModelConfig):
    """The fully connected network of section 4.1."""

    name: str = setting("mlp", "the network")
    hidden: list[int] = setting(
        (100, 100, 100),
        "widths of the hidden layers",
        Rule(lambda v: len(v) > 0 and all(w > 0 for w in v), "a list of positive layer widths"),
    )
    depth: int | None = setting(
        None,
        "number of hidden layers, all as wide as the first; null: as listed in hidden",
        number(1, 10_000),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.init != "gaussian":
            raise ValueError(f"model.init: {self.init!r} is not for mlp; use model.init=gaussian")


MODULES = ("3a", "3b", "3c", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
"""The Inception modules of Figure 5, in its order."""


@dataclass
class InceptionConfig(ModelConfig):
    """The Inception network of Figure 5."""

    name: str = setting("inception", "the network")
    init_gain: float = setting(1.0, "factor on the initial weights", POSITIVE)
    init_bias: float = setting(
        0.0,
        "initial biases, of the units that have one",
        Rule(lambda value: abs(value) < FLOAT32[1], "a number (in float32)"),
    )
    classifier_std: float = setting(
        0.01, "standard deviation of the classifier's initial weights", POSITIVE
    )
    width: float = setting(1.0, "factor on all numbers of channels", POSITIVE)
    modules: list[str] | None = setting(
        None,
        "which modules of Figure 5, in its order, as [3b, 4a, 4e, 5b]; null: all ten",
        Rule(
            lambda v: len(v) > 0 and list(v) == [name for name in MODULES if name in v],
            f"a list out of {', '.join(MODULES)}, in this order",
        ),
    )
    lrn: bool = setting(False, "local response normalization in the stem")
    pool_projection: int = setting(
        96,
        "channels after the pools of 4c and 4d",
        Rule(lambda value: value in (96, 128), "96 (corrected) or 128 (as printed)"),
    )
    separable_stem: bool = setting(False, "a separable first convolution")
    auxiliary: bool = setting(False, "GoogLeNet's side classifier, on 4d")
    per_activation_modules: int = setting(
        0,
        "modules with BN per activation, counted back from the last",
        Rule(lambda value: 0 <= value <= 10, "a number of Inception modules, 0 to 10"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.idle("per_activation_modules", "norm", "none", "weight")
        self.idle("init_bias", "norm", "batch", "sync_batch")  # beta takes the role of the bias
        if self.modules == list(MODULES):
            self.modules = None  # a default spelled out gives the same run
        elif self.modules is not None:
            self._check_modules(self.modules)

    def _check_modules(self, modules: list[str]) -> None:
        """ValueError for what these modules alone do not have."""
        if self.auxiliary and "4d" not in modules:
            raise ValueError("model.auxiliary: it stands on 4d, which model.modules leaves out")
        if self.per_activation_modules > len(modules):
            raise ValueError(
                f"model.per_activation_modules: {self.per_activation_modules} asked for, "
                f"model.modules has {len(modules)}"
            )
        if self.pool_projection != 96 and not {"4c", "4d"} & set(modules):
            raise ValueError(
                "model.pool_projection: it is of 4c and 4d, which model.modules leaves out; "
                "leave it at 96"
            )


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
        "order of an epoch: full; within_shard (shards in a new order, shuffled within); fixed",
        one_of("full", "within_shard", "fixed"),
    )
    eval_limit: int | None = setting(
        None,
        "evaluations during training are on at most so many images, evenly spaced, the last one on "
        "all; a run's best accuracy is then over evaluations of both kinds; null: all",
        number(1),
        identity=False,
    )
    root: str | None = setting(None, "folder of the files", identity=False, path=True)
    cache: str | None = setting(
        None, "folder for decoded images; null: ~/.cache/bn_repro", identity=False, path=True
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
        "training images held out as the val split, of photographs as many of each class, and the "
        "official validation images are test; 0: none",
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
    """The folder in the cache to which a set is fetched that can be."""

    classes: Any = setting(
        None,
        "a number of classes, the first by name, or a list of their names; null: all (of the "
        "synthetic set a number; null: 10)",
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


MODELS: dict[str, type[ModelConfig]] = {"mlp": MLPConfig, "inception": InceptionConfig}
DATASETS: dict[str, type[DataConfig]] = {
    "mnist_binary": MnistBinaryConfig,
    "mnist": MnistConfig,
    "imagenet": ImageNetConfig,
    "tiny_imagenet": TinyImageNetConfig,
    "image_folder": ImageFolderConfig,
    "cifar10": Cifar10Config,
    "synthetic": SyntheticConfig,
}
KINDS: dict[str, dict[str, Any]] = {"model": MODELS, "data": DATASETS}
"""The sections of which there are several kinds, by ``<section>.name``; the first is the default,
against which identity is measured (``identity.differences``)."""


@dataclass
class OptimizerConfig(Section):
    """SGD with momentum; its rate is ``lr * decay_rate ^ floor(step * decay_speed / decay_every)``.

    ``decay_every`` shrinks with ``train.steps / train.paper_steps``.
    """

    prefix: ClassVar[str] = "optimizer."

    lr: float = setting(0.1, "learning rate", POSITIVE)
    r0: float | None = setting(
        None,
        "Inception's rate, set by the scale: imagenet's experiments have optimizer.lr at 1, 5 or "
        "30 times it",
        POSITIVE,
        identity=False,
    )
    momentum: float = setting(0.0, "momentum", SHARE)
    weight_decay: float = setting(
        0.0, "L2 weight", Rule(lambda value: 0 <= value < FLOAT32[1], "0 or more, and finite")
    )
    decay_rate: float = setting(
        1.0, "factor of each decay", Rule(lambda value: 0 < value <= 1, "in (0, 1]")
    )
    decay_every: float | None = setting(
        None,
        "steps between two decays, in a run of train.paper_steps; null: none",
        Rule(POSITIVE.holds, "a positive number of steps"),
    )
    decay_speed: float = setting(1.0, "how many times faster the rate decays", POSITIVE)
    delay: int = setting(
        0, "steps between taking a gradient and applying it, as in asynchronous SGD", number(0)
    )


PROBES = {
    "activations": "percentiles of the nonlinearities' inputs in inference mode, on fixed images",
}
"""Each is the function of this name in ``bn_repro/training/probes.py``, with its help text."""
_PROBES = ", ".join(f"{name} ({text})" for name, text in PROBES.items())


@dataclass
class TrainConfig(Section):
    """The loop: its length, its mini-batch, and its cadences in steps."""

    prefix: ClassVar[str] = "train."

    steps: int = setting(50_000, "length in steps", number(1))
    paper_steps: int | None = setting(
        None,
        "the paper's number of steps; the decay is compressed with a shorter run",
        number(1),
    )
    batch_size: int = setting(60, "examples a mini-batch, of each rank", number(1))
    precision: str = setting("float32", "of the arithmetic", one_of("float32", "bfloat16"))
    engine: str = setting(
        "auto",
        "how a step runs: by_hand (the paper's gradients without autograd, for mlp on a CPU), "
        "eager, graphed (a CUDA graph) or compiled (torch.compile); auto: by_hand where it serves, "
        "else eager, on a GPU too",
        one_of("auto", "by_hand", "eager", "graphed", "compiled"),
        identity=False,
    )
    eval_every: int = setting(1_000, "steps between two evaluations", number(1))
    eval_dense: int = setting(0, "up to this step, evaluations are spaced geometrically", number(0))
    eval_batch_size: int = setting(1_000, "examples evaluated at once", number(1), identity=False)
    final_splits: list[str] = setting(
        (),
        "splits also evaluated at the last step, without augmentation and dropout",
        Rule(
            lambda v: set(v) <= {"train", "val", "test"} and len(set(v)) == len(v),
            "a list of train, val or test, each once",
        ),
    )
    population_batches: int = setting(
        100, "training mini-batches behind Algorithm 2's statistics", number(0)
    )
    polyak: float = setting(
        0.0,
        "share of each step in a moving average of the weights, evaluated too; 0: none",
        SHARE,
    )
    log_every: int = setting(100, "steps between two rows of the loss", number(1), identity=False)
    trace_every: int = setting(250, "steps between two traces", number(0), identity=False)
    trace_dense: int = setting(
        1_000, "up to this step, traces are spaced geometrically", number(0), identity=False
    )
    trace_sites: list[str] | None = setting(
        None, "names of the nonlinearities to trace; null: all", identity=False
    )
    trace_units: list[str] = setting(
        (),
        "of which of these each unit is traced, where a step is evaluated too; of the others the "
        "first unit",
        identity=False,
    )
    probes: list[str] = setting(
        (),
        f"also measured where a step is traced: {_PROBES}",
        Rule(lambda v: set(v) <= set(PROBES), f"a list out of {', '.join(PROBES)}"),
        identity=False,
    )
    checkpoint_every: int = setting(
        5_000, "steps between two checkpoints", number(1), identity=False
    )


@dataclass
class WandbConfig(Section):
    """Weights & Biases, which mirrors the local records."""

    prefix: ClassVar[str] = "wandb."

    mode: str = setting(
        "disabled",
        "whether runs are logged to W&B, and how",
        one_of("disabled", "offline", "online"),
    )
    project: str = setting("bn-repro", "its project")
    entity: str | None = setting(None, "its user or team; null: the account's own")
    dir: str | None = setting(
        None, "where W&B keeps its files; null: the runs directory", path=True
    )
    tags: list[str] = setting((), "tags, besides those made from the configuration")


@dataclass
class EvaluationConfig(Section):
    """How evaluate.py evaluates finished runs."""

    prefix: ClassVar[str] = "evaluation."

    crops: int | None = setting(
        None,
        "1, or GoogLeNet's 144; null: 1, or both for a study with an ensemble",
        one_of(1, 144),
    )
    statistics: str = setting(
        "moving",
        "what BN normalizes by: moving averages, or Algorithm 2's population statistics",
        one_of("moving", "population"),
    )
    ensemble: bool = setting(
        False,
        "also evaluate the mean probability of the runs; a study with ensemble blocks always does",
    )
    seeds: list[int] | None = setting(
        None,
        "seeds of the experiment; null: the one seed",
        Rule(
            lambda v: len(v) > 0 and all(seed >= 0 for seed in v) and len(set(v)) == len(v),
            "a list of seeds, each once",
        ),
    )
    batch_size: int | None = setting(
        None, "crops evaluated at once; null: train.eval_batch_size", number(1)
    )
    world: int = setting(1, "number of ranks that trained the runs", number(1))


@dataclass
class StudyConfig(Section):
    """A study: each of its blocks is a grid over keys, and it is their union.

    A block's seeds are a list, or ``range(first, end)`` as on the command line, without the end.
    """

    prefix: ClassVar[str] = "study."

    name: str = setting(
        "",
        "its name",
        Rule(lambda name: bool(re.fullmatch(r"(?!\.)[\w.-]*", name)), "a name for a folder"),
    )
    blocks: list[Any] = setting((), "{name, experiment: [...], seed: [...], <key>: [...]} each")
    scale: str | None = setting(None, "scale of its runs; null: each experiment's usual one")
    seeds: int | None = setting(
        None, "number of seeds of each block to use, from the first", number(1)
    )
    run: int | None = setting(
        None, "train only the run of this number, from 0, in this process", number(0)
    )
    jobs: int | None = setting(None, "runs side by side; null: one to a core", number(1))
    skip_reported: bool = setting(
        False, "count the runs in results/<study>/runs.csv as done, wherever they were trained"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for block in self.blocks:
            seeds = block.get("seed") if isinstance(block, dict) else None
            if isinstance(seeds, str) and (ends := re.fullmatch(r"range\((\d+), *(\d+)\)", seeds)):
                block["seed"] = list(range(*map(int, ends.groups())))


@dataclass
class Config(Section):
    """One run, or, with ``study``, the runs of its blocks."""

    experiment: str = setting("", "one of the experiments", identity=False)
    seed: int = setting(
        0,
        "seed of the weights, the order of images and the augmentation",
        Rule(lambda value: 0 <= value < 2**63, "0 or more, and below 2**63"),
        identity=False,
    )
    scale: str = setting("default", "size of the runs", identity=False)
    runs: str = setting("runs", "the runs directory", identity=False, path=True)
    out: str | None = setting(
        None,
        "where report.py and export.py write; null: results/<study>, the run's directory",
        identity=False,
        path=True,
    )
    force: bool = setting(False, "start over; the old run is moved aside", identity=False)
    retry: bool = setting(False, "in a study or a sweep, try failed runs again", identity=False)
    on_failure: str = setting(
        "continue",
        "what a failed run does to its study or sweep",
        one_of("continue", "stop"),
        identity=False,
    )
    live: bool = setting(True, "status.py follows the runs; false: it prints once", identity=False)
    device: str = setting(
        "auto",
        "auto takes a GPU where there is one, but for mlp, whose step is faster on a core",
        one_of("auto", "cpu", "cuda", "mps"),
        identity=False,
    )
    threads: int = setting(1, "CPU threads of one run", number(1, 1024), identity=False)
    model: ModelConfig = field(default_factory=MLPConfig)
    data: DataConfig = field(default_factory=MnistBinaryConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    wandb: WandbConfig = field(default_factory=WandbConfig, metadata={"identity": False})
    study: StudyConfig = field(default_factory=StudyConfig, metadata={"identity": False})
    evaluation: EvaluationConfig = field(
        default_factory=EvaluationConfig, metadata={"identity": False}
    )

    @property
    def takes_gpu(self) -> bool:
        """Whether it trains on a GPU where there is one."""
        return self.device == "cuda" or (self.device == "auto" and self.model.name != "mlp")


def _union(kinds: Iterable[type]) -> type:
    """A dataclass with the fields of all ``kinds``; where two share a name, the first's."""
    found: dict[str, tuple[str, Any, Field[Any]]] = {}
    for kind in kinds:
        hints = get_type_hints(kind)
        for f in fields(kind):
            found.setdefault(f.name, (f.name, hints[f.name], copy.copy(f)))
    return make_dataclass("Union", found.values())


def _composed() -> type:
    unions = {section: _union(kinds.values()) for section, kinds in KINDS.items()}
    hints = get_type_hints(Config) | unions
    own = {s: field(default_factory=union) for s, union in unions.items()}
    return make_dataclass(
        "Composed",
        [(f.name, hints[f.name], own.get(f.name, copy.copy(f))) for f in fields(Config)],
    )


Composed = _composed()
"""Config with all keys of all models and of all data sets: what Hydra composes against."""
SECTIONS: dict[str, Any] = {
    name: kind for name, kind in get_type_hints(Config).items() if is_dataclass(kind)
}
SETTINGS = {setting.key: setting for setting in settings(Composed())}
"""Every key that can be given, with its default."""


def check(config: Config) -> None:
    """ValueError where no run is chosen, or it needs a folder of images that is not given."""
    if not config.experiment:
        raise ValueError(
            "nothing to train: give experiment=... or study=..., for example "
            "experiment=mnist/bn (configs/experiment and configs/study hold all)"
        )
    if isinstance(config.data, StoredImagesConfig):
        config.data.folder()
