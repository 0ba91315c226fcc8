"""``bn-repro status``, from a checkout: python scripts/status.py ..."""

from bn_repro.cli.start import start

if __name__ == "__main__":
    start("status")
