"""Figures 2 and 3 (sec. 4.2.2) on the embedded digits."""

from __future__ import annotations

from collections.abc import Iterator

from bn_repro import paper
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.gates import Gate
from bn_repro.analysis.studies import converged, converged_report
from bn_repro.analysis.tables import Runs


def claims(runs: Runs) -> Iterator[Claim]:
    """Those of section 4.2.2, and what digits cannot ask."""
    yield from converged.claims(runs)
    yield converged.not_asked(
        "weaker_distortions_difference",
        "Weaker photometric distortions, and so more real images, are better.",
        "4.2.1",
        "",
        Gate("the images have colours to distort", False, "digits are black and white"),
    )
    yield converged.not_asked(
        "multi_crop_difference",
        "144 crops of an image are more accurate than one.",
        "4.2.3, Figure 4",
        paper.lower_error("multicrop", "single crop"),
        Gate("the images are photographs to crop", False, "a digit fills its image: no crops"),
    )


STUDY = converged_report.study("fig3_digits.md.j2", claims, converged.on_the_same_images)
