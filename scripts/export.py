"""``bn-repro export``, from a checkout: python scripts/export.py ..."""

from bn_repro.cli.start import start

if __name__ == "__main__":
    start("export")
