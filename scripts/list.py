"""``bn-repro list``, from a checkout: python scripts/list.py ..."""

from bn_repro.cli.start import start

if __name__ == "__main__":
    start("list")
