"""What ``bn-repro <command> --help`` prints."""

from __future__ import annotations

import ast
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from bn_repro.cli import COMMANDS
from bn_repro.config.catalogue import columns, listing
from bn_repro.config.dataset import DATASETS
from bn_repro.config.fields import variable_of
from bn_repro.config.identity import usual_scale
from bn_repro.config.schema import FROM_ENVIRONMENT, KINDS, SETTINGS
from bn_repro.records.paths import CONFIGS

OF_A_RUN = ("seed", "runs", "force", "device", "threads")
CONCERNS: dict[str, tuple[str, ...]] = {
    "train": (
        *(*OF_A_RUN, "logger", "dry", "retry", "on_failure"),
        *("model.", "data.", "optimizer.", "train.", "study.", "wandb."),
    ),
    "study": (*OF_A_RUN, "logger", "dry", "retry", "on_failure", "study."),
    "evaluate": (*OF_A_RUN, "data.root", "data.cache", "study.seeds", "evaluation."),
    "report": ("runs", "out", "study.seeds", "wandb."),
    "export": ("seed", "runs", "out", "evaluation.world"),
    "status": ("runs", "live", "study.seeds"),
    "publish": ("runs", "logger", "force", "study.seeds", "evaluation.world", "wandb."),
    "dashboard": ("wandb.",),
}
"""What a command reads, besides the keys that name its runs; ``model.`` is a whole section."""

CODES = """\
Run again, a finished run returns at once, and an unfinished one goes on from its last checkpoint.
A failed run of a study or sweep is trained again only with retry=true. Ctrl-C is safe.

Exit codes: 0 completed or diverged, 1 failed, 2 bad input, 75 stopped before its end. A study or
sweep returns the first of 2, 1, 75 and 0 that one of its runs has.

Tab completion: eval "$(bn-repro -sc install=bash)"
"""


def help_text(command: str) -> str:
    """Its use, and the choices and keys that it reads."""
    parts = {_use(command): ""}
    if command in ("train", "evaluate", "publish"):
        parts["Experiments (experiment=...)"] = listing("experiment")
    parts["Studies (study=...)"] = listing("study")
    parts["Scales (scale=...)"] = columns(_scales())
    if command == "train":
        kinds = ((name, _summary(kind.__doc__)) for name, kind in DATASETS.items())
        parts["Data sets (data=...)"] = columns(kinds)
        for group, note in (("launcher", "with study= or -m"), ("sweeper", "with -m")):
            files = sorted((CONFIGS / "hydra" / group).glob("*.yaml"))
            title = f"{group.title()}s, {note} (hydra/{group}=...)"
            parts[title] = columns((path.stem, _summary(_comment(path))) for path in files)
    concerns = CONCERNS[command]
    for section in ("", *(key for key in concerns if key.endswith("."))):
        keys = [k for k in SETTINGS if (k.startswith(section) if section else k in concerns)]
        title = f"Keys of {section[:-1]}" if section else "Keys"
        if keys:
            parts[title] = columns((key, describe(key)) for key in keys)
    others = ((name, text) for name, text in COMMANDS.items() if name != command)
    parts["Other commands (bn-repro ...)"] = columns(others)
    if command == "train":
        parts[CODES] = ""
    return "\n\n".join(f"{title}\n{text}".rstrip() for title, text in parts.items())


def _use(command: str) -> str:
    """What the command's module says of it, which would import much."""
    source = Path(__file__).with_name(f"{command}.py").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(source)) or ""


def _summary(text: str | None) -> str:
    """The first sentence."""
    first = re.split(r"(?<=\.)\s|\n\s*\n|:?\n\s+bn-repro ", (text or "").strip())[0]
    return " ".join(first.replace("``", "").split())


def _comment(path: Path) -> str:
    """The comment that a YAML file begins with."""
    lines = path.read_text().splitlines()
    head = itertools.takewhile(lambda line: line.startswith("# "), lines)
    return "\n".join(line[2:] for line in head if not line.startswith("# @package"))


def _scales() -> Iterator[tuple[str, str]]:
    folder = CONFIGS / "scale"
    for path in sorted(folder.glob("*.yaml")):
        families = (file.parent for file in sorted(folder.glob(f"*/{path.name}")))
        texts = []
        for family in families:
            usual = " (the default)" if usual_scale(family.name) == path.stem else ""
            texts.append(f"{family.name}{usual}: {_summary(_comment(family / path.name))}")
        if path.stem != "default":
            yield path.stem, "\n".join(texts)


def describe(key: str) -> str:
    """A key's help, which models or data sets alone have it, and its default."""
    setting = SETTINGS[key]
    section, _, name = key.rpartition(".")
    text, rule = setting.field.metadata["help"], setting.field.metadata["rule"]
    kinds = KINDS.get(section, {})
    have = [kind for kind in kinds if name in {f.name for f in fields(kinds[kind])}]
    if kinds and name == "name":
        text += f": {', '.join(kinds)}"
    elif rule is not None and rule.expected.startswith("one of "):
        known = rule.expected.removeprefix("one of ").split(", ")
        text += "" if all(value in text for value in known) else f"; {rule.expected}"
    if len(have) < len(kinds):
        text = f"{', '.join(have)}: {text}"
    if key in FROM_ENVIRONMENT:
        text += f"; or by ${variable_of(key)}"
    value = setting.value
    shown = json.dumps(value) if value is None or isinstance(value, bool) else str(value)
    return f"{text} ({shown})" if shown else text
