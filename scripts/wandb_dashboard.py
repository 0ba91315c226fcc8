"""Save Figures 1 to 4 as a report in the W&B project that the runs are in; it prints its address.

python scripts/wandb_dashboard.py wandb.entity=NAME wandb.project=bn-repro
"""

from omegaconf import DictConfig

from bn_repro import cli, dashboard
from bn_repro.compose import plain


def save(composed: DictConfig) -> int:
    """Save the report."""
    print(dashboard.save(plain(composed).wandb))
    return cli.COMPLETED


if __name__ == "__main__":
    cli.refuse_sweeps()
    cli.main(save)
