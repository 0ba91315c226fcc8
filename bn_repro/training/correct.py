"""Which images a run gets right, at its last evaluation and at its best: ``correct.npz``."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from bn_repro.data.batches import Data
from bn_repro.training.ranks import total
from bn_repro.training.session import Session


class Correct:
    """One bit an image of the monitored split, in the data set's own order, of two evaluations.

    The best is the first with the greatest top1 of those that are ``compared``. ``state`` is what a
    checkpoint keeps; empty before the first evaluation.
    """

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}

    def add(
        self, step: int, top1: float, bits: tuple[torch.Tensor, torch.Tensor], *, compared: bool
    ) -> None:
        """Enter the evaluation at ``step``: which images are right, and which it has seen.

        Both ``bits`` are uint8 (images,) of zeros and ones. An image is not seen where its file
        cannot be read, or where the evaluation is limited to others; it is then not right either.
        ``compared`` is False for an evaluation on other images than before: it cannot be the best.
        """
        right, seen = bits
        now = {"step": step, "top1": top1, "right": _packed(right), "seen": _packed(seen)}
        best = self.state.get("best", now)
        if compared and top1 > best["top1"]:
            best = now
        self.state = {"images": len(right), "last": now, "best": best}

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays of ``correct.npz``, bits packed by ``np.packbits``; none before the first."""
        if not self.state:
            return {}
        found = {"images": np.array(self.state["images"])}
        for which in ("last", "best"):
            of = self.state[which]
            found |= {
                which: of["right"].cpu().numpy(),
                f"{which}_seen": of["seen"].cpu().numpy(),
                f"{which}_step": np.array(of["step"]),
            }
        return found


def _packed(bits: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.packbits(bits.cpu().numpy()))


def of_all_ranks(
    right: list[torch.Tensor], data: Data, split: str, session: Session, limit: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Right and seen, uint8 (images,), of all ranks' parts of ``split``.

    ``right``: bool, a tensor a mini-batch, from this rank's last evaluation, which had ``limit``
    images over all ranks.
    """
    world = session.world
    own = data.eval_indices(split, rank=world.rank, world=world.size, limit=limit)
    seen = torch.from_numpy(np.setdiff1d(own, data.left_out(split))).to(session.device)
    bits = torch.zeros(2, data.splits[split], dtype=torch.uint8, device=session.device)
    bits[0, seen] = torch.cat([*right, bits.new_empty(0, dtype=torch.bool)]).to(torch.uint8)
    bits[1, seen] = 1
    both = total(bits, world)
    return both[0], both[1]
