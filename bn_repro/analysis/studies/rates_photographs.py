"""Inception's best rate on photographs, and up to which rate it trains."""

from __future__ import annotations

from bn_repro.analysis.studies import inception_rates

STUDY = inception_rates.study("rates_photographs.md.j2")
