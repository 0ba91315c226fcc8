"""What a run is: every key with its type, its default, its check and its help.

The keys of ``model`` are in ``network.py``, those of ``data`` in ``dataset.py``. Values are checked
when a dataclass is made: ValueError begins with the dotted key.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable
from dataclasses import Field, dataclass, field, fields, is_dataclass, make_dataclass
from importlib.util import find_spec
from typing import Any, ClassVar, get_type_hints

from bn_repro.config.dataset import DATASETS, DataConfig, MnistBinaryConfig, StoredImagesConfig
from bn_repro.config.fields import (
    FLOAT32,
    POSITIVE,
    SEED,
    SHARE,
    Rule,
    Section,
    number,
    one_of,
    setting,
    settings,
)
from bn_repro.config.network import MODELS, MLPConfig, ModelConfig

MANY = 100_000
"""The most runs of one command."""
KINDS: dict[str, dict[str, Any]] = {"model": MODELS, "data": DATASETS}
"""The sections of which there are several kinds, by ``<section>.name``; the first is the default,
against which identity is measured (``identity.differences``)."""


@dataclass
class OptimizerConfig(Section):
    """SGD with momentum.

    Its rate at ``step``, from 1, is ``lr * decay_rate ** floor((step - 1) * decay_speed /
    decay_every)``; ``decay_every`` shrinks with ``train.steps / train.paper_steps``.
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
    "scale": "what becomes of a layer and its gradients when its weights are scaled",
    "weights": "norms of each layer's weights and of their gradient",
    "jacobians": "singular values between fully connected layers with normalized inputs",
    "shift": "how far gradients turn when the layers below, or all, take a step",
    "statistics": "accuracy by the mini-batch's own, moving and exact statistics, for norm=batch",
    "cost": "seconds and bytes of a step and of inference, folded too, on one mini-batch",
    "adaptation": "accuracy on altered images, by the statistics of unaltered and of altered ones",
    "state_gradients": "how large the gradient is that reaches each state, for recurrent",
}
"""With its help text each of ``bn_repro/training/probes.py``'s ``PROBES``."""
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
    trace_every: int = setting(
        250, "steps between two traces; 0: none after trace_dense", number(0), identity=False
    )
    trace_dense: int = setting(
        1_000, "up to this step, traces are spaced geometrically", number(0), identity=False
    )
    trace_sites: list[str] | None = setting(
        None, "names of the nonlinearities to trace; null: all", identity=False
    )
    trace_units: list[str] = setting(
        (),
        "traced nonlinearities of which every unit is recorded, at steps that also have an "
        "evaluation; of the others only the first unit is recorded",
        identity=False,
    )
    trace_histograms: bool = setting(
        True,
        "also traced: how many of a layer's inputs lie in each of 64 bins from -8 to 8",
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
        None, "where W&B keeps its files; null: the runs directory", path=True, variable=True
    )
    tags: list[str] = setting((), "tags, besides those made from the configuration")
    log_model: str = setting(
        "none",
        "final: a completed run also leaves its network, as weights.safetensors and its card",
        one_of("none", "final"),
    )


@dataclass
class EvaluationConfig(Section):
    """How bn-repro evaluate evaluates finished runs."""

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
        "seeds of the experiment to evaluate; null: only seed",
        Rule(
            lambda v: len(v) > 0 and all(map(SEED.holds, v)) and len(set(v)) == len(v),
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
    only: list[str] | None = setting(
        None,
        "names of the blocks to train; null: all",
        Rule(bool, "a list of names"),
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
                listed = range(*map(int, ends.groups()))
                if listed and listed[-1] - listed[0] >= MANY:
                    raise ValueError(f"study.blocks: seed: {seeds} is more than {MANY:,} seeds")
                block["seed"] = list(listed)


@dataclass
class Config(Section):
    """One run, or, with ``study``, the runs of its blocks."""

    experiment: str = setting("", "one of the experiments", identity=False)
    seed: int = setting(
        0,
        "seed of the weights, the order of images and the augmentation",
        SEED,
        identity=False,
    )
    scale: str = setting("default", "size of the runs", identity=False)
    runs: str = setting("runs", "the runs directory", identity=False, path=True, variable=True)
    out: str | None = setting(
        None,
        "where report and export write; null: report to results/<study> in a checkout, else "
        "<runs>/<study>; export to the run's directory",
        identity=False,
        path=True,
    )
    force: bool = setting(
        False,
        "start over; the old run is moved aside (evaluate: measure again; publish: send again)",
        identity=False,
    )
    dry: bool = setting(
        False,
        "say how many runs there are to train, how long they take and how much disk; train none",
        identity=False,
    )
    retry: bool = setting(False, "in a study or a sweep, try failed runs again", identity=False)
    on_failure: str = setting(
        "continue",
        "what a failed run does to its study or sweep",
        one_of("continue", "stop"),
        identity=False,
    )
    live: bool = setting(True, "status follows the runs; false: it prints once", identity=False)
    device: str = setting(
        "auto",
        "auto takes a GPU where there is one, but for mlp and recurrent, which train on a core",
        one_of("auto", "cpu", "cuda", "mps"),
        identity=False,
    )
    logger: str = setting(
        "none",
        "tensorboard: also writes event files into each run's directory, live",
        one_of("none", "tensorboard"),
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
        return self.device == "cuda" or (self.device == "auto" and not self.model.flat)


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
FROM_ENVIRONMENT = tuple(k for k, s in SETTINGS.items() if s.field.metadata["variable"])
"""The keys that an environment variable gives where they are not typed."""


def check(config: Config) -> None:
    """ValueError where no run is chosen, or it needs a folder of images that is not given, or a
    package that is not installed."""
    if not config.experiment:
        raise ValueError(
            "nothing to train: give experiment=... or study=..., for example "
            "experiment=mnist/bn (configs/experiment and configs/study hold all)"
        )
    if isinstance(config.data, StoredImagesConfig):
        config.data.folder()
    check_logger(config)


def check_logger(config: Config) -> None:
    """ValueError where TensorBoard is asked for, and its package is not installed."""
    if config.logger == "tensorboard" and find_spec("tensorboard") is None:
        raise ValueError(
            "logger: the package tensorboard, which writes event files, is not installed; "
            "pip install tensorboard, or leave logger out"
        )
