"""``bn-repro report``, from a checkout: python scripts/report.py ..."""

from bn_repro.cli.start import start

if __name__ == "__main__":
    start("report")
