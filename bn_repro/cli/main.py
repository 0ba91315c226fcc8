"""What all commands share: the command line composed, the command run, the process's exit code.

Hydra composes; what it refuses is one line. Torch, which takes seconds to import, waits until a
command needs it: ``--help``, a Tab and a misspelled key do without.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from bn_repro.cli import BAD_INPUT, COMPLETED, FAILED, PREEMPTED
from bn_repro.cli.entry import exit_with
from bn_repro.cli.errors import first_of, refuse
from bn_repro.cli.help import help_text
from bn_repro.cli.overrides import MULTIRUN, for_hydra, own_folder
from bn_repro.cli.refusals import refuse_hidden_files
from bn_repro.config import catalogue
from bn_repro.config.compose import OWN_CONFIGS, plain
from bn_repro.config.fields import unless_set
from bn_repro.records.paths import CONFIGS

if TYPE_CHECKING:
    from bn_repro.cli.results import Results

FULL_ERROR, SWEEP_FOLDER = "HYDRA_FULL_ERROR", "BN_REPRO_SWEEP_FOLDER"
LAUNCHERS = "hydra/launcher: give cores, submitit_local or submitit_slurm"


class Command:
    """What Hydra calls with a composed configuration: ``bn_repro.cli.<module>.main``.

    It keeps the exit code, since Hydra swallows what a task returns; the ``results`` of a ``-m``
    sweep, which our launcher trains and which may come in batches; and whether it, or our launcher,
    has ``begun``: before that, what Hydra raises is about the input.
    """

    def __init__(self, module: str, sweeps: bool = False) -> None:
        self.module, self.sweeps = module, sweeps
        self.exit_code = COMPLETED
        self.results: Results | None = None
        self.begun = False

    def __call__(self, composed: DictConfig) -> None:
        self.begun = True
        if HydraConfig.get().mode == RunMode.MULTIRUN:  # only another launcher calls this
            sys.exit(refuse(ValueError(LAUNCHERS)))  # Hydra would swallow an exception
        with self.errors_refused():
            config = plain(composed, overrides())
            if config.dry and not self.sweeps:
                raise ValueError("dry: is for what trains; leave it out")
            self.exit_code = import_module(f"bn_repro.cli.{self.module}").main(config)

    @contextmanager
    def errors_refused(self, full: bool = False) -> Iterator[None]:
        """Errors that a user can mend are one line each, of Hydra's unless the ``full`` trace is
        asked for; and Ctrl-C is no error."""
        try:
            yield
        except (HydraException, OmegaConfBaseException) as error:
            if full:
                raise
            self.exit_code = refuse(error, sweeps=self.sweeps)
        except ValueError as error:
            self.exit_code = refuse(error)
        except OSError as error:
            ours = self.begun or error.filename is None  # output that cannot be written
            self.exit_code = refuse(error, FAILED if ours else BAD_INPUT)
        except KeyboardInterrupt:
            self.exit_code = self.exit_code or PREEMPTED
            if self.results is None:
                print("stopped; run the same command again to go on", file=sys.stderr)
        except Exception as error:  # Hydra checks some of its input by assert
            if full or self.begun:
                raise
            self.exit_code = refuse(error)


def main(module: str, *, sweeps: bool = False) -> NoReturn:
    """Compose the command line's configuration, call ``bn_repro.cli.<module>.main`` with it, and
    exit with what it returns.

    ``-m`` is for a command that ``sweeps``: Hydra gives the jobs to a launcher, which trains.
    """
    exit_with(partial(_main, module, sweeps))


def _main(module: str, sweeps: bool) -> int:
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(help_text(module))
        return COMPLETED
    if not sweeps and MULTIRUN & set(sys.argv[1:]):
        raise ValueError("-m: sweeps are for bn-repro train; give study=... to this command")
    if complete(sys.argv[1:]):
        return COMPLETED
    command = Command(module, sweeps)
    refused = command.errors_refused(full=FULL_ERROR in os.environ)
    # Hydra's refusals come as exceptions, by the switch that it has for a full trace.
    with refused, unless_set(FULL_ERROR, "1"), _sweep_folder():
        sys.argv[1:] = for_hydra(sys.argv[1:])
        folder = own_folder(sys.argv[1:])
        if folder:
            refuse_hidden_files(folder)
        with _named_to_children(folder):
            _compose_and_call(command)
    if command.results is None:
        return command.exit_code
    command.results.log()
    return first_of(command.exit_code, command.results.exit_code)


@contextmanager
def _named_to_children(folder: str | None) -> Iterator[None]:
    """Within: processes that are started find the folder of the user's own configurations."""
    before = os.environ.pop(OWN_CONFIGS, None)
    if folder:
        os.environ[OWN_CONFIGS] = os.path.abspath(folder)
    try:
        yield
    finally:
        os.environ.pop(OWN_CONFIGS, None)
        if before is not None:
            os.environ[OWN_CONFIGS] = before


@contextmanager
def _sweep_folder() -> Iterator[None]:
    """A temporary folder for what Hydra writes of a sweep; configs/config.yaml reads its path."""
    if not MULTIRUN & set(sys.argv[1:]):
        yield
        return
    with TemporaryDirectory(prefix="bn_repro-") as folder:
        os.environ[SWEEP_FOLDER] = folder
        yield


def _compose_and_call(command: Command) -> None:
    try:
        hydra.main(config_path=str(CONFIGS), config_name="config", version_base="1.3")(command)()
    except SystemExit as end:
        if command.begun or not end.code:
            raise
        sys.exit(BAD_INPUT)  # by Hydra itself, for a flag that it does not take


def overrides() -> list[str]:
    """The overrides as the user typed them."""
    return list(HydraConfig.get().overrides.task)


def complete(typed: list[str]) -> bool:
    """Answer a Tab after ``experiment=``, where Hydra's own completion does not see the folders;
    whether it was one of those."""
    shell = next((word for word in typed if word.startswith("query=")), None)
    if shell is None or not {"-sc", "--shell-completion"} & set(typed):
        return False
    line = os.environ.get("COMP_LINE", "")
    if not line.strip():  # no shell asks
        return True
    word = line.split()[-1]
    if line.endswith(" ") or not word.startswith("experiment="):
        return False
    options = (f"experiment={name}" for name in catalogue.names("experiment"))
    matching = [option for option in options if option.startswith(word)]
    print(("\n" if shell == "query=fish" else " ").join(matching))
    return True
