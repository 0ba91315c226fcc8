"""Train a study by its name.

bn-repro study fig1
bn-repro study fig1 seeds=2 jobs=1
bn-repro study fig3_digits seeds=2 scale=smoke

It is bn-repro train study=NAME, in which seeds=, jobs=, only=, run= and skip_reported= stand for
study.seeds= and so on. All other arguments are as in bn-repro train.
"""

from __future__ import annotations

from collections.abc import Sequence

OF_A_STUDY = ("seeds", "jobs", "only", "run", "skip_reported")
"""Keys of the section ``study`` that need no ``study.`` here."""
TAKES_A_VALUE = ("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp")
TAKES_A_VALUE += ("--cfg", "-c", "--package", "-p")
"""Hydra's flags that take a value, as an argument of its own."""


def as_train(arguments: Sequence[str]) -> list[str]:
    """The arguments of ``bn-repro train`` that say the same; ValueError where no study is named."""
    given = in_full(arguments)
    if not any(argument.startswith("study=") for argument in given):
        raise ValueError("study: give its name, as in bn-repro study fig1; bn-repro list has all")
    return given


def in_full(arguments: Sequence[str]) -> list[str]:
    """The same with ``study=`` before the study's name, and ``study.`` before its keys."""
    given, named, before = [], False, ""
    for argument in arguments:
        key, equals, _ = argument.partition("=")
        bare = not equals and not argument.startswith("-") and before not in TAKES_A_VALUE
        if bare and not named:
            named, argument = True, f"study={argument}"
        elif key in OF_A_STUDY:
            argument = f"study.{argument}"
        given.append(argument)
        before = argument
    return given
