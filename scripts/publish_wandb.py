"""Send finished runs to Weights & Biases, at any later time; nothing is sent twice.

python scripts/publish_wandb.py wandb=online
python scripts/publish_wandb.py wandb=online study=fig1
python scripts/publish_wandb.py wandb=offline experiment=mnist/bn seed=0
"""

from bn_repro.cli.start import start

if __name__ == "__main__":
    start("publish")
