"""The report that W&B is given: which runs each panel draws, of what series, and how it tells them
apart."""

import json
import sys
from dataclasses import asdict, replace
from functools import cache

import pytest
from support import history_of

from bn_repro.config.compose import compose
from bn_repro.config.identity import arm_of, directory_of, tags_of
from bn_repro.sweep.study import expand
from bn_repro.tracking import dashboard, series
from bn_repro.tracking.series import evaluation_key, steps_key, summary_of
from bn_repro.training.run import run

pytestmark = [
    pytest.mark.usefixtures("apart"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # the library's own, on its import
]


class Panel:
    """A panel of a report, and the set of runs that it draws."""

    def __init__(self, panel, runsets):
        self.kind, self.config = panel["viewType"], panel["config"]
        (self.runset,) = runsets
        self.title = self.config.get("chartTitle")
        self.metrics = self.config.get("metrics", [])

    def draws(self, run):
        """Whether W&B's filters let a run through, which is told by the attributes they name."""
        for part in self.runset["filters"]["filters"]:
            name = part["key"]["name"]
            assert part["key"]["section"] == ("config" if name == "experiment" else "run")
            assert part.get("connector", "AND") == "AND"
            assert part["op"] in ("=", "IN")
            wanted = part["value"] if part["op"] == "IN" else [part["value"]]
            value = run[name]
            if not {*wanted} & {*(value if isinstance(value, list) else [value])}:
                return False
        return True


def panels_of(spec):
    """The panels of a report, from what its server was sent."""
    grids = [b["metadata"] for b in json.loads(spec)["blocks"] if b["type"] == "panel-grid"]
    return [
        Panel(panel, grid["runSets"])
        for grid in grids
        for panel in grid["panelBankSectionConfig"]["panels"]
    ]


@pytest.fixture
def saved(server):
    """The panels of the report that some words save."""

    def save(*words):
        address = dashboard.save(compose(["wandb.entity=me", "wandb.project=bn", *words]))
        assert address.startswith(f"{server.url}/me/bn/reports/")
        return panels_of(server.requests[-1])

    return save


@cache
def in_wandb(*words):
    """The runs of a study, or of an experiment, as W&B knows them (see test_logger.py)."""
    config = compose(words)
    found = [config]
    if config.study.blocks:
        found = [planned.config for planned in expand(config.study, words, lambda run: None)[0]]
    arms = {repr(replace(c, seed=0)): asdict(c) for c in found}
    told = {key: (arm_of(words), tags_of(words)) for key, words in arms.items()}
    return [
        {
            **{"jobType": "train", "group": arm, "arm": arm, "tags": tags},
            "experiment": c.experiment,
            "displayName": f"{arm} seed {c.seed}",
        }
        for c in found
        for arm, tags in [told[repr(replace(c, seed=0))]]
    ]


OF_ANOTHER_KIND = [
    *("study=fig1 scale=smoke", "study=fig3 scale=proxy_small", "study=fig4 scale=paper"),
    *("study=fig1_rates", "experiment=mnist/bn", "experiment=imagenet/bn_x30"),
]


def test_figures_draw_the_runs_of_their_study_and_no_others(saved):
    runs = [r for study in ("fig1", "fig3", "fig4") for r in in_wandb(f"study={study}")]
    strangers = [r for words in OF_ANOTHER_KIND for r in in_wandb(*words.split())]
    bn, baseline = "mnist/bn", "mnist/baseline"
    five = {f"imagenet/{n}" for n in ("inception", "bn_baseline", "bn_x5", "bn_x30")}
    five |= {"imagenet/bn_x5_sigmoid"}
    x5 = "imagenet/inception_x5"
    failing = {x5, f"{x5} model.init=gaussian", "imagenet/inception_sigmoid"}
    failing |= {f"{x5} model.init=gaussian model.init_std=0.01"}
    arms = {
        "(a) test accuracy": {bn, baseline},
        "(a) training loss": {bn, baseline},
        "(b) without BN": {baseline},
        "(c) with BN": {bn},
        "Figure 2: validation accuracy": five,
        "Figure 3: maximum accuracy": five,
        "Figure 3: steps to an accuracy": five,
        "Section 4.2.2: validation accuracy": failing,
        "Section 4.2.2: training loss": failing,
    }
    panels = saved()
    for panel in panels:
        drawn = [r for r in runs if panel.draws(r)]
        assert not [r for r in strangers if panel.draws(r)], panel.title
        if panel.title in arms:
            assert {r["arm"] for r in drawn} == arms.pop(panel.title), panel.title
        elif "crop" in (panel.title or ""):
            assert len({r["arm"] for r in drawn}) == 7  # BN-x30, and the six made from it
        else:
            assert not drawn
        if panel.title in ("(b) without BN", "(c) with BN"):
            assert [r["displayName"][-6:] for r in drawn] == ["seed 0"]
        elif drawn:
            assert panel.config["groupBy"] == "arm.value"
        if panel.kind == "Run History Line Plot":
            assert panel.config["xAxis"] == "step"
    assert not arms


def test_what_was_trained_otherwise_is_a_line_of_its_own(saved):
    """The tag of a study does not tell with which words it was trained."""
    own, other = in_wandb("study=fig1"), in_wandb("study=fig1", "optimizer.lr=0.5")
    assert not {r["arm"] for r in own} & {r["arm"] for r in other}
    drawn = {p.title for p in saved() if any(p.draws(r) for r in other)}
    assert drawn == {"(a) test accuracy", "(a) training loss"}


def test_another_scale_is_asked_for(saved):
    runs = in_wandb("study=fig1", "scale=smoke")
    drawn = {p.title for p in saved("scale=smoke") if any(p.draws(r) for r in runs)}
    assert {"(a) test accuracy", "(b) without BN", "(c) with BN"} <= drawn


@pytest.mark.parametrize("word", ["study=fig1_rates", "wandb.tags=[fig1_rates]"])
def test_any_tag_has_a_report_with_a_line_for_each_arm(saved, word):
    runs = in_wandb("study=fig1_rates")
    panels = saved(word)
    lines = [p for p in panels if p.kind != "Media Browser" and p.draws(runs[0])]
    assert {p.title for p in lines} >= {"training loss", "accuracy at the end"}
    for panel in lines:
        assert panel.config["groupBy"] == "arm.value"
        assert 10 < len({r["arm"] for r in runs if panel.draws(r)}) <= panel.config["limit"]
        assert not [r for r in in_wandb("study=fig1") if panel.draws(r)]
    shown = [p.config["mediaKeys"] for p in panels if p.kind == "Media Browser"]
    assert ("study" in word) == (["figures/figure1_rates"] in shown)


def test_a_study_has_the_figures_of_the_template_that_its_own_extends(saved):
    panels = saved("study=fig3_digits")
    shown = [p.config["mediaKeys"] for p in panels if p.kind == "Media Browser"]
    names = ("figure2", "figure3", "figure_targets", "figure_failures")
    assert shown == [[f"figures/{name}"] for name in names]


def test_a_tag_that_the_library_would_misread_is_refused(server):
    for tag in ("optimizer.lr=0.5", "don't"):
        with pytest.raises(ValueError, match=f"wandb.tags: a dashboard cannot look for {tag}"):
            dashboard.save(compose([f'wandb.tags=["{tag}"]', "wandb.entity=me"]))
    assert server.requests == []


def test_every_series_that_is_named_is_logged(saved, tmp_path):
    words = ["experiment=mnist/bn", "scale=smoke", "train.steps=20", "train.eval_every=10"]
    on_mnist = compose([*words, "data.limit=500", "train.population_batches=2", f"runs={tmp_path}"])
    run(on_mnist, log=lambda line: None)
    logged = {k for _, values in history_of(directory_of(on_mnist)) for k in values}
    # Of ImageNet, as values_of names the rows of its held-out split; and what was evaluated later.
    val = {"step": 1, "split": "val", "statistics": "moving", "top1": 0.5}
    logged |= {*series.values_of(val), *summary_of(directory_of(on_mnist))}
    logged |= {*map(steps_key, series.TARGETS)}
    logged |= {evaluation_key(n, "moving", k) for n in (1, 144) for k in ("top1", "top5")}
    named = {key for words in ((), ("study=fig1",)) for p in saved(*words) for key in p.metrics}
    assert "val/top1" in named
    assert named <= logged


def test_every_figure_that_is_named_is_drawn():
    from support import ROOT

    for study, figure in dashboard.REPORTS.items():
        assert (ROOT / "results" / study / f"{figure}.png").exists()


def test_without_its_library_the_dashboard_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
    with pytest.raises(ValueError, match="wandb-workspaces, .* is not installed; pip install"):
        dashboard.save(compose([]))
