"""Save a report in the runs' W&B project, and print its address.

python scripts/wandb_dashboard.py                          Figures 1 to 4
python scripts/wandb_dashboard.py study=dropout            a study's runs, a line for each setting
python scripts/wandb_dashboard.py 'wandb.tags=[mine]'      the runs with that tag
"""

from bn_repro.cli.start import start

if __name__ == "__main__":
    start("dashboard")
