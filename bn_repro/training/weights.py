"""Trained networks: from a run's directory, to a file that goes anywhere, and from such a file.

The file is safetensors, which holds numbers and no code. Its header says, as one JSON object, what
the network is and where it comes from: enough to build it again without the run or its data.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from bn_repro import __version__
from bn_repro.config.fields import settings
from bn_repro.config.network import NORMS
from bn_repro.config.schema import Config
from bn_repro.config.stored import OF_A_RUN, stored
from bn_repro.data.batches import Examples
from bn_repro.records import paths
from bn_repro.records.files import write_atomically
from bn_repro.records.json_files import Row, read_rows
from bn_repro.records.reader import Outcome, finished, read_config, read_manifest
from bn_repro.records.recorder import Logger
from bn_repro.training import checkpoint
from bn_repro.training.build import data_of, network
from bn_repro.training.card import card

HEADER = "bn_repro"
"""The key of the JSON object among a file's metadata."""


class Trained(NamedTuple):
    """A trained network, in eval mode on the CPU, and the configuration that it was trained by."""

    network: nn.Module
    config: Config


def load(path: str | Path) -> Trained:
    """The network of a completed run's directory, or of a file that :func:`export` wrote.

    BN normalizes by its moving averages. ValueError, in one line, where there is no such network,
    and where what is there does not fit the configuration beside it.
    """
    return _of_run(Path(path)) if Path(path).is_dir() else _of_file(Path(path))


def load_into(network: nn.Module, file: str | Path) -> None:
    """Give a network of one's own the weights of a ``file``; ValueError unless all names, shapes
    and types of numbers are its own."""
    _, weights = read(Path(file))
    checkpoint.load_weights(network, weights, Path(file))


def export(directory: str | Path, file: str | Path) -> Path:
    """Write the network of a completed run to ``file``, and its model card beside it (``.md``).

    The same run gives the same bytes. Returns the card's path. ValueError as :func:`load`, where
    ``file`` is not called ``.safetensors``, and where it cannot be written.
    """
    directory, file = Path(directory), Path(file)
    if file.suffix != ".safetensors":
        raise ValueError(f"{file}: expected a name that ends in .safetensors")
    trained = _of_run(directory)
    # Clones: steps of a recurrent network share gamma and beta, and the format shares nothing.
    whole = {"memory_format": torch.contiguous_format}
    state = {name: t.clone(**whole) for name, t in trained.network.state_dict().items()}
    header = _header(directory, trained.config)
    text = card(header, file.name, sum(p.numel() for p in trained.network.parameters()))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, save(state, {HEADER: json.dumps(header, sort_keys=True)}))
        write_atomically(file.with_suffix(".md"), text.encode())
    except OSError as error:
        raise ValueError(f"{file}: cannot be written ({error.strerror})") from error
    return file.with_suffix(".md")


class WithWeights(Logger):
    """Exports the network of a completed run into its directory, for ``logger`` to send it too."""

    def __init__(self, logger: Logger) -> None:
        self.logger = logger

    def begin(self, directory: Path) -> None:
        """Begin with the logger."""
        self.directory = directory
        self.logger.begin(directory)

    def finish(self, state: str) -> None:
        """Export, where there is a network; then finish."""
        if state == "completed":
            try:
                export(self.directory, self.directory / paths.WEIGHTS)
            except ValueError as error:
                print(f"wandb: {error}; the network is not sent", file=sys.stderr)
        self.logger.finish(state)


def read(file: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What the header of a ``file`` says, and its tensors; ValueError where it is none of ours."""
    if not file.is_file():
        raise ValueError(f"{file}: there is no such run directory, and no such file")
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            weights = {name: opened.get_tensor(name) for name in sorted(opened.keys())}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{file}: not readable as safetensors ({error})") from error
    try:
        return json.loads(metadata[HEADER]), weights
    except (KeyError, ValueError):
        raise ValueError(f"{file}: not written by bn_repro; its header lacks {HEADER!r}") from None


def _of_run(directory: Path) -> Trained:
    if not (directory / paths.CONFIG).exists():
        raise ValueError(
            f"{directory}: no run is here; train it first, or give the directory of one"
        )
    config, done = stored(read_config(directory)), _completed(directory)
    model = network(config, _examples(directory, config))
    checkpoint.load_trained(model, directory / paths.CHECKPOINTS, done.step)
    return Trained(model.eval(), config)


def _completed(directory: Path) -> Outcome:
    done = finished(directory)
    if done is None:
        raise ValueError(f"{directory}: the run is not finished; finish it with bn-repro train")
    if done.state == "diverged":
        raise ValueError(f"{directory}: the run diverged at step {done.step}: it left no network")
    return done


def _examples(directory: Path, config: Config) -> Examples:
    """The shape and the classes of the run's data; loaded where an older manifest lacks them."""
    facts = read_manifest(directory)
    if "shape" not in facts:
        data = data_of(config)
        return Examples(data.name, data.shape, data.classes)
    return Examples(config.data.name, tuple(facts["shape"]), facts["classes"])


def _of_file(file: Path) -> Trained:
    header, weights = read(file)
    try:
        config = stored(header["configuration"])
        if config.model.norm not in NORMS:
            raise ValueError(
                f"its norm, {config.model.norm}, is code that no file brings; build the network "
                "yourself, and give it the weights with load_into"
            )
        examples = Examples(config.data.name, tuple(header["shape"]), header["classes"])
        model = network(config, examples)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        why = error if isinstance(error, ValueError) else f"its header is not whole, {error!r}"
        raise ValueError(f"{file}: {why}") from error
    checkpoint.load_weights(model, weights, file)
    return Trained(model.eval(), config)


def _header(directory: Path, config: Config) -> dict[str, Any]:
    """What a file says of its network: nothing of paths, users and machines."""
    done, facts = _completed(directory), read_manifest(directory)
    examples = _examples(directory, config)
    configuration: dict[str, Any] = {
        name: {s.key: s.value for s in settings(getattr(config, name)) if s.identity}
        for name in OF_A_RUN
    }
    return {
        "bn_repro": __version__,
        "configuration": {
            **{name: getattr(config, name) for name in ("experiment", "seed", "scale")},
            **configuration,
        },
        "shape": list(examples.shape),
        "classes": examples.classes,
        "step": done.step,
        "accuracy": _accuracy(directory, done.step),
        "data": facts.get("data"),
        "licence": config.data.licence,
        "commit": facts.get("commit"),
        "dirty": facts.get("dirty"),
    }


def _accuracy(directory: Path, step: int) -> list[Row]:
    """The evaluations of these very weights at the last step."""
    rows = read_rows(directory / paths.METRICS)
    return [
        {key: row.get(key) for key in ("split", "statistics", "top1", "loss")}
        for row in rows
        if row["step"] == step and row.get("statistics") in ("moving", "population")
    ]
