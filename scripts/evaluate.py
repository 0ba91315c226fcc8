"""Evaluate finished runs: single crop or GoogLeNet's 144, a run, some seeds, a study, an ensemble.

python scripts/evaluate.py experiment=imagenet/bn_x30 evaluation.crops=144
python scripts/evaluate.py experiment=imagenet/bn_x30 evaluation.seeds=[0,1] evaluation.ensemble=true
python scripts/evaluate.py study=fig4
"""

from bn_repro import cli

if __name__ == "__main__":
    cli.refuse_sweeps()
    cli.main(cli.evaluate)
