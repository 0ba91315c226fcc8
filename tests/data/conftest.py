"""Image sets as the tests need them: drawn here, photographs by no means."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

Draw = Callable[..., Image.Image]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forgotten ``cache_dir`` must not reach the user's own cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))


class Mirror(SimpleHTTPRequestHandler):
    """Serves a folder, and notes what was asked for."""

    fetched: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.fetched.append(self.path)
        super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on stderr."""


@pytest.fixture
def fetched() -> list[str]:
    """What has been asked of the server, in order."""
    Mirror.fetched.clear()
    return Mirror.fetched


@pytest.fixture
def handler() -> type[Mirror]:
    """The server's class, whose ``do_GET`` a test may change."""
    return Mirror


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], str]]:
    """serve(folder): the address, on this machine, at which the folder's files are."""
    servers: list[tuple[ThreadingHTTPServer, threading.Thread]] = []
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    def served(folder: Path) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Mirror, directory=str(folder)))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/"

    yield served
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def draw() -> Draw:
    """draw(seed, width, height): a smooth RGB image with something in every part of it."""

    def drawn(seed: int, width: int = 64, height: int = 64) -> Image.Image:
        coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)

    return drawn


@pytest.fixture
def folder(tmp_path: Path, draw: Draw) -> Path:
    """ImageFolder's layout: 3 classes, 8 training and 3 validation JPEGs each, of several sizes.

    Among them are what ImageNet holds: grey, CMYK, and a PNG under .JPEG.
    """
    root = tmp_path / "folder"
    for split, n in (("train", 8), ("val", 3)):
        for label in range(3):
            (root / split / f"n{label}").mkdir(parents=True)
            for k in range(n):
                image = draw(100 * label + k, width=80 + 7 * k, height=72 + 5 * label)
                modes = {(0, 0): "L", (1, 1): "CMYK"}
                image = image.convert(modes.get((label, k), "RGB"))
                path = root / split / f"n{label}" / f"{split}_{k}.JPEG"
                image.save(path, format="PNG" if (label, k) == (2, 2) else "JPEG", quality=95)
    return root


@pytest.fixture
def tiny(tmp_path: Path, draw: Draw) -> Path:
    """tiny-imagenet-200's layout: 3 classes, 6 training and 2 validation images each, of 16x16."""
    root = tmp_path / "tiny"
    wnids = ["n30", "n10", "n20"]
    (root / "val" / "images").mkdir(parents=True)
    annotations = []
    for label, wnid in enumerate(wnids):
        (root / "train" / wnid / "images").mkdir(parents=True)
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text("not an image")
        for k in range(6):
            path = root / "train" / wnid / "images" / f"{wnid}_{k}.JPEG"
            draw(10 * label + k, 16, 16).save(path)
        for k in range(2):
            name = f"val_{2 * label + k}.JPEG"
            draw(1000 + 10 * label + k, 16, 16).save(root / "val" / "images" / name)
            annotations.append(f"{name}\t{wnid}\t0\t0\t15\t15\n")
    (root / "val" / "val_annotations.txt").write_text("".join(annotations))
    (root / "wnids.txt").write_text("\n".join(wnids) + "\n")
    return root
