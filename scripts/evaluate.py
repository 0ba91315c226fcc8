"""Evaluate finished runs (one, several seeds, a study, an ensemble) by a single crop or by 144.

python scripts/evaluate.py experiment=imagenet/bn_x30 seed=0 evaluation.crops=144
python scripts/evaluate.py experiment=imagenet/bn_x30 evaluation.seeds=[0,1,2]
python scripts/evaluate.py study=fig4
"""

from bn_repro.cli.start import start

if __name__ == "__main__":
    start("evaluate")
