"""``bn-repro train``, from a checkout: python scripts/train.py ..."""

from bn_repro.cli.start import start

if __name__ == "__main__":
    start("train")
