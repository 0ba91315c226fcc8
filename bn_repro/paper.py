"""The paper's numbers, and what it shows and says, each with its section (arXiv 1502.03167v3)."""

from __future__ import annotations

from typing import NamedTuple

# Section 4.1: the axes of Figure 1.
FIGURE1_ACCURACY = (0.7, 1.0)
FIGURE1_STEPS = (10_000, 50_000)
FIGURE1_INPUTS = (-2.0, 2.0)


class Network(NamedTuple):
    """A row of Figure 3: steps to 72.2 % (None: never), and the maximum accuracy."""

    steps_to_target: float | None
    max_top1: float


# Section 4.2.2, Figure 3.
FIGURE3_TARGET = 0.722
FIGURE3 = {
    "imagenet/inception": Network(31.0e6, 0.722),
    "imagenet/bn_baseline": Network(13.3e6, 0.727),
    "imagenet/bn_x5": Network(2.1e6, 0.730),
    "imagenet/bn_x30": Network(2.7e6, 0.748),
    "imagenet/bn_x5_sigmoid": Network(None, 0.698),
}


class Error(NamedTuple):
    """A row of Figure 4: errors on the validation set, as fractions (None: not given)."""

    resolution: str
    crops: int | None
    models: int | None
    top1: float | None
    top5: float


# Section 4.2.3, Figure 4.
FIGURE4 = {
    "GoogLeNet ensemble": Error("224", 144, 7, None, 0.0667),
    "Deep Image low-res": Error("256", None, 1, None, 0.0796),
    "Deep Image high-res": Error("512", None, 1, 0.2488, 0.0742),
    "Deep Image ensemble": Error("variable", None, None, None, 0.0598),
    "BN-Inception single crop": Error("224", 1, 1, 0.252, 0.0782),
    "BN-Inception multicrop": Error("224", 144, 1, 0.2199, 0.0582),
    "BN-Inception ensemble": Error("224", 144, 6, 0.201, 0.049),
}


class Said(NamedTuple):
    """What the paper shows or says, in our words, and where."""

    section: str
    words: str


def steps(name: str) -> str:
    """Steps to 72.2 % as Figure 3 prints them; ``name`` is that of the experiment's file."""
    found = FIGURE3[f"imagenet/{name}"].steps_to_target
    return "never" if found is None else f"{found / 1e6:.1f}M"


def percent(fraction: float | None, digits: int = 1) -> str:
    """A fraction in percent; "not given" for None."""
    return "not given" if fraction is None else f"{100 * fraction:.{digits}f} %"


def times_fewer(slow: str, fast: str) -> float:
    """How many times fewer steps to 72.2 %, by Figure 3."""
    many, few = (FIGURE3[f"imagenet/{name}"].steps_to_target or 0.0 for name in (slow, fast))
    return many / few


def fewer_steps(slow: str, fast: str, stated: float | None = None) -> str:
    """The same in words; ``stated`` as the text has it."""
    factor = f"{times_fewer(slow, fast):.1f}" if stated is None else f"{stated:g}"
    return f"{factor} x ({steps(slow)} and {steps(fast)} steps)"


def gap(name: str, other: str) -> float:
    """How far one network's maximum is above another's, by Figure 3, as a fraction."""
    high, low = (FIGURE3[f"imagenet/{n}"].max_top1 for n in (name, other))
    return high - low


def higher(name: str, other: str) -> str:
    """The same in words."""
    high, low = (FIGURE3[f"imagenet/{n}"].max_top1 for n in (name, other))
    return f"{100 * gap(name, other):+.1f} points ({100 * high:.1f} and {100 * low:.1f} %)"


def _errors(name: str, other: str, metric: str) -> list[float]:
    return [getattr(FIGURE4[f"BN-Inception {n}"], metric) for n in (name, other)]


def error_gap(name: str, other: str, metric: str = "top1") -> float:
    """How far the error of one way lies below another's, by Figure 4, as a fraction."""
    low, high = _errors(name, other, metric)
    return high - low


def lower_error(name: str, other: str, metric: str = "top1") -> str:
    """The same in words."""
    low, high = _errors(name, other, metric)
    return f"{100 * (high - low):+.2f} points ({100 * high:g} and {100 * low:g} %)"


_ROWS = {
    "inception": "Inception",
    "bn_baseline": "BN-Baseline",
    "bn_x5": "BN-x5",
    "bn_x30": "BN-x30",
    "bn_x5_sigmoid": "BN-x5-Sigmoid",
}
_WAYS = ("single crop", "multicrop", "ensemble")

FIGURES = {
    "figure1": Said(
        "4.1, Figure 1",
        "One run of each network. (a) Test accuracy against training steps, in axes from 70 to "
        "100 % and from 10K to 50K steps: with BN it rises faster and ends higher; no number is "
        "printed. (b, c) The {15, 50, 85}th percentiles of the input of one typical sigmoid of the "
        "last hidden layer, from about -2 to 2: without BN they change much over training, in "
        "mean and in width; with BN they are much more stable.",
    ),
    "figure2": Said(
        "4.2.2, Figure 2",
        "Single-crop validation accuracy of the same five networks on ImageNet, one run of each, "
        "in axes from 0 to 30M steps and from 40 to 80 %, with a marker where each first reaches "
        f"{percent(FIGURE3_TARGET)}, Inception's best.",
    ),
    "figure3": Said(
        "4.2.2, Figure 3",
        f"Steps to {percent(FIGURE3_TARGET)} and maximum accuracy: "
        + "; ".join(
            f"{label} {steps(name)}, {percent(FIGURE3[f'imagenet/{name}'].max_top1)}"
            for name, label in _ROWS.items()
        )
        + ".",
    ),
    "figure_failures": Said(
        "4.2.2",
        "No figure; in words: plain Inception at five times its rate reached machine infinity, "
        "and Inception with sigmoids never did better than chance, 1 in 1,000.",
    ),
    "figure4": Said(
        "4.2.3, Figure 4",
        "Top-1 and top-5 error on ImageNet's validation images: "
        + "; ".join(
            f"{way} {percent(row.top1, 2)} and {percent(row.top5, 2)}"
            for way in _WAYS
            for row in [FIGURE4[f"BN-Inception {way}"]]
        )
        + "; before it GoogLeNet's ensemble "
        + f"{percent(FIGURE4['GoogLeNet ensemble'].top5, 2)} and Deep Image's "
        + f"{percent(FIGURE4['Deep Image ensemble'].top5, 2)} top-5.",
    ),
}
"""The paper's figures, by the names of ours."""

_INCEPTIONS = Said(
    "4.2.2",
    "One Inception on ImageNet, trained five ways. BN alone reaches Inception's best accuracy "
    f"in less than half of the steps ({steps('bn_baseline')} against {steps('inception')}), "
    "BN-x5 in 14 times fewer steps. BN-x30 ends highest "
    f"({percent(FIGURE3['imagenet/bn_x30'].max_top1)}). With BN the network trains with "
    "sigmoids too. Without BN it reaches machine infinity at five times the rate, and with "
    "sigmoids it never gets beyond chance.",
)
_ENSEMBLES = Said(
    "4.2.3",
    "Six networks based on BN-x30, each with some of: larger initial weights, 5 or 10 % "
    "dropout, BN per activation in the last layers. Their mean by 144 crops has "
    f"{percent(FIGURE4['BN-Inception ensemble'].top5)} top-5 error on the validation images, "
    "below the best published until then.",
)
_RATES = Said(
    "4.2.2",
    "Inception has a rate of 0.0015, BN-x5 one of 0.0075, BN-x30 one of 0.045. The paper does not "
    "say how they were chosen. At five times its rate, Inception reached machine infinity.",
)
_CHANGES = Said(
    "4.2.1",
    "Adding BN alone does not make full use of it: seven changes turn BN-Baseline into BN-x5. "
    "The paper describes them together and gives a number for the shuffling alone, about 1 % "
    "of validation accuracy.",
)

_ALONE = Said(
    "4.2.2",
    "BN-Baseline is Inception with BN before each nonlinearity and nothing else changed, not "
    f"even the rate. It reaches Inception's best accuracy in {steps('bn_baseline')} steps, "
    f"Inception in {steps('inception')}. The paper names no initial weights, and does not say "
    "how the rate was chosen. By its ICML version training was asynchronous.",
)

STUDIES = {
    "fig1": Said(
        "4.1",
        "On MNIST the network with BN reaches the higher test accuracy. The paper attributes this "
        "to the inputs of its sigmoids, whose distributions are more stable as training goes on.",
    ),
    "fig1_rates": Said(
        "4.1",
        "The paper prints no learning rate for MNIST, and does not say whether each network has "
        "the rate that suits it best.",
    ),
    "covariate_shift": Said(
        "title, 1, 2",
        "Layers train slowly because the distribution of their inputs moves while the layers below "
        "train, the internal covariate shift. BN fixes means and variances; the paper holds that "
        "this is why it helps, and shows percentiles of inputs (Figure 1), not that they are the "
        "cause.",
    ),
    "weight_scale": Said(
        "3.3",
        "With BN the scale of a layer's weights affects neither its output nor the gradient that "
        "it passes on, and larger weights get smaller gradients. The paper conjectures that BN "
        "leads the Jacobians of layers to have singular values close to 1.",
    ),
    "outside_gradient": Said(
        "2",
        "Where the gradient step does not take the normalization into account, a bias before it "
        "grows without bound while the loss stays. It can get worse where activations are scaled "
        "too; the authors saw such a model blow up.",
    ),
    "inference_statistics": Said(
        "3.1, Algorithm 2",
        "In inference the output should depend on the input alone, deterministically. So BN then "
        "normalizes by population statistics, means over several training mini-batches of the size "
        "of training; moving averages track the accuracy of a model as it trains. There is no "
        "number of mini-batches, no rate of the averages, and no accuracy by either.",
    ),
    "placement": Said(
        "3, 3.2, 5",
        "BN stands before the nonlinearity, on Wu + b, which is more Gaussian than the layer's "
        "input and whose two moments hold it in place; by section 5 an earlier standardization "
        "layer stood after it. There b can go, and a feature map shares one mean. gamma and beta "
        "let a layer represent what it did before. No experiment varies any of this but BN per "
        "activation, in some networks of the ensemble.",
    ),
    "batch_size": Said(
        "3, 4.1, 4.2",
        "Each mini-batch gives its own estimates of the means and variances. The paper has 60 "
        "examples in one on MNIST and 32 on ImageNet, and tries no other size.",
    ),
    "ablation_photographs": _CHANGES,
    "ablation_421": _CHANGES,
    "ablation_digits": _CHANGES,
    "rates_digits": _RATES,
    "fig3_digits": _INCEPTIONS,
    "bn_alone": _ALONE,
    "rates_photographs": _RATES,
    "fig3_photographs": _INCEPTIONS,
    "bn_alone_photographs": _ALONE,
    "fig3": _INCEPTIONS,
    "fig3_longer": Said(
        "4.2.2",
        "BN-Baseline is Inception with BN before each nonlinearity and nothing else changed; both "
        f"were trained for tens of millions of steps ({steps('inception')} are 774 epochs). It "
        f"reaches {percent(FIGURE3['imagenet/bn_baseline'].max_top1)}, Inception "
        f"{percent(FIGURE3['imagenet/inception'].max_top1)}.",
    ),
    "fig4_photographs": _ENSEMBLES,
    "fig4": _ENSEMBLES,
    "learning_rate_and_init": Said(
        "abstract, 3.3",
        "BN allows much higher learning rates and less care about initial weights: "
        "BN(Wu) = BN((aW)u), so the scale of the weights does not change what a layer does, and "
        "larger weights get smaller gradients. No experiment varies the two on MNIST.",
    ),
    "dropout": Said(
        "abstract, 3.4",
        "BN regularizes, since an example is seen together with others of its mini-batch. In some "
        "cases dropout can be removed or reduced: Inception had 40 %, BN-x5 none, some networks of "
        "the ensemble 5 or 10 %.",
    ),
    "regularization": Said(
        "3.4",
        "With BN an example is seen together with others of its mini-batch, so that the network no "
        "longer gives the same values for it; the authors found this to help generalization, and "
        "dropout could go or be reduced.",
    ),
    "depth": Said(
        "1, 3.3",
        "Saturating nonlinearities are hard to train in deep networks: where their inputs drift "
        "into saturation, gradients vanish. BN keeps the inputs where that is less likely. The "
        "paper shows one such Inception, BN-x5-Sigmoid of section 4.2.2, "
        f"{percent(FIGURE3['imagenet/bn_x5_sigmoid'].max_top1)}.",
    ),
    "norms": Said(
        "5",
        "The paper compares BN with no other norm; section 5 sets it apart, in words, from the "
        "standardization layer of Gulcehre and Bengio. Layer, instance, group and weight "
        "normalization came after it. To set them beside it is our readers' question.",
    ),
    "cost": Said(
        "3.1, 4.2.2, 5",
        "In inference BN is a linear map of each activation with gamma and beta in it; in training "
        "it adds two parameters an activation. Training is faster in steps (14 times with BN-x5). "
        "The paper gives no time of a step, with BN or without, and no memory.",
    ),
    "recurrent": Said(
        "5",
        "Recurrent networks are future work. In them the internal covariate shift, and gradients "
        "that vanish or explode, may be especially severe, so they would test more thoroughly "
        "whether normalization improves the propagation of gradients. The paper tries none.",
    ),
    "domain_adaptation": Said(
        "5",
        "Future work: whether BN can help with domain adaptation in its traditional sense, so that "
        "a network generalizes more easily to new distributions of its data, perhaps with just a "
        "recomputation of the population means and variances by Algorithm 2. No experiment.",
    ),
    "domain_adaptation_photographs": Said(
        "5",
        "Future work: see `domain_adaptation`. The paper has no experiment.",
    ),
}
"""What the paper has on the subject of each study, in the order of the reports."""
