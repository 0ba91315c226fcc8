"""``bn-repro dashboard``, from a checkout: python scripts/wandb_dashboard.py ..."""

from bn_repro.cli.start import start

if __name__ == "__main__":
    start("dashboard")
