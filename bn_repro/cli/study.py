"""Train a study by its name.

bn-repro study fig1
bn-repro study fig1 seeds=2 jobs=1
bn-repro study fig3_digits seeds=2 scale=smoke

It is bn-repro train study=NAME, in which seeds=, jobs=, only=, run= and skip_reported= stand for
study.seeds= and so on. All other words are as in bn-repro train.
"""

from __future__ import annotations

from collections.abc import Sequence

OF_A_STUDY = ("seeds", "jobs", "only", "run", "skip_reported")
"""Keys of the section ``study`` that need no ``study.`` here."""
TAKES_A_WORD = ("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp")
TAKES_A_WORD += ("--cfg", "-c", "--package", "-p")
"""Hydra's flags after which a word of theirs comes."""


def as_train(words: Sequence[str]) -> list[str]:
    """The words of ``bn-repro train`` that say the same; ValueError where no study is named."""
    given = in_full(words)
    if not any(word.startswith("study=") for word in given):
        raise ValueError("study: give its name, as in bn-repro study fig1; bn-repro list has all")
    return given


def in_full(words: Sequence[str]) -> list[str]:
    """The same with ``study=`` before the study's name, and ``study.`` before its keys."""
    given, named, before = [], False, ""
    for word in words:
        key, equals, _ = word.partition("=")
        if not equals and not named and not word.startswith("-") and before not in TAKES_A_WORD:
            named, word = True, f"study={word}"
        elif key in OF_A_STUDY:
            word = f"study.{word}"
        given.append(word)
        before = word
    return given
