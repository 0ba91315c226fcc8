"""``bn-repro evaluate``, from a checkout: python scripts/evaluate.py ..."""

from bn_repro.cli.start import start

if __name__ == "__main__":
    start("evaluate")
