"""Which images of a listing are used: chosen classes, held-out images, a draw of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bn_repro.data.listing import Listing


@dataclass(frozen=True)
class Subset:
    """A part of an image set.

    ``classes``: the first so many by name, or those of these names; None: all. Of each class the
    last ``held_out`` / classes training images by file name become the split "val", and the
    official validation images "test"; where the classes do not divide ``held_out``, some give one
    more than others. Of the training images that are left, ``limit`` are drawn from ``seed`` as
    MNIST's are; None: all.
    """

    classes: int | Sequence[str] | None = None
    held_out: int = 0
    limit: int | None = None
    seed: int = 0

    def of(self, listing: Listing) -> Listing:
        """This part of ``listing``. Raises ValueError for what it does not have."""
        if self.classes is not None:
            listing = _with_classes(listing, _names(listing.classes, self.classes))
        if self.held_out:
            listing = _held_out(listing, self.held_out)
        if self.limit is not None:
            n = len(listing.labels["train"])
            if self.limit > n:
                raise ValueError(
                    f"data.limit: {self.limit} training images wanted, but there are {n}"
                )
            listing = _only(listing, "train", drawn(n, self.limit, self.seed))
        return listing


WHOLE = Subset()


def drawn(n: int, limit: int, seed: int) -> np.ndarray:
    """``limit`` indices of ``n``, sorted, drawn without replacement.

    With the same seed a smaller draw is part of a larger one.
    """
    order = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, n)))).permutation(n)
    return np.sort(order[:limit])


def _names(known: tuple[str, ...], wanted: int | Sequence[str]) -> tuple[str, ...]:
    if isinstance(wanted, int):
        if wanted > len(known):
            raise ValueError(f"data.classes: {wanted} wanted, but there are {len(known)}")
        return known[:wanted]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ValueError(
            f"data.classes: no class {unknown[0]!r}; there are {len(known)}, {known[0]} to "
            f"{known[-1]}"
        )
    return tuple(sorted(wanted))


def _with_classes(listing: Listing, names: tuple[str, ...]) -> Listing:
    """The images of these classes, which are numbered anew."""
    number = np.array([names.index(c) if c in names else -1 for c in listing.classes])
    listing = replace(
        listing,
        classes=names,
        labels={split: number[labels] for split, labels in listing.labels.items()},
    )
    for split, labels in listing.labels.items():
        listing = _only(listing, split, np.flatnonzero(labels >= 0))
    return listing


def _held_out(listing: Listing, held_out: int) -> Listing:
    labels, classes = listing.labels["train"], len(listing.classes)
    held = np.zeros(len(labels), bool)
    for k, name in enumerate(listing.classes):
        own = np.flatnonzero(labels == k)
        n = held_out * (k + 1) // classes - held_out * k // classes
        if n >= len(own):
            raise ValueError(
                f"data.held_out: {held_out} are {n} of class {name}, which has {len(own)} training "
                "images, and leave none to train on; hold out fewer"
            )
        held[own[len(own) - n :]] = True
    paths, test = listing.paths, (listing.paths["val"], listing.labels["val"])
    return replace(
        listing,
        paths={"train": paths["train"][~held], "val": paths["train"][held], "test": test[0]},
        labels={"train": labels[~held], "val": labels[held], "test": test[1]},
    )


def _only(listing: Listing, split: str, index: np.ndarray) -> Listing:
    """``listing`` with the images of ``index`` alone in ``split``."""
    return replace(
        listing,
        paths=listing.paths | {split: listing.paths[split][index]},
        labels=listing.labels | {split: listing.labels[split][index]},
    )
