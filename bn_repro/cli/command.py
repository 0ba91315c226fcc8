"""``bn-repro <command> ...``, or ``python -m bn_repro <command> ...``: all commands.

What commands there are is said without Hydra and torch, which take a while to import.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches
from typing import NoReturn

import bn_repro
from bn_repro.cli import BAD_INPUT, COMMANDS
from bn_repro.cli.start import start
from bn_repro.cli.study import as_train, in_full

HELP = ("-h", "--help", "help")
TAB = ("-sc", "--shell-completion")
OF_STUDIES = ("report", "status")
"""Other commands that take a study's name and its keys without ``study=`` and ``study.``."""


def main() -> NoReturn:
    """Run the command that the first argument of the command line names."""
    arguments = sys.argv[1:] or ["--help"]
    if arguments[0] in HELP:
        _say(usage())
    if arguments[0] == "--version":
        _say(f"bn-repro {bn_repro.__version__}\n")
    if arguments[0] in TAB:
        arguments = ["train", *arguments]
        options = at_tab(os.environ.get("COMP_LINE", ""))
        if options:
            _say(" ".join(options))
    elif arguments[0] not in COMMANDS:
        _refuse(unknown(arguments))
    else:  # for the manifest; shell completion needs a program's name
        sys.argv[0] = f"bn-repro {arguments[0]}"
    name, *sys.argv[1:] = arguments
    if name == "study" and not {"-h", "--help"} & set(arguments):
        try:
            name, sys.argv[1:] = "train", as_train(arguments[1:])
        except ValueError as error:
            _refuse(str(error))
    elif name in OF_STUDIES:
        sys.argv[1:] = in_full(arguments[1:])
    start(name)


def usage() -> str:
    """What ``bn-repro --help`` prints."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            "Batch Normalization (Ioffe & Szegedy 2015), reproduced.\n",
            "bn-repro COMMAND key=value ...\n",
            *lines,
            "\nA first run, of seconds:  bn-repro train experiment=mnist/bn scale=smoke",
            "The keys of a command:    bn-repro COMMAND --help",
            "",
        ]
    )


def unknown(arguments: Sequence[str]) -> str:
    """Why the first of ``arguments`` is no command, and what was probably meant."""
    name = arguments[0]
    if "=" in name or name in ("-m", "--multirun"):
        return f"{name}: a command comes first; did you mean bn-repro train {' '.join(arguments)}?"
    closest = get_close_matches(name, COMMANDS, n=1)
    meant = f" did you mean {closest[0]}?" if closest else ""
    return f"{name}: no such command;{meant} there are {', '.join(COMMANDS)}"


def at_tab(line: str) -> list[str]:
    """The commands that ``line`` may go on with; none where its command is whole.

    Then it takes the command out of ``COMP_LINE``: Hydra expects the program's name alone.
    """
    program, _, rest = line.partition(" ")
    name, space, rest = rest.lstrip().partition(" ")
    if not space:
        return [command for command in COMMANDS if command.startswith(name)] if program else []
    os.environ["COMP_LINE"] = f"{program} {rest}"
    return []


def _say(text: str) -> NoReturn:
    """Print it, though its reader may leave as ``head`` does, and exit."""
    with suppress(BrokenPipeError):
        print(text, end="", flush=True)
    sys.exit(0)


def _refuse(reason: str) -> NoReturn:
    print(f"error: {reason}", file=sys.stderr)
    sys.exit(BAD_INPUT)
