"""Inception's best rate on digits, and up to which rate each network trains."""

from __future__ import annotations

from bn_repro.analysis.studies import inception_rates

STUDY = inception_rates.study("rates_digits.md.j2")
