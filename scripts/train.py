"""Train one run, a sweep (-m), or a study.

python scripts/train.py experiment=mnist/bn seed=0
"""

from bn_repro.cli.main import main

if __name__ == "__main__":
    main("train", sweeps=True)
