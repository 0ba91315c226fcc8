"""What ``scripts/report.py`` does: the figures and verdicts of a study, or of all in results/."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from bn_repro.analysis import overview, overview_html, overview_markdown, report, results
from bn_repro.analysis.tables import Member
from bn_repro.cli.errors import COMPLETED
from bn_repro.cli.main import overrides
from bn_repro.config.compose import CONFIGS, compose
from bn_repro.config.schema import Config
from bn_repro.sweep.study import committed_accuracy, expand
from bn_repro.tracking import publish

RESULTS = CONFIGS.parent / "results"
ANYWHERE = {"study", "runs", "out", "data.root", "data.cache", "study.jobs", "device", "threads"}
ANYWHERE |= {"wandb", "wandb.dir", "wandb.project", "wandb.entity", "wandb.tags"}
"""Words that leave a study's runs the same ones."""


def main(config: Config) -> int:
    """Draw and judge one study; or every study that has results, and then all of them together."""
    own = overrides()
    if config.study.blocks:
        report_study(config, own)
        if config.out is None:
            print("make report tells it in README.md and in results/REPORT.md")
        return COMPLETED
    if config.out is not None:
        raise ValueError(f"out: is for one study; give study=... with out={config.out}")
    root, names = RESULTS.parent, studies_with_results()
    overview_markdown.around(root)  # before the work: a README without marks is refused
    told = [report_study(compose([f"study={name}", *own]), own) for name in names]
    written = [*overview_markdown.write(root, told), overview_html.write(root, told)]
    print("All studies:", ", ".join(str(path.relative_to(root)) for path in written))
    return COMPLETED


def studies_with_results() -> list[str]:
    """The folders under results/; ValueError where there is none, or one that cannot be told."""
    names = []
    for folder in sorted(RESULTS.iterdir()) if RESULTS.is_dir() else ():
        kept = [name for name in (results.RUNS, results.CLAIMS) if (folder / name).exists()]
        if kept and results.RUNS not in kept:
            raise ValueError(f"{folder}: {kept[0]} without {results.RUNS}; restore it from git")
        if kept and not (CONFIGS / "study" / f"{folder.name}.yaml").exists():
            raise ValueError(
                f"{folder}: no study of this name in {CONFIGS / 'study'}; name the folder as its "
                "study, or move it out of results/"
            )
        names += [folder.name] if kept else []
    if not names:
        raise ValueError(
            f"nothing to report: no study has a {results.RUNS} under {RESULTS}; train one, and "
            "report it: python scripts/train.py study=fig1; python scripts/report.py study=fig1"
        )
    return names


def report_study(config: Config, own: Sequence[str]) -> overview.Told:
    """Write the results of a study, from its runs and what is there already, and say where."""
    name = config.study.name
    if config.out is None:
        for word in own:
            if word.split("=", 1)[0] not in ANYWHERE:
                raise ValueError(
                    f"out: with {word} the study is not the one that {RESULTS.name}/{name} holds; "
                    f"give out=..., for example out={config.runs}/{name}"
                )
    out = Path(config.out or RESULTS / name)
    kept = {member.key for member in results.read(out, name).members}
    try:
        accuracy = committed_accuracy(out / results.RUNS)
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{out / results.RUNS}: not rows of runs ({error}); {results.MEND}"
        ) from None
    runs, whole = expand(config.study, own, accuracy)
    if not runs:
        raise ValueError(f"study {name}: has no runs yet; python scripts/train.py study={name}")
    members = [Member(*r.key, varied=r.varied, directory=r.directory) for r in runs]
    others = kept - {m.key for m in members}
    if others:
        first = "{}-{} seed {}".format(*min(others))
        print(
            f"warning: {out / results.RUNS}: {len(others)} of its rows are of no run that study "
            f"{name} has now ({first}); they are left out",
            file=sys.stderr,
        )
    try:
        written = report.write(name, members, out)
    except OSError as error:
        raise ValueError(f"out: cannot write to {out} ({error.strerror})") from error
    for line in written.warnings:
        print(f"warning: {line}", file=sys.stderr)
    report.print_verdicts(written.claims, title=f"study {name}")
    if not whole:
        print(f"study {name}: a later block waits for runs; python scripts/train.py study={name}")
    print(f"Figures, tables and verdicts: {out}/README.md; runs: {config.runs}/")
    publish.publish_report(config, name, out)
    return overview.read(name, out, members, written.claims, whole)
