"""Figures 1 to 4 as a report in W&B, over the runs that are there: each panel names logged series.

The runs of a study are found by its tag, those of an arm by their group. ``wandb-workspaces``
builds and saves it; there it can be changed like any other report.
"""

from __future__ import annotations

from typing import Any

from bn_repro import paper
from bn_repro.config import WandbConfig
from bn_repro.series import evaluation_key, steps_key

LAST_SIGMOID = [f"trace/hidden3/unit/{p}" for p in ("p15", "p50", "p85")]
REPORTS = {
    "fig1": "figure1",
    "fig1_rates": "figure1_rates",
    "fig3": "figure3",
    "fig4": "figure4",
}
"""The figure that each study's own report shows here."""


def save(wandb_config: WandbConfig) -> str:
    """Save the report in the project; its address. ValueError where library or login is missing."""
    import wandb

    report_type = _library().Report
    if not wandb.login(prompt=False, verify=False):
        raise ValueError("wandb: no API key; log in with: wandb login")
    try:
        entity = wandb_config.entity or wandb.Api().default_entity
        made = report_type(
            entity=entity,
            project=wandb_config.project,
            title="Batch Normalization, reproduced",
            description="Figures 1 to 4 of Ioffe & Szegedy 2015, from the runs of this project.",
            width="fluid",
            blocks=blocks(),
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
            "pip install -e '.[dashboard]'"
        ) from error
    return reports


def blocks() -> list[Any]:
    """What the report holds, from top to bottom."""
    wr = _library()

    def runs(name: str, study: str, group: str | None = None) -> Any:
        """The training runs with the study's tag, of one experiment or of all."""
        of_group = f" and Metric('Group') == '{group}'" if group else ""
        words = f"Metric('JobType') == 'train' and Tags() in ['{study}']{of_group}"
        return wr.Runset(name=name, filters=words)

    def curve(title: str, y: list[str], **options: Any) -> Any:
        mean = {"groupby_aggfunc": "mean", "groupby_rangefunc": "minmax"}
        return wr.LinePlot(
            title=title, x="step", y=y, groupby="Group", title_x="step", **mean, **options
        )

    def bars(title: str, metrics: list[str]) -> Any:
        mean = {"groupby_aggfunc": "mean", "groupby_rangefunc": "minmax"}
        return wr.BarPlot(title=title, metrics=metrics, groupby="Group", **mean)

    def grid(runset: Any, *panels: Any) -> Any:
        return wr.PanelGrid(runsets=[runset], panels=list(panels))

    low, high = paper.FIGURE1_INPUTS
    inputs = {"title_y": "input", "range_y": (low, high)}
    return [
        wr.H2("Figure 1: MNIST (section 4.1)"),
        wr.P("(a) With BN the test accuracy rises faster, and higher."),
        grid(
            runs("study fig1", "fig1"),
            curve("(a) test accuracy", ["test/top1"], range_y=paper.FIGURE1_ACCURACY),
            curve("(a) training loss", ["train/loss"]),
        ),
        wr.P("(b, c) The 15th, 50th and 85th percentile of the input of one last sigmoid."),
        grid(
            runs("without BN", "fig1", "mnist/baseline"),
            curve("(b) without BN", LAST_SIGMOID, **inputs),
        ),
        grid(runs("with BN", "fig1", "mnist/bn"), curve("(c) with BN", LAST_SIGMOID, **inputs)),
        wr.H2("Figures 2 and 3: ImageNet, single crop (section 4.2.2)"),
        wr.P("Accuracy against steps; then the best of each network, and its steps to a target."),
        grid(
            runs("study fig3", "fig3"),
            curve("Figure 2: validation accuracy", ["val/top1"]),
            bars("Figure 3: maximum accuracy", ["best_top1"]),
            bars(
                "Figure 3: steps to an accuracy",
                [steps_key(target) for target in (0.05, 0.1, 0.2, paper.FIGURE3_TARGET)],
            ),
        ),
        wr.H2("Figure 4: several crops (section 4.2.3)"),
        wr.P("As scripts/evaluate.py study=fig4 measured; the ensemble is in the study's report."),
        grid(
            runs("study fig4", "fig4"),
            *(
                bars(f"{name} accuracy", [evaluation_key(n, "moving", metric) for n in (1, 144)])
                for name, metric in (("top-1", "top1"), ("top-5", "top5"))
            ),
        ),
        wr.H2("What came out"),
        wr.P("Each study's own figure and verdicts, as scripts/report.py wandb=online sent them."),
        grid(
            wr.Runset(name="reports", filters="Metric('JobType') == 'report'"),
            wr.WeavePanelSummaryTable(table_name="tables/claims"),
            *(
                wr.MediaBrowser(title=study, media_keys=[f"figures/{figure}"], num_columns=1)
                for study, figure in REPORTS.items()
            ),
        ),
    ]
