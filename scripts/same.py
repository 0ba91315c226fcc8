"""Whether this checkout computes what another commit computed, byte for byte on this machine.

    python scripts/same.py BASE        (or: make same BASE=<commit>)

Each experiment runs at smoke scale in a worktree of BASE and in this one; their metrics and traces
are compared. Bytes differ between processors, so nothing of it is stored.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bn_repro.cli.entry import exit_with

ROOT = Path(__file__).parent.parent
RECORDS = ("metrics.jsonl", "traces.jsonl")
SWEEP = ("-m", "experiment=glob(*)", "scale=smoke", "device=cpu", "wandb=disabled")


def records(tree: Path, runs: Path) -> dict[str, bytes]:
    """Run the smoke experiments of the checkout ``tree``; their records by path in ``runs``."""
    env = os.environ | {"PYTHONPATH": str(tree), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(tree / "scripts" / "train.py"), *SWEEP, f"runs={runs}"]
    subprocess.run(command, cwd=tree, env=env, check=True, stdout=subprocess.DEVNULL)
    found = (path for name in RECORDS for path in runs.rglob(name))
    return {path.relative_to(runs).as_posix(): path.read_bytes() for path in sorted(found)}


def main() -> int:
    """Compare, and print what differs; 0 where nothing does."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("base", help="the commit to compare with")
    base = parser.parse_args().base
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--detach", "--quiet", str(tree), base], check=True)
        try:
            before = records(tree, Path(folder) / "before")
            after = records(ROOT, Path(folder) / "after")
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)
    differ = sorted(
        path for path in before.keys() | after.keys() if before.get(path) != after.get(path)
    )
    for path in differ:
        state = "differs" if path in before and path in after else "is in one of the two alone"
        print(f"{path}: {state}")
    print(f"{len(before)} records of {base[:12]}, {len(after)} here: {len(differ)} differ")
    return int(bool(differ) or not before)


if __name__ == "__main__":
    exit_with(main)
