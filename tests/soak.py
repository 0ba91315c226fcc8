"""What a run survives, tried at random and at every place: ``make soak``.

    python tests/soak.py                             about 10 minutes on two cores
    python tests/soak.py --kills 20 --stride 10      a taste

Processes are killed and signalled; each run is then brought to its end, and its records and weights
are compared, byte for byte, with those of a run that nothing happened to. ``docs/reliability.md``
has the table of a soak that was made.
"""

from __future__ import annotations

import argparse
import builtins
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from resumed import assert_same_run, rows, silent
from support import ROOT, Forked, train

from bn_repro.cli.entry import exit_with
from bn_repro.config.compose import compose
from bn_repro.config.identity import directory_of
from bn_repro.config.schema import Config
from bn_repro.records import files, paths, recorder
from bn_repro.records.reader import last_status
from bn_repro.tracking import live
from bn_repro.training.run import run

MNIST = ("experiment=mnist/bn", "scale=smoke", "train.steps=120", "train.checkpoint_every=30")
IMAGENET = ("experiment=imagenet/bn_x5", "scale=smoke", "train.checkpoint_every=3")
RANKS = ("experiment=mnist/bn", "scale=smoke", "train.steps=60", "train.checkpoint_every=10")
SHORT = ("experiment=mnist/bn", "scale=smoke", "train.steps=20", "train.checkpoint_every=10")
SHORT += ("train.eval_every=10", "data.limit=1000", "train.population_batches=1")
WISHES = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")
ENDS = ("SIGHUP", "SIGQUIT", "SIGKILL")
LIMIT_SECONDS = 3600
"""What takes seconds on a quiet machine; after so long it hangs, on any."""
BOUNDARIES = ("mkdir", "open", "write", "part", "fsync", "replace", "truncate", "unlink")


@dataclass
class Line:
    """A line of the table."""

    what: str
    tried: int = 0
    equal: int = 0
    """Runs that ended with the records and weights of an untouched one."""
    wrong: list[str] = field(default_factory=list)

    def compare(self, end: Callable[[], Path], whole: Path, how: str) -> None:
        """Count a run that ``end`` brings to its end, and whose directory it gives."""
        try:
            directory = end()
            assert_same_run(directory, whole)
            steps = [[r["step"] for r in rows(d, paths.TIMING)] for d in (directory, whole)]
            assert steps[0] == steps[1], "timing"
            self.equal += 1
        except Exception as error:
            self.wrong.append(f"{how}: {str(error).splitlines()[0] if str(error) else error!r}")


def trained(config: Config, env: Mapping[str, str] | None = None) -> None:
    """Train, in a process of its own; its exit code is that of the command."""
    os.environ.update(env or {})
    outcome = run(config)
    sys.exit({"completed": 0, "preempted": 75}.get(outcome.state, 1))


def config_of(runs: Path, words: Sequence[str]) -> Config:
    return compose([*words, f"runs={runs}"])


def finish(runs: Path, words: Sequence[str]) -> Path:
    """Bring a run to its end, here; its directory."""
    config = config_of(runs, words)
    run(config, log=silent)
    return directory_of(config)


# --- at random ------------------------------------------------------------------------------------


def killed_at_random(
    line: Line,
    folder: Path,
    kills: int,
    begin: Callable[[Path], list[Any]],
    end: Callable[..., Path],
) -> None:
    """Kill a run's processes at random moments, up to five times; then it is brought to its end."""
    whole = end(folder / "whole")
    begun = time.monotonic()
    for process in begin(folder / "timed"):
        process.communicate(LIMIT_SECONDS)
    end(folder / "timed")
    seconds = time.monotonic() - begun
    life = 0
    while line.tried < kills:
        life += 1
        runs, moments = folder / f"life{life}", []
        for _ in range(min(random.randint(1, 5), kills - line.tried)):
            processes = begin(runs)
            moments.append(random.uniform(0, seconds))
            begun = time.monotonic()
            while time.monotonic() < begun + moments[-1] and any(
                p.poll() is None for p in processes
            ):
                time.sleep(0.01)
            if any(p.poll() is None for p in processes):
                line.tried += 1
            elif len(moments) == 1:  # it came to its end before: the machine is quicker by now
                seconds = time.monotonic() - begun
            for process in random.sample(processes, len(processes)):
                process.kill()
            for process in processes:
                process.communicate(LIMIT_SECONDS)
        line.compare(partial(end, runs), whole, f"killed after {moments}")
        shutil.rmtree(runs, ignore_errors=True)


def ranks(runs: Path) -> list[Forked]:
    """Two ranks at work."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    env = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    config = config_of(runs, RANKS)
    return [Forked(trained, config, {"RANK": k, "LOCAL_RANK": k, **env}) for k in "01"]


def ranks_to_their_end(runs: Path) -> Path:
    for process in ranks(runs):
        process.communicate(LIMIT_SECONDS)
    return directory_of(config_of(runs, RANKS), 2)


def holder_and_waiter(runs: Path) -> list[Forked]:
    """A process that holds a run's lock; the killed one. Another waits for it, and takes over."""
    config = config_of(runs, MNIST)
    holder = waiting.pop() if waiting else Forked(trained, config)
    while not directory_of(config).exists() and holder.poll() is None:  # made under the lock
        time.sleep(0.01)
    waiting.append(Forked(trained, config))
    return [holder]


waiting: list[Forked] = []
"""Who waits for the lock; when the holder has been killed, it is the next to be."""


def waiter_to_its_end(runs: Path) -> Path:
    while waiting:
        waiting.pop().communicate(LIMIT_SECONDS)
    return finish(runs, MNIST)


class Study:
    """A sweep of two runs, of which the parent is killed, or a child, or all of them."""

    def __init__(self, runs: Path) -> None:
        words = ["-m", *MNIST, "seed=0,1", "hydra.launcher.jobs=2", f"runs={runs}"]
        command = [sys.executable, "scripts/train.py", *words]
        self._process = subprocess.Popen(
            command, cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._runs = runs

    def kill(self) -> None:
        """The parent alone, or its whole group; a child left alone goes on by itself."""
        with suppress(ProcessLookupError):
            if random.random() < 0.5:
                self._process.kill()
            else:
                os.killpg(self._process.pid, signal.SIGKILL)

    def poll(self) -> int | None:
        """The exit code of the parent, once it has one."""
        return self._process.poll()

    def communicate(self, timeout: float) -> None:
        """Wait for it."""
        self._process.wait(timeout)


def study_to_its_end(runs: Path) -> Path:
    """Both runs; the second is compared."""
    Study(runs).communicate(LIMIT_SECONDS)
    return directory_of(config_of(runs, [*MNIST, "seed=1"]))


# --- at every boundary ----------------------------------------------------------------------------


class Boundaries:
    """Counts what is done to files under a folder, and sends this process a signal before one."""

    def __init__(self, folder: Path, at: int | None, number: int) -> None:
        self.folder, self.at, self.number = str(folder), at, number
        self.kinds: list[str] = []

    def met(self, kind: str) -> None:
        self.kinds.append(kind)
        if len(self.kinds) == self.at:
            os.kill(os.getpid(), self.number)

    def watch(self) -> None:
        """From now on."""
        names = {"os.mkdir": "mkdir", "os.rename": "replace", "os.remove": "unlink"}
        names |= {"os.truncate": "truncate", "open": "open"}

        def audit(event: str, about: tuple[Any, ...]) -> None:
            if event in names and str(about[0]).startswith(self.folder):
                reads = event == "open" and not (about[2] or 0) & (os.O_WRONLY | os.O_RDWR)
                if not reads:
                    self.met(names[event])

        sys.addaudithook(audit)
        fsync = os.fsync

        def synced(number: int) -> None:
            self.met("fsync")
            fsync(number)

        os.fsync = synced
        for module in (files, recorder):
            module.open = self.opened  # pyright: ignore

    def opened(self, *what: Any, **how: Any) -> Watched:
        """As ``open``."""
        return Watched(builtins.open(*what, **how), self)


class Watched:
    """An open file whose writes are two: a signal may come before, and between."""

    def __init__(self, file: Any, boundaries: Boundaries) -> None:
        self._file, self._boundaries = file, boundaries

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def truncate(self, length: int) -> None:
        self._boundaries.met("truncate")
        self._file.truncate(length)

    def write(self, content: bytes) -> None:
        self._boundaries.met("write")
        self._file.write(content[: len(content) // 2])
        self._file.flush()
        self._boundaries.met("part")
        self._file.write(content[len(content) // 2 :])


def signalled(config: Config, at: int | None, number: int, report: str) -> None:
    """Train, with a signal at a boundary; what boundaries there were goes to ``report``."""
    if number == signal.SIGHUP:
        signal.signal(number, signal.SIG_DFL)  # nohup has it ignored
    boundaries = Boundaries(Path(config.runs), at, number)
    boundaries.watch()
    try:
        trained(config)
    finally:
        with builtins.open(report, "w") as file:
            file.write(" ".join(boundaries.kinds))


def at_boundaries(folder: Path, stride: int) -> tuple[dict[str, Line], list[str]]:
    """A kill at each ``stride``-th boundary, each resumed; a line a kind of boundary."""
    whole = finish(folder / "whole", SHORT)
    report = folder / "kinds"
    process = Forked(signalled, config_of(folder / "all", SHORT), None, 0, str(report))
    process.communicate(LIMIT_SECONDS)
    kinds = report.read_text().split()
    lines = {kind: Line(f"SIGKILL before {kind}") for kind in BOUNDARIES}
    lines["part"].what = "SIGKILL within a write"
    for at in range(1, len(kinds) + 1, stride):
        runs, line = folder / f"at{at}", lines[kinds[at - 1]]
        process = Forked(signalled, config_of(runs, SHORT), at, signal.SIGKILL, str(report))
        process.communicate(LIMIT_SECONDS)
        line.tried += 1
        if process.returncode != -signal.SIGKILL:
            line.wrong.append(f"boundary {at}: exit code {process.returncode}")
        line.compare(partial(finish, runs, SHORT), whole, f"boundary {at}")
        shutil.rmtree(runs)
    return lines, kinds


def every_signal(folder: Path, kinds: list[str], places: int) -> list[Line]:
    """Every signal at ``places`` boundaries, from the first to the last, and what is said of it."""
    whole = finish(folder / "whole", SHORT)
    lines = []
    for name in (*WISHES, *ENDS):
        number, line = getattr(signal, name), Line(f"{name} from the first file to the last")
        lines.append(line)
        for place in range(places):
            at = 1 + place * (len(kinds) - 1) // max(1, places - 1)
            runs = folder / f"{name}{place}"
            process = Forked(signalled, config_of(runs, SHORT), at, number, str(folder / "kinds"))
            said = "".join(process.communicate(LIMIT_SECONDS))
            line.tried += 1
            # A wish that comes after the last step has nothing left to stop.
            done = last_status(directory_of(config_of(runs, SHORT))).state == "completed"
            expected = {75, 0 if done else 75} if name in WISHES else {-number}
            if process.returncode not in expected or "Traceback" in said:
                line.wrong.append(f"boundary {at}: exit code {process.returncode}: {said[-300:]}")
            line.compare(partial(finish, runs, SHORT), whole, f"boundary {at}")
            shutil.rmtree(runs)
    return lines


# --- Weights & Biases -----------------------------------------------------------------------------


def with_wandb(words: Sequence[str], number: int) -> None:
    """Train, with W&B's service hit by a signal once it shows the run."""
    from bn_repro.tracking.logger import RunUpload
    from bn_repro.tracking.wandb_run import service_of_wandb

    live.FINISH_SECONDS, live.EVERY_SECONDS = 3.0, 0.05
    begin = RunUpload.begin

    def begin_and_hit(self: RunUpload) -> None:
        begin(self)
        service = service_of_wandb()
        assert service is not None
        os.kill(service.pid, number)

    RunUpload.begin = begin_and_hit
    train(words)


def wandb_hit(folder: Path, number: int, times: int) -> Line:
    """W&B's service killed, or frozen: the run and its records are as without it."""
    line = Line(f"W&B's service: {signal.Signals(number).name}")
    whole = finish(folder / "whole", MNIST)
    for k in range(times):
        runs = folder / f"wandb{number}{k}"
        process = Forked(with_wandb, [*MNIST, "wandb=offline", f"runs={runs}"], number)
        said = "".join(process.communicate(LIMIT_SECONDS))
        line.tried += 1
        if process.returncode or "goes on with its local records alone" not in said:
            line.wrong.append(f"exit code {process.returncode}: {said[-300:]}")
        line.compare(partial(directory_of, config_of(runs, MNIST)), whole, "wandb")
    return line


# --- all of it ------------------------------------------------------------------------------------


def table(lines: Sequence[Line]) -> str:
    """The lines in Markdown."""
    made = [
        "| what was done | times | runs ended equal | otherwise |",
        "| --- | ---: | ---: | ---: |",
    ]
    made += [f"| {line.what} | {line.tried} | {line.equal} | {len(line.wrong)} |" for line in lines]
    return "\n".join(made)


def show(lines: Sequence[Line]) -> None:
    """Print what has been done so far."""
    print("\n".join(table(lines).splitlines()[2:]), flush=True)


def main() -> int:
    """Do all of it, print the table; 1 where anything ended otherwise."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="SIGKILLs at random moments")
    parser.add_argument("--stride", type=int, default=1, help="every n-th boundary of a write")
    parser.add_argument("--places", type=int, default=6, help="boundaries for each signal")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    random.seed(asked.seed)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ["OMP_NUM_THREADS"] = "1"
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)

        def single(words: Sequence[str]) -> Callable[[Path], list[Forked]]:
            return lambda runs: [Forked(trained, config_of(runs, words))]

        shares: list[tuple[str, float, Callable[..., Any], Callable[..., Path]]] = [
            ("MNIST", 0.5, single(MNIST), lambda runs: finish(runs, MNIST)),
            ("an ImageNet smoke run", 0.2, single(IMAGENET), lambda runs: finish(runs, IMAGENET)),
            ("two ranks", 0.12, ranks, ranks_to_their_end),
            ("the holder of a lock", 0.12, holder_and_waiter, waiter_to_its_end),
            ("a sweep, alone or with its runs", 0.06, lambda r: [Study(r)], study_to_its_end),
        ]
        Forked(trained, config_of(folder / "first", SHORT)).communicate()  # the server begins
        for number, (what, share, begin, end) in enumerate(shares):
            line = Line(f"SIGKILL at random: {what}")
            lines.append(line)
            killed_at_random(
                line, folder / str(number), max(1, round(share * asked.kills)), begin, end
            )
            show([line])
        boundaries, kinds = at_boundaries(folder / "boundaries", asked.stride)
        show([*boundaries.values()])
        signals = every_signal(folder / "signals", kinds, asked.places)
        show(signals)
        lines += [*boundaries.values(), *signals]
        with suppress(ImportError):
            import wandb  # noqa: F401

            lines += [wandb_hit(folder / "w", n, 2) for n in (signal.SIGKILL, signal.SIGSTOP)]
    for line in lines:
        for wrong in line.wrong:
            print(f"{line.what}: {wrong}")
    print(f"\n{len(kinds)} boundaries in a run\n\n{table(lines)}")
    return 1 if any(line.wrong for line in lines) else 0


if __name__ == "__main__":
    exit_with(main)
