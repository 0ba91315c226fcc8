"""What the paper asserts, section by section, and which study asks it; for the report's table.

In our own words. Where no study asks, ``why`` says why not, or what else answers.
"""

from __future__ import annotations

from typing import NamedTuple


class Assertion(NamedTuple):
    """One assertion of the paper."""

    section: str
    words: str
    studies: tuple[str, ...] = ()
    why: str = ""


ASSERTIONS = (
    Assertion("abstract, 1", "Saturating nonlinearities can be used, also deep down.", ("depth",)),
    Assertion(
        "abstract, 3.3",
        "BN allows much higher learning rates.",
        ("learning_rate_and_init", "fig1_rates", "rates_digits", "fig3_digits", "fig3_photographs"),
    ),
    Assertion(
        "abstract, 3.3", "BN depends less on the initial weights.", ("learning_rate_and_init",)
    ),
    Assertion(
        "abstract, 3.4",
        "BN regularizes, and in some cases makes dropout unnecessary.",
        ("dropout", "regularization", "ablation_digits", "ablation_421", "ablation_photographs"),
    ),
    Assertion(
        "1",
        "A larger mini-batch gives a better estimate of the gradient, for less time an example.",
        why="not about BN, and not disputed",
    ),
    Assertion(
        "1, 2",
        "Distributions that move while a layer trains slow the training down; BN helps because it "
        "holds them in place.",
        ("fig1", "covariate_shift"),
        "`fig1` measures how they move, `covariate_shift` asks whether that is why BN helps",
    ),
    Assertion(
        "2",
        "A normalization that the gradient step does not know lets a bias grow without bound, and "
        "can blow a network up.",
        ("outside_gradient",),
    ),
    Assertion(
        "2",
        "Whitened inputs train faster; whitening all layers is too expensive.",
        why="cited by the paper, not shown",
    ),
    Assertion(
        "3",
        "Normalizing each activation on its own, without decorrelating, speeds training up.",
        ("fig1", "fig1_rates", "fig3_digits", "fig3_photographs", "norms"),
    ),
    Assertion(
        "3",
        "Each mini-batch gives its own estimates of the means and variances.",
        ("batch_size",),
        "`batch_size` tests which sizes suffice",
    ),
    Assertion(
        "3",
        "gamma and beta let a layer represent what it did before, the identity too.",
        ("placement",),
        "the suite tests the identity (`tests/norm/test_parts.py`); `placement` removes them",
    ),
    Assertion(
        "3",
        "BN is differentiable; its six gradients.",
        why="the suite holds them to autograd in float64 (`tests/norm/test_batch_norm.py`), and "
        "the engine `by_hand` trains MNIST with them",
    ),
    Assertion(
        "3.1",
        "In inference the output depends on the input alone.",
        why="the suite: an image's output does not change with its mini-batch, nor by folding "
        "(`tests/norm`)",
    ),
    Assertion(
        "3.1",
        "Population statistics over several mini-batches serve in inference; moving averages "
        "track a model as it trains.",
        ("inference_statistics", "fig1", "batch_size"),
    ),
    Assertion(
        "3.1",
        "In inference BN is one linear map, gamma and beta in it.",
        ("cost",),
        "folded into the layer before it nothing is left to compute; `cost` measures the saving",
    ),
    Assertion(
        "3.2", "BN belongs before the nonlinearity, on Wu + b rather than on u.", ("placement",)
    ),
    Assertion(
        "3.2",
        "The bias before BN can go; beta takes its place.",
        ("placement", "outside_gradient"),
        "a bias inside of the gradient does not move; the suite: its gradient is 0",
    ),
    Assertion("3.2", "Of a convolution, one gamma and one beta a feature map.", ("placement",)),
    Assertion(
        "3.3",
        "The scale of a layer's weights leaves its output and the gradient through it alone; "
        "larger weights get smaller gradients.",
        ("weight_scale",),
    ),
    Assertion(
        "3.3",
        "The singular values of a layer's Jacobian are close to 1 (a conjecture).",
        ("weight_scale",),
    ),
    Assertion(
        "3.4",
        "An example is seen with others of its mini-batch, which regularizes.",
        ("regularization", "dropout"),
    ),
    Assertion(
        "4.1", "On MNIST BN trains faster, and to a higher test accuracy.", ("fig1", "fig1_rates")
    ),
    Assertion("4.1", "The inputs of the last sigmoids are more stable with BN.", ("fig1",)),
    Assertion(
        "4.2.1",
        "Seven changes make full use of BN: the rate, no dropout, a smaller L2 weight, a faster "
        "decay, no LRN, more thorough shuffling, weaker distortions.",
        ("ablation_digits", "ablation_421", "ablation_photographs"),
    ),
    Assertion(
        "4.2.2",
        "BN alone needs less than half of Inception's steps, and ends higher.",
        (
            "fig3_digits",
            "fig3_photographs",
            "bn_alone_photographs",
            "bn_alone",
            "fig3",
            "fig3_longer",
        ),
    ),
    Assertion(
        "4.2.2",
        "BN-x5 needs 14 times fewer steps; BN-x30 starts slower and ends highest.",
        ("fig3_digits", "fig3_photographs", "fig3"),
    ),
    Assertion(
        "4.2.2",
        "BN accelerates training: fewer steps, for two more parameters an activation.",
        ("cost",),
        "the paper counts steps; `cost` measures what a step costs, and whether fewer steps take "
        "less time",
    ),
    Assertion(
        "4.2.2",
        "Without BN, Inception fails at five times its rate.",
        ("fig3_digits", "fig3_photographs", "rates_photographs", "fig3"),
    ),
    Assertion(
        "4.2.2",
        "With BN Inception trains with sigmoids; without it never leaves chance.",
        ("fig3_digits", "fig3_photographs", "fig3"),
    ),
    Assertion(
        "4.2.3",
        "144 crops, and an ensemble of six such networks, are more accurate; the best published.",
        ("fig4_photographs", "fig4"),
        "the records of 2015 are ImageNet's at full size",
    ),
    Assertion(
        "5",
        "BN has two properties that a standardization layer (Gulcehre & Bengio 2013) has not.",
        why="a comparison of methods on paper",
    ),
    Assertion(
        "5",
        "Future work: in recurrent networks normalization may improve how gradients propagate.",
        ("recurrent",),
    ),
    Assertion(
        "5",
        "Future work: domain adaptation, perhaps by new population statistics alone.",
        ("domain_adaptation", "domain_adaptation_photographs"),
        "asked of altered digits and photographs",
    ),
)
