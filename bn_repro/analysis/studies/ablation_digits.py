"""The seven changes of section 4.2.1, each alone, on digits."""

from __future__ import annotations

from bn_repro.analysis.studies import ablation_converged

STUDY = ablation_converged.study("ablation_digits.md.j2")
