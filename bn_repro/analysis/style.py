"""How every figure looks, once: readable in black and white, safe for the colour-blind.

The arms differ in colour, in grey level, in line style and in marker. Helpers take axes and return
them. Nothing here touches pyplot's global state: draw inside ``with style.context():``.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from PIL import Image
from PIL.PngImagePlugin import PngInfo

WIDTH = 7.2
"""Inches: a text width."""

INK = "#222222"
FAINT = 0.22

RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same everywhere
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "legend.handlelength": 2.8,
    "lines.linewidth": 1.5,
    "lines.markersize": 3.6,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "svg.fonttype": "path",  # text as outlines: no reader's fonts are needed
    "svg.hashsalt": "bn_repro",  # or the ids in the file would change with every drawing
}


@contextmanager
def context() -> Iterator[None]:
    """The style, for what is drawn and saved inside."""
    with mpl.rc_context(RC):  # pyright: ignore[reportArgumentType]
        yield


@dataclass(frozen=True)
class Arm:
    """One way of training: how it is drawn, and by what keys its runs are known."""

    label: str
    color: str
    linestyle: Any
    marker: str
    keys: Mapping[str, Any] = field(default_factory=dict)

    def of(self, runs: Any) -> Any:
        """The arm's share of ``tables.Runs`` or ``tables.Values``."""
        return runs.where(**self.keys)

    def with_(self, **changes: Any) -> Arm:
        """The same arm with another label, look or keys."""
        return replace(self, **changes)


# Dark blue and light orange: apart for every kind of colour vision, and at 26 and 67 % grey.
BASELINE = Arm("without BN", "#e6912e", (0, (4.5, 1.4)), "s", {"experiment": "mnist/baseline"})
BN = Arm("with BN", "#0b4a8f", "-", "o", {"experiment": "mnist/bn"})
MNIST_ARMS = (BASELINE, BN)


def thousands(value: float, _position: object = None) -> str:
    """``10000`` as the paper's axes say it: ``10K``."""
    return f"{value / 1000:g}K" if abs(value) >= 1000 else f"{value:g}"


def steps_axis(ax: Axes, ticks: Sequence[float] | None = None) -> Axes:
    """Training steps along x, labelled as in the paper."""
    if ticks is not None:
        ax.set_xticks(list(ticks))
    ax.xaxis.set_major_formatter(FuncFormatter(thousands))
    ax.set_xlabel("training steps")
    return ax


ERROR_TICKS = (0.1, 0.5, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99)


def of_error(accuracy: np.ndarray) -> np.ndarray:
    """Accuracies on the logarithmic scale of the error, at least 1e-4: -log(1 - accuracy)."""
    return -np.log(np.maximum(1 - np.asarray(accuracy, dtype=float), 1e-4))


def of_error_inverse(y: np.ndarray) -> np.ndarray:
    """Accuracies from that scale."""
    return 1 - np.exp(-np.asarray(y, dtype=float))


def percent_axis(ax: Axes) -> Axes:
    """Fractions along y, in percent."""
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:g} %"))
    return ax


def points_axis(ax: Axes) -> Axes:
    """Differences in percentage points along x, with their sign."""
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:+g}" if x else "0"))
    return ax


def ticks(axis: Axis, places: Sequence[float], form: Any = None) -> None:
    """Ticks at these places and nowhere else, written by ``form`` where that is given."""
    axis.set_major_locator(FixedLocator(list(places)))
    axis.set_minor_locator(NullLocator())
    if form is not None:
        axis.set_major_formatter(form)


def error_axis(ax: Axes, low: float, high: float, label: str = "test accuracy") -> Axes:
    """Accuracy upwards on the logarithmic scale of the error, said in the axis' title: from chance
    to 99 % on one axis."""
    ax.set_yscale("function", functions=(of_error, of_error_inverse))
    ticks(ax.yaxis, ERROR_TICKS)
    percent_axis(ax).set_ylim(low, high)
    ax.set_ylabel(f"{label} (log scale of the error)")
    return ax


def letters(axes: Iterable[Axes]) -> None:
    """``(a)``, ``(b)``, ... before the panels' titles."""
    for letter, ax in zip("abcdefghijkl", axes, strict=False):
        ax.set_title(f"({letter})  {ax.get_title(loc='left')}".rstrip())


def legend(figure: Figure, axes: Iterable[Axes], **look: Any) -> None:
    """One legend for several panels, each name once; none where nothing is named."""
    named: dict[Any, Any] = {}
    for ax in axes:
        handles, labels = ax.get_legend_handles_labels()
        named |= dict(zip(labels, handles, strict=True))
    if named:
        figure.legend(named.values(), named.keys(), **look)


def files(figure: Figure, digest: str) -> dict[str, bytes]:
    """The figure as ``svg`` and ``png``, with no date and no version in them.

    ``digest`` names what the figure was drawn from, and is kept in both.
    """
    metadata = {
        "svg": {"Date": None, "Creator": "bn_repro", "Source": digest},
        "png": {"Software": None, "Source": digest},
    }
    found = {}
    for kind, about in metadata.items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, metadata=about)
        found[kind] = buffer.getvalue()
    return {"svg": _rounded(found["svg"]), "png": _with_palette(found["png"], digest)}


def _rounded(svg: bytes) -> bytes:
    """The paths to a hundredth of a point, which nobody sees."""
    return re.sub(rb' (?:d|x|y)="[^"]*"', lambda d: re.sub(rb"(\.\d\d)\d+", rb"\1", d.group()), svg)


def _with_palette(png: bytes, digest: str) -> bytes:
    """128 colours, a third of the bytes; figures are lines and flat areas."""
    text, buffer = PngInfo(), io.BytesIO()
    text.add_text("Source", digest)
    with Image.open(io.BytesIO(png)) as image:
        few = image.convert("RGB").quantize(128, dither=Image.Dither.NONE)
        few.save(buffer, "png", optimize=True, pnginfo=text, dpi=image.info["dpi"])
    return buffer.getvalue()


def save(figure: Figure, stem: Path, digest: str) -> list[Path]:
    """Writes ``<stem>.svg`` and ``<stem>.png``; returns their paths.

    Files that carry the digest already stay as they are: another release of matplotlib, or of the
    library that compresses, draws the same figure with other bytes.
    """
    paths = [stem.with_suffix(f".{kind}") for kind in ("svg", "png")]
    if all(path.exists() and digest.encode() in path.read_bytes() for path in paths):
        return paths
    for path, content in zip(paths, files(figure, digest).values(), strict=True):
        path.write_bytes(content)
    return paths
