"""Figures 2 and 3 (sec. 4.2.2) on photographs of twenty classes."""

from __future__ import annotations

from bn_repro.analysis.studies import converged, converged_report

STUDY = converged_report.study("fig3_photographs.md.j2", converged.claims)
