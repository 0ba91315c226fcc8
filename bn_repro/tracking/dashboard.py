"""Figures 1 to 4 as a report in W&B, or any runs by their tags; each panel names logged series.

The runs of a study are found by its tag and their scale's, and drawn by arm (``identity.arm_of``):
runs with the same tag that were trained otherwise are lines of their own. ``wandb-workspaces``
builds and saves the report; there it can be changed like any other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from bn_repro import paper
from bn_repro.analysis.prose import figure_names
from bn_repro.config.identity import at_scale, usual_scale
from bn_repro.config.schema import Config
from bn_repro.records.paths import extra_command
from bn_repro.tracking.series import evaluation_key, steps_key

LAST_SIGMOID = [f"trace/hidden3/unit/{p}" for p in ("p15", "p50", "p85")]
INPUTS = tuple(1.25 * end for end in paper.FIGURE1_INPUTS)
"""The paper's axis is a little too short for our percentiles."""
FAILING = ("imagenet/inception_x5", "imagenet/inception_sigmoid")
"""The networks that section 4.2.2 says fail without BN; the others are in the paper's Figure 3."""
REPORTS = {
    "fig1": "figure1",
    "fig1_rates": "figure1_rates",
    "fig3": "figure3",
    "fig4": "figure4",
}
"""The figure that each study's own report shows here."""
SEEDS = 10
"""The number of runs of a network that are looked for; the study lists three."""
LINES = 100
"""The number of arms that a panel draws; by default W&B draws ten."""
LINE_OF_ARM = (
    "A line is an arm: the mean of its seeds, and the range from the lowest to the highest."
)
PLAIN = re.compile(r"[^='\"\\]+")
"""A tag that the library finds: it reads filters as text, in which these have a meaning."""


def save(config: Config) -> str:
    """Save the report in the project; its address.

    With a study or with tags it shows the runs that bear one of them, else Figures 1 to 4. Raises
    ValueError where library or login is missing, or for a tag that cannot be looked for.
    """
    import wandb

    report_type = _library().Report
    tags = [*([config.study.name] if config.study.name else []), *config.wandb.tags]
    for tag in tags:
        if not PLAIN.fullmatch(tag):
            raise ValueError(f"wandb.tags: a dashboard cannot look for {tag}; give a plain word")
    if tags:
        title, content = f"Runs tagged {' or '.join(tags)}", own(tags, config.study.name)
        description = "Every arm of these runs, an experiment with what was varied in it."
    else:
        title, content = "Batch Normalization, reproduced", figures(config.scale)
        description = "Figures 1 to 4 of Ioffe & Szegedy 2015, from the runs of this project."
    wandb.setup(wandb.Settings(silent=True))  # the address is enough
    if not wandb.login(prompt=False, verify=False):
        raise ValueError("wandb: no API key; log in with: wandb login")
    try:
        made = report_type(
            entity=config.wandb.entity or wandb.Api().default_entity,
            project=config.wandb.project,
            title=title,
            description=description,
            width="fluid",
            blocks=content,
        )
        return made.save().url
    except Exception as error:
        line = next(iter(str(error).splitlines()), type(error).__name__)
        raise OSError(f"wandb: {line}; the report was not saved") from error


def _library() -> Any:
    try:
        import wandb_workspaces.reports.v2 as reports
    except ImportError as error:
        raise ValueError(
            "wandb-workspaces, which builds the dashboard, is not installed; "
            f"{extra_command('dashboard')}"
        ) from error
    return reports


def runset(name: str, job: str, *tags: Sequence[str], **among: Sequence[str]) -> Any:
    """The runs of a job type (``train``, ``report``) that bear one tag of each of ``tags``, and
    whose ``Group`` (an arm, or a report's study), ``Name`` or ``experiment`` is ``among`` those
    given."""
    words = [f"Metric('JobType') == '{job}'", *(f"Tags() in {[*some]}" for some in tags)]
    kinds = {key: "Config" if key == "experiment" else "Metric" for key in among}
    words += [f"{kinds[key]}('{key}') in {[*values]}" for key, values in among.items()]
    return _library().Runset(name=name, filters=" and ".join(words))


def grid(runs: Any, *panels: Any) -> Any:
    """Panels on some runs."""
    return _library().PanelGrid(runsets=[runs], panels=list(panels))


def curve(title: str, y: list[str], **options: Any) -> Any:
    """Series against the training step, a line to each arm."""
    return lines(title, y, **_by_arm(), **options)


def lines(title: str, y: list[str], **options: Any) -> Any:
    """Series against the training step, a line to each run."""
    return _library().LinePlot(title=title, x="step", y=y, title_x="step", **options)


def bars(title: str, metrics: list[str]) -> Any:
    """Numbers of the runs' summaries, a bar to each arm."""
    return _library().BarPlot(title=title, metrics=metrics, max_bars_to_show=LINES, **_by_arm())


def _by_arm() -> dict[str, Any]:
    return {
        "groupby": _library().Config("arm"),
        "groupby_aggfunc": "mean",
        "groupby_rangefunc": "minmax",
        "max_runs_to_show": LINES,
    }


def figures(scale: str = "default") -> list[Any]:
    """What the report on Figures 1 to 4 holds, from top to bottom; runs of ``scale`` alone."""
    return [
        _library().P(LINE_OF_ARM),
        *_figure1(scale),
        *_figures2_and_3(scale),
        *_figure4(scale),
        *_reports(REPORTS, Group=[at_scale(study, scale) for study in REPORTS]),
    ]


def _scales(family: str, scale: str) -> list[str]:
    """The tag of a scale."""
    return [str(usual_scale(family)) if scale == "default" else scale]


def _figure1(scale: str) -> list[Any]:
    wr = _library()
    tags = (["fig1"], _scales("mnist", scale))

    def inputs(title: str, experiment: str) -> Any:
        one = f"{at_scale(experiment, scale)} seed 0"
        panel = lines(title, LAST_SIGMOID, title_y="input", range_y=INPUTS)
        return grid(runset(one, "train", *tags, Name=[one]), panel)

    return [
        wr.H2("Figure 1: MNIST (section 4.1)"),
        wr.P("(a) With BN the test accuracy rises faster, and higher."),
        grid(
            runset("study fig1", "train", *tags),
            curve("(a) test accuracy", ["test/top1"], range_y=paper.FIGURE1_ACCURACY),
            curve("(a) training loss", ["train/loss"]),
        ),
        wr.P(
            "(b, c) The 15th, 50th and 85th percentile of the input of one last sigmoid in one "
            "run, as in the paper: units differ from seed to seed, and a mean would hide it."
        ),
        inputs("(b) without BN", "mnist/baseline"),
        inputs("(c) with BN", "mnist/bn"),
    ]


def _figures2_and_3(scale: str) -> list[Any]:
    wr = _library()

    def networks(name: str, **among: Sequence[str]) -> Any:
        return runset(name, "train", ["fig3"], _scales("imagenet", scale), **among)

    # By name: the study has Inception from other initial weights too, as an arm of its own.
    of_figure3 = [
        f"{at_scale(experiment, scale)} seed {seed}"
        for experiment, seed in product(paper.FIGURE3, range(SEEDS))
    ]
    return [
        wr.H2("Figures 2 and 3: ImageNet, single crop (section 4.2.2)"),
        wr.P(
            "Accuracy against steps; then the best of each network, and its steps to a target: the "
            "mean of the seeds that get there, and no bar where none does."
        ),
        grid(
            networks("the networks of Figure 3", Name=of_figure3),
            curve("Figure 2: validation accuracy", ["val/top1"]),
            bars("Figure 3: maximum accuracy", ["best_top1"]),
            bars(
                "Figure 3: steps to an accuracy",
                [steps_key(target) for target in (0.05, 0.1, 0.2, paper.FIGURE3_TARGET)],
            ),
        ),
        wr.P("Without BN, at 5 times the rate or with sigmoids."),
        grid(
            networks("the networks that fail", experiment=FAILING),
            curve("Section 4.2.2: validation accuracy", ["val/top1"]),
            curve("Section 4.2.2: training loss", ["train/loss"]),
        ),
    ]


def _figure4(scale: str) -> list[Any]:
    wr = _library()
    return [
        wr.H2("Figure 4: several crops (section 4.2.3)"),
        wr.P(
            "BN-x30 and the six networks made from it, as bn-repro evaluate study=fig4 measured; "
            "the ensemble is in the study's report."
        ),
        grid(
            runset("study fig4", "train", ["fig4"], _scales("imagenet", scale)),
            *(
                bars(
                    f"{name} accuracy by 1 crop and by 144",
                    [evaluation_key(n, "moving", metric) for n in (1, 144)],
                )
                for name, metric in (("top-1", "top1"), ("top-5", "top5"))
            ),
        ),
    ]


def _reports(
    figure_of: Mapping[str, str], *tags: Sequence[str], **among: Sequence[str]
) -> list[Any]:
    """The verdicts of studies' reports, and their figures by title; runs as in :func:`runset`."""
    wr = _library()
    return [
        wr.H2("What came out"),
        wr.P("Figures and verdicts, as bn-repro report wandb=online sent them."),
        grid(
            runset("reports", "report", *tags, **among),
            wr.WeavePanelSummaryTable(table_name="tables/claims"),
            *(
                wr.MediaBrowser(title=title, media_keys=[f"figures/{figure}"], num_columns=1)
                for title, figure in figure_of.items()
            ),
        ),
    ]


def own(tags: Sequence[str], study: str = "") -> list[Any]:
    """What the report on runs with one of these tags holds; a study's has its figures too."""
    captions = figure_names(study) if study else []
    return [
        _library().P(LINE_OF_ARM),
        grid(
            runset(" or ".join(tags), "train", tags),
            curve("accuracy, on val or else on test", ["test/top1", "val/top1"]),
            curve("training loss", ["train/loss"]),
            bars("accuracy at the end", ["final_top1"]),
            bars("steps to an accuracy", [steps_key(target) for target in (0.2, 0.5, 0.9, 0.95)]),
        ),
        *_reports({figure: figure for figure in captions}, tags),
    ]
