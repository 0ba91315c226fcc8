"""The keys of ``model``: one dataclass a network (``MODELS``), and one for what they share."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from bn_repro.config.fields import FLOAT32, POSITIVE, SHARE, Rule, Section, number, one_of, setting

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


PLACES = ("before", "after", "input")
"""Where a norm stands: before the nonlinearity, after it, on the layer's input."""


@dataclass
class ModelConfig(Section):
    """The network."""

    prefix: ClassVar[str] = "model."
    flat: ClassVar[bool] = False
    """Whether it takes digits as they are, each one row of pixels, and trains on a core."""

    name: str = setting("", "the network")
    norm: str = setting(
        "none", f"of each layer: {_NORMS}; or your own, package.module:factory", NORM
    )
    norm_at: str = setting(
        "before",
        "where it stands: before the nonlinearity, after it, on the layer's input (mlp)",
        one_of(*PLACES),
    )
    norm_eps: float = setting(
        1e-5,
        "epsilon of Algorithm 1; 0 makes sec. 3.3 exact, but a unit without variance is NaN",
        Rule(lambda value: value == 0 or POSITIVE.holds(value), "0, or positive (in float32)"),
    )
    norm_momentum: float = setting(
        0.1,
        "share of the new mini-batch in the moving averages",
        Rule(lambda value: 0 <= value <= 1, "in [0, 1]"),
    )
    nonlinearity: str = setting("sigmoid", "of each layer", one_of("sigmoid", "tanh", "relu"))
    init: str = setting(
        "gaussian",
        "initial weights: gaussian (init_std), or he (variance 2 / fan-in; for inception)",
        one_of("gaussian", "he"),
    )
    init_std: float = setting(0.1, "standard deviation of Gaussian initial weights", POSITIVE)
    dropout: float = setting(0.0, "probability of dropping a feature", SHARE)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.idle("norm_at", "norm", "none", "weight")
        self.idle("norm_eps", "norm", "none", "weight")
        self.idle("norm_momentum", "norm", *(NORMS.keys() - BATCH_NORMS))
        self.idle("init_std", "init", "he")

    def drawn_from_gaussians(self) -> None:
        """ValueError for initial weights that are Inception's alone."""
        if self.init != "gaussian":
            raise ValueError(
                f"model.init: {self.init!r} is not for {self.name}; use model.init=gaussian"
            )


@dataclass
class MLPConfig(ModelConfig):
    """The fully connected network of section 4.1."""

    flat: ClassVar[bool] = True

    name: str = setting("mlp", "the network")
    hidden: list[int] = setting(
        (100, 100, 100),
        "widths of the hidden layers",
        Rule(
            lambda v: len(v) > 0 and all(number(1).holds(width) for width in v),
            f"a list of positive layer widths, each at most {10**9:,}",
        ),
    )
    depth: int | None = setting(
        None,
        "number of hidden layers, all as wide as the first; null: as listed in hidden",
        number(1, 10_000),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.drawn_from_gaussians()

    @property
    def widths(self) -> list[int]:
        """Of the hidden layers, first to last."""
        return self.hidden if self.depth is None else self.hidden[:1] * self.depth


ORDERS = ("rows", "permuted")
"""In which order a recurrent network reads the pixels of an image."""
STATISTICS = ("per_step", "shared")
"""Of which steps of a recurrent network BN keeps the statistics that inference normalizes by."""


@dataclass
class RecurrentConfig(ModelConfig):
    """A recurrent network that reads a digit in 28 steps (sec. 5)."""

    flat: ClassVar[bool] = True

    name: str = setting("recurrent", "the network")
    units: int = setting(100, "width of the state", number(1))
    order: str = setting(
        "rows",
        "in which pixels are read: rows, one a step from the top; permuted, in one fixed random "
        "order, so that every step has pixels from all over the image",
        one_of(*ORDERS),
    )
    statistics: str = setting(
        "per_step",
        "what BN normalizes by in inference: per_step, each step by its own; shared, all steps by "
        "the same",
        one_of(*STATISTICS),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.drawn_from_gaussians()
        self.idle("statistics", "norm", *(NORMS.keys() - BATCH_NORMS))
        if self.norm_at != "before":
            raise ValueError(
                f"model.norm_at: {self.norm_at!r} is not for {self.name}; use model.norm_at=before"
            )


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
    auxiliary: bool = setting(False, "GoogLeNet's auxiliary classifier, on 4d")
    per_activation_modules: int = setting(
        0,
        "modules with BN per activation, counted back from the last",
        Rule(lambda value: 0 <= value <= 10, "a number of Inception modules, 0 to 10"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.idle("per_activation_modules", "norm", "none", "weight")
        if self.norm_at == "input":
            raise ValueError("model.norm_at: 'input' is for mlp; use 'before' or 'after'")
        if self.norm_at == "before":  # where beta takes the role of the bias
            self.idle("init_bias", "norm", *(NORMS.keys() - {"none", "weight"}))
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


MODELS: dict[str, type[ModelConfig]] = {
    "mlp": MLPConfig,
    "inception": InceptionConfig,
    "recurrent": RecurrentConfig,
}
