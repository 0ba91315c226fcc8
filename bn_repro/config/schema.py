"""What a run is: the schema of the configuration, its checks, and the run's identity.

YAML holds values, these dataclasses hold names, types, defaults and checks. Hydra composes against
them, so a misspelled key fails before anything runs; ``__post_init__`` checks the values when the
composed configuration becomes plain dataclasses (``OmegaConf.to_object``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any


def _aside(default: Any) -> Any:
    """A field that does not change what is computed, and so is no part of the run's identity."""
    return field(default=default, metadata={"identity": False})


def _check(holds: bool, key: str, value: object, expected: str) -> None:
    if not holds:
        raise ValueError(f"{key}: {value!r} is not {expected}")


def _one_of(key: str, value: object, known: tuple[str, ...]) -> None:
    _check(value in known, key, value, f"one of {', '.join(known)}")


def _positive(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and value > 0


@dataclass
class ModelConfig:
    """A network. The first block is common, the second Inception's alone."""

    name: str = "mlp"
    norm: str = "none"
    norm_eps: float = 1e-5
    norm_momentum: float = 0.1
    nonlinearity: str = "sigmoid"
    init: str = "gaussian"
    init_std: float = 0.1
    hidden: list[int] = field(default_factory=lambda: [100, 100, 100])
    depth: int | None = None
    """So many hidden layers, each as wide as ``hidden``'s first; null: as ``hidden`` lists them."""
    dropout: float = 0.0

    init_gain: float = 1.0
    width: float = 1.0
    lrn: bool = False
    pool_projection: int = 96
    separable_stem: bool = False
    auxiliary: bool = False
    per_activation_modules: int = 0

    def __post_init__(self) -> None:
        _one_of("model.nonlinearity", self.nonlinearity, ("sigmoid", "tanh", "relu"))
        _one_of("model.init", self.init, ("gaussian", "he"))
        for key in ("norm_eps", "init_std", "init_gain", "width"):
            _check(_positive(getattr(self, key)), f"model.{key}", getattr(self, key), "positive")
        _check(0 <= self.norm_momentum <= 1, "model.norm_momentum", self.norm_momentum, "in [0, 1]")
        _check(0 <= self.dropout < 1, "model.dropout", self.dropout, "in [0, 1)")
        _check(
            len(self.hidden) > 0 and all(w > 0 for w in self.hidden),
            "model.hidden",
            self.hidden,
            "a list of positive layer widths",
        )
        _check(
            self.depth is None or self.depth > 0,
            "model.depth",
            self.depth,
            "a positive number of layers, or null",
        )
        _check(
            self.pool_projection in (96, 128),
            "model.pool_projection",
            self.pool_projection,
            "96 (corrected) or 128 (as printed)",
        )
        _check(
            0 <= self.per_activation_modules <= 10,
            "model.per_activation_modules",
            self.per_activation_modules,
            "a number of Inception modules, 0 to 10",
        )


@dataclass
class DataConfig:
    """A data set, what of it is trained on, and how its images are presented."""

    name: str = "mnist_binary"
    held_out: int = 0
    limit: int | None = None
    classes: int = 10
    image_size: int = 64
    train_images: int = 2048
    shuffling: str = "full"
    augmentation: bool = True
    photometric: str = "none"
    on_error: str = _aside("raise")
    """What a file that cannot be read does: ``raise`` ends the run; under ``quarantine`` the next
    stands in for it in training, evaluation leaves it out, and the manifest lists it."""
    root: str | None = _aside(None)
    cache: str | None = _aside(None)
    workers: int = _aside(2)

    def __post_init__(self) -> None:
        _one_of("data.shuffling", self.shuffling, ("full", "within_shard", "fixed"))
        _one_of("data.photometric", self.photometric, ("full", "reduced", "none"))
        _one_of("data.on_error", self.on_error, ("raise", "quarantine"))
        _check(self.held_out >= 0, "data.held_out", self.held_out, "a number of images, 0 or more")
        for key in ("limit", "classes", "image_size", "train_images"):
            value = getattr(self, key)
            _check(value is None or value > 0, f"data.{key}", value, "positive")
        _check(self.workers >= 0, "data.workers", self.workers, "0 or more")


@dataclass
class OptimizerConfig:
    """SGD, and its rate: ``lr`` times ``decay_rate`` each ``decay_every / decay_speed`` steps."""

    lr: float = 0.1
    momentum: float = 0.0
    weight_decay: float = 0.0
    decay_rate: float = 1.0
    decay_every: float | None = None
    decay_speed: float = 1.0

    def __post_init__(self) -> None:
        _check(_positive(self.lr), "optimizer.lr", self.lr, "positive")
        _check(0 <= self.momentum < 1, "optimizer.momentum", self.momentum, "in [0, 1)")
        _check(self.weight_decay >= 0, "optimizer.weight_decay", self.weight_decay, "0 or more")
        _check(0 < self.decay_rate <= 1, "optimizer.decay_rate", self.decay_rate, "in (0, 1]")
        _check(
            self.decay_every is None or _positive(self.decay_every),
            "optimizer.decay_every",
            self.decay_every,
            "a positive number of steps, or null",
        )
        _check(_positive(self.decay_speed), "optimizer.decay_speed", self.decay_speed, "positive")


@dataclass
class TrainConfig:
    """The loop: its length, its mini-batch, and its cadences in steps."""

    steps: int = 50_000
    paper_steps: int | None = None
    """The step at which the paper stopped; a shorter run decays its rate by as much in all."""
    batch_size: int = 60
    precision: str = "float32"
    engine: str = _aside("eager")
    """``eager``; ``graphed``, on a GPU the same kernels without the waits between their launches;
    ``compiled`` by torch.compile, which has other kernels, BN's among them."""
    eval_every: int = 1_000
    eval_batch_size: int = _aside(1_000)
    final_splits: list[str] = field(default_factory=list)
    """Measured besides, by moving averages, at the last step: ``test`` where choices are made on
    ``val``, or ``train`` for the gap to it (whole images, no dropout)."""
    population_batches: int = 100
    """Mini-batches of training images behind Algorithm 2's statistics, at the last step."""
    polyak: float = 0.0
    """Of each step's weights and moving averages so much is new in an average of them all (Polyak
    averaging, exponentially weighted), which is measured beside the network; 0: none."""
    log_every: int = _aside(100)
    trace_every: int = _aside(250)
    trace_dense: int = _aside(1_000)
    """Traces are dense, at geometric steps, up to this one; then every ``trace_every``."""
    trace_sites: list[str] | None = field(default=None, metadata={"identity": False})
    """The nonlinearities to trace; null: all."""
    checkpoint_every: int = _aside(5_000)

    def __post_init__(self) -> None:
        for key in ("steps", "batch_size", "eval_every", "eval_batch_size", "log_every"):
            _check(getattr(self, key) > 0, f"train.{key}", getattr(self, key), "positive")
        _check(
            self.checkpoint_every > 0, "train.checkpoint_every", self.checkpoint_every, "positive"
        )
        for key in ("trace_every", "trace_dense", "population_batches"):
            _check(getattr(self, key) >= 0, f"train.{key}", getattr(self, key), "0 or more")
        _check(
            self.paper_steps is None or self.paper_steps > 0,
            "train.paper_steps",
            self.paper_steps,
            "positive, or null",
        )
        _check(0 <= self.polyak < 1, "train.polyak", self.polyak, "in [0, 1)")
        for split in self.final_splits:
            _one_of("train.final_splits", split, ("train", "val", "test"))
        _one_of("train.precision", self.precision, ("float32", "bfloat16"))
        _one_of("train.engine", self.engine, ("eager", "graphed", "compiled"))


@dataclass
class WandbConfig:
    """The mirror of the local records."""

    mode: str = "disabled"
    project: str = "bn-repro"
    entity: str | None = None
    dir: str | None = None
    """Where W&B's own files lie; null: the runs directory."""
    tags: list[str] = field(default_factory=list)
    """Tags besides those that the configuration makes: the study, for one."""

    def __post_init__(self) -> None:
        _one_of("wandb.mode", self.mode, ("disabled", "offline", "online"))


@dataclass
class EvaluationConfig:
    """How finished runs are evaluated (``scripts/evaluate.py``)."""

    crops: int | None = None
    """1, or GoogLeNet's 144; null: 1, and for a study with an ensemble both."""
    statistics: str = "moving"
    """What BN normalizes by: its moving averages, or Algorithm 2's population statistics."""
    ensemble: bool = False
    """Also the mean probability of the runs; a study with blocks named ensemble does it unasked."""
    seeds: list[int] | None = None
    """The seeds of ``experiment`` to evaluate; null: the one ``seed``."""
    batch_size: int | None = None
    """Crops that go through the network at once; null: ``train.eval_batch_size``."""
    world: int = 1
    """The number of ranks that trained the runs: it is part of their names."""

    def __post_init__(self) -> None:
        _check(self.crops in (None, 1, 144), "evaluation.crops", self.crops, "1, 144 or null")
        _one_of("evaluation.statistics", self.statistics, ("moving", "population"))
        _check(self.world > 0, "evaluation.world", self.world, "positive")
        size, seeds = self.batch_size, self.seeds
        _check(size is None or size > 0, "evaluation.batch_size", size, "positive, or null")
        _check(
            seeds is None or (len(seeds) > 0 and all(seed >= 0 for seed in seeds)),
            "evaluation.seeds",
            seeds,
            "a list of seeds, or null",
        )


@dataclass
class StudyConfig:
    """The runs behind one artefact: each block a grid over keys, the study their union."""

    name: str = ""
    blocks: list[Any] = field(default_factory=list)
    scale: str | None = None
    """The scale of its runs where none is asked for; null: each experiment's usual one."""
    seeds: int | None = None
    """Take only the first so many seeds of each block."""
    jobs: int | None = None
    """Runs side by side; by default one to a core."""

    def __post_init__(self) -> None:
        for key in ("seeds", "jobs"):
            value = getattr(self, key)
            _check(value is None or value > 0, f"study.{key}", value, "positive, or null")


@dataclass
class Config:
    """One run (or, with ``study``, the runs that its blocks make of it)."""

    experiment: str = _aside("")
    seed: int = _aside(0)
    scale: str = _aside("default")
    runs: str = _aside("runs")
    out: str | None = _aside(None)
    """Where a report goes; by default ``results/<study>``."""
    force: bool = _aside(False)
    retry: bool = _aside(False)
    """In a study or a sweep, try the runs again that failed before."""
    on_failure: str = _aside("continue")
    """Whether a study or a sweep goes on when one of its runs fails: ``continue`` or ``stop``."""
    live: bool = _aside(True)
    """Whether ``scripts/status.py`` follows what goes on; false: it tells once."""
    device: str = _aside("auto")
    threads: int = _aside(1)
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    wandb: WandbConfig = field(default_factory=WandbConfig, metadata={"identity": False})
    study: StudyConfig = field(default_factory=StudyConfig, metadata={"identity": False})
    evaluation: EvaluationConfig = field(
        default_factory=EvaluationConfig, metadata={"identity": False}
    )

    def __post_init__(self) -> None:
        _check(0 <= self.seed < 2**63, "seed", self.seed, "0 or more, and below 2**63")
        _check(self.threads > 0, "threads", self.threads, "positive")
        _one_of("on_failure", self.on_failure, ("continue", "stop"))
        _one_of("device", self.device, ("auto", "cpu", "cuda", "mps"))
