"""``bn-repro publish``, from a checkout: python scripts/publish_wandb.py ..."""

from bn_repro.cli.start import start

if __name__ == "__main__":
    start("publish")
