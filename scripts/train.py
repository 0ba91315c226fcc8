"""Train one run, a sweep (-m), or a study.

python scripts/train.py experiment=mnist/bn seed=0
"""

from bn_repro import door

if __name__ == "__main__":
    door.main("training", sweeps=True)
