"""Run studies on a machine that is lent for minutes, and pack their records to bring home.

    python scripts/device_session.py --out FOLDER --seconds 540 \\
        'study=fig1 study.jobs=4 ; study=depth study.jobs=4' \\
        'study=fig3 data.root=/tmp/tiny20 study.jobs=8 train.engine=graphed'

Each argument is a lane: what one `scripts/train.py` after another is given, with `;` between and
quotes as in a shell. Lanes work side by side. Before the time is up all are asked to stop; then
`FOLDER` gets the records of the finished runs, without checkpoints, as `records-<k>.tar.xz`, and
`summary.txt`. `--unpack ARCHIVE=FOLDER` extracts data first. With `--runs FOLDER` a second call on
the same machine goes on with what the first one stopped. Where CUDA's multi-process service can
start, runs share a GPU by it. The machine needs no git: `BN_REPRO_COMMIT` names the commit; nor the
package installed, where PYTHONPATH names the checkout.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from bn_repro.cli.entry import exit_with
from bn_repro.cli.errors import explain
from bn_repro.cli.refusals import OF_THE_COMMAND
from bn_repro.config.compose import compose
from bn_repro.records import paths
from bn_repro.records.errors import BadInput
from bn_repro.records.reader import finished
from bn_repro.records.search import find_runs
from bn_repro.stop_signal import StopFlag
from bn_repro.sweep.planned import PlannedRun, accuracy_of
from bn_repro.sweep.study import expand
from bn_repro.tracking.sent import FILES

ROOT = Path(__file__).parents[1]
LARGE = (paths.TRACES, paths.HISTOGRAMS)
ARCHIVES, ARCHIVE_BYTES = 7, 16 * 2**20
STOPPING = 30
"""Seconds that a stopped command has to save its runs."""
PROBE = "import torch; torch.ones(2, device='cuda').sum().item(); print('on the GPU')"


@dataclass
class Command:
    """One call of `scripts/train.py`, its process while it works, and its time."""

    words: list[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    began: float = 0.0
    seconds: float = 0.0

    def start(self) -> None:
        """Begin, in a process group of its own: signals reach it from here alone."""
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, *sys.path)))}
        self.began = time.monotonic()
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "scripts" / "train.py"), *self.words],
                cwd=ROOT,
                env=environment | {"OMP_NUM_THREADS": "1"},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def ended(self) -> bool:
        """Whether it began and has ended."""
        if self.process is None or self.process.poll() is None:
            return False
        self.seconds = self.seconds or time.monotonic() - self.began
        return True

    def stop(self, number: int) -> None:
        """Send it a signal; SIGKILL to its runs too."""
        if self.process is not None and self.process.poll() is None:
            send = os.killpg if number == signal.SIGKILL else os.kill
            send(self.process.pid, number)

    def runs(self) -> list[PlannedRun]:
        """The runs that it was to train, as far as they are known."""
        config = compose(self.words)
        own = [word for word in self.words if not word.startswith(OF_THE_COMMAND)]
        if config.study.blocks:
            return expand(config.study, own, accuracy_of)[0]
        return [PlannedRun(config, {})]

    def row(self) -> str:
        """Its line of the summary."""
        runs = self.runs()
        done = sum(finished(run.directory) is not None for run in runs)
        seconds = self.seconds or (time.monotonic() - self.began if self.process else 0.0)
        rate = 60 * done / seconds if seconds else 0.0
        code = self.process.returncode if self.process else "-"
        name = " ".join(word for word in self.words if not word.startswith("runs="))
        return f"{done:>5}/{len(runs):<5} {seconds:>7.0f} s {rate:>8.1f} {code!s:>5}  {name}"


@dataclass
class Lane:
    """Commands that follow one another."""

    waiting: list[Command]
    done: list[Command] = field(default_factory=list)

    def go_on(self) -> bool:
        """Start the next command if none is running; whether any is left."""
        if self.waiting and self.waiting[0].ended():
            self.done.append(self.waiting.pop(0))
        if self.waiting and self.waiting[0].process is None:
            self.waiting[0].start()
        return bool(self.waiting)


def lanes_of(texts: Sequence[str], runs: Path, logs: Path) -> list[Lane]:
    """The lanes of the command line; ValueError for a command that could not be composed."""
    lanes = []
    for k, text in enumerate(texts):
        commands = [words for part in text.split(";") if (words := shlex.split(part))]
        commands = [[*words, f"runs={runs}"] for words in commands]
        lanes.append(Lane([Command(w, logs / f"{k}-{n}.log") for n, w in enumerate(commands)]))
        for command in lanes[-1].waiting:
            try:
                command.runs()
            except (HydraException, OmegaConfBaseException) as error:
                raise ValueError(explain(error)) from error
    return lanes


def work(lanes: Sequence[Lane], until: float) -> None:
    """Bring the lanes to their end, or stop them at ``until``, or when this process is asked to."""
    printed = 0.0
    with StopFlag(patient=True).listening() as stop:
        while any([lane.go_on() for lane in lanes]) and time.monotonic() < until and not stop:
            time.sleep(0.2)
            if time.monotonic() > printed + 30:
                printed = time.monotonic()
                print(
                    *(lane.waiting[0].row() for lane in lanes if lane.waiting), sep="\n", flush=True
                )
        at_work = [lane.waiting[0] for lane in lanes if lane.waiting]
        for number, patience in ((signal.SIGTERM, STOPPING), (signal.SIGKILL, 5)):
            for command in at_work:
                command.stop(number)
            last = time.monotonic() + patience
            while not all([command.ended() for command in at_work]) and time.monotonic() < last:
                time.sleep(0.1)


def pack(runs: Path, out: Path) -> list[str]:
    """Write the finished runs' records under ``runs`` to archives in ``out``; a line for each.

    An archive that would be too large goes without traces and histograms; its line says so.
    """
    try:
        found = [run.directory for run in find_runs(runs) if finished(run.directory)]
    except BadInput:  # none began
        return []
    sizes = {
        d: sum((d / name).stat().st_size for name in FILES if (d / name).exists()) for d in found
    }
    parts: list[list[Path]] = [[] for _ in range(min(ARCHIVES, len(found)))]
    for directory in sorted(found, key=lambda d: -sizes[d]):
        min(parts, key=lambda part: sum(sizes[d] for d in part)).append(directory)

    def write(k: int, part: list[Path]) -> str:
        path, missing = out / f"records-{k}.tar.xz", ""
        _archive(path, runs, part, FILES)
        if path.stat().st_size > ARCHIVE_BYTES:
            _archive(path, runs, part, [name for name in FILES if name not in LARGE])
            missing = ", without traces and histograms"
        return f"{path.name}: {len(part)} runs, {path.stat().st_size:,} bytes{missing}"

    with ThreadPoolExecutor(max(1, len(parts))) as pool:  # lzma lets other threads work
        return list(pool.map(write, range(len(parts)), parts))


def _archive(path: Path, runs: Path, directories: Sequence[Path], names: Sequence[str]) -> None:
    with tarfile.open(path, "w:xz", preset=4) as archive:
        for directory in sorted(directories):
            for file in (directory / name for name in names):
                if file.exists():
                    archive.add(file, file.relative_to(runs))


@contextmanager
def shared_gpu(scratch: Path) -> Iterator[str]:
    """Within, CUDA's multi-process service if it starts; gives a line that says whether it does."""
    daemon = shutil.which("nvidia-cuda-mps-control")
    if daemon is None:
        yield "MPS: no nvidia-cuda-mps-control here; runs take turns on the GPU"
        return
    folders = {
        f"CUDA_MPS_{kind}_DIRECTORY": str(scratch / kind.lower()) for kind in ("PIPE", "LOG")
    }
    with ExitStack() as at_the_end:
        for name, folder in folders.items():
            Path(folder).mkdir(parents=True)
            os.environ[name] = folder
            at_the_end.callback(os.environ.pop, name)
        at_the_end.callback(_output, [daemon], b"quit\n")
        said = _output([daemon, "-d"]) + _output([sys.executable, "-c", PROBE], timeout=60)
        how = "MPS: on"
        if "on the GPU" not in said:
            at_the_end.close()
            reason = " ".join(said.split())[-300:]
            how = f"MPS: does not work here, so runs take turns on the GPU: {reason}"
        yield how


def _output(command: Sequence[str], given: bytes = b"", timeout: float = 10) -> str:
    """What a command says; in a file, since a daemon keeps a pipe open."""
    with tempfile.TemporaryFile() as said:
        try:
            subprocess.run(
                command, input=given, stdout=said, stderr=subprocess.STDOUT, timeout=timeout
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        said.seek(0)
        return said.read().decode(errors="replace")


def summary(lanes: Sequence[Lane], lines: Sequence[str]) -> str:
    """What became of each command, with the end of its log where it did not complete."""
    commands = [command for lane in lanes for command in (*lane.done, *lane.waiting)]
    head = f"{'finished/all':>12} {'time':>8} {'runs/min':>8} {'exit':>5}  command"
    table = [head, *(command.row() for command in commands)]
    for command in commands:
        if command.process is not None and command.process.returncode and command.log.exists():
            end = command.log.read_text(errors="replace").splitlines()[-8:]
            table += [f"--- {' '.join(command.words)}", *end]
    return "\n".join([*table, *lines, ""])


def main() -> None:
    """Unpack, train, stop in time, pack."""
    begun = time.monotonic()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("lanes", nargs="+", help="what train.py is given; `;` between two commands")
    parser.add_argument("--out", type=Path, required=True, help="folder for what comes back")
    parser.add_argument("--seconds", type=float, required=True, help="time from start to end")
    parser.add_argument(
        "--reserve", type=float, default=60, help="of these, for stopping and packing"
    )
    parser.add_argument(
        "--runs", type=Path, help="folder of the runs, with which a second call goes on"
    )
    parser.add_argument("--unpack", action="append", default=[], metavar="ARCHIVE=FOLDER")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for pair in given.unpack:
        archive, _, folder = pair.rpartition("=")
        with tarfile.open(archive) as opened:
            opened.extractall(folder, filter="data")
    scratch = Path(tempfile.mkdtemp(prefix="device-"))
    runs = given.runs or scratch / "runs"
    lanes = lanes_of(given.lanes, runs, scratch)
    with shared_gpu(scratch) as how:
        work(lanes, begun + given.seconds - given.reserve)
    packed = time.monotonic()
    lines = [how, *pack(runs, given.out)]
    lines.append(
        f"packed in {time.monotonic() - packed:.0f} s; {time.monotonic() - begun:.0f} s in all"
    )
    text = summary(lanes, lines)
    (given.out / "summary.txt").write_text(text)
    print(text)


if __name__ == "__main__":
    exit_with(main)
