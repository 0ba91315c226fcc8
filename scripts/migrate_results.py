"""Give the committed rows the columns engine, data, classes and blocks; once, then this file goes.

    python scripts/migrate_results.py FOLDER      (of tiny-imagenet-100, whose fingerprint is needed)

Rows were made with the eager engine, on the data sets that the fingerprints here name.
"""

import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import pandas as pd

from bn_repro.analysis import results
from bn_repro.config.compose import compose
from bn_repro.config.schema import DataConfig
from bn_repro.sweep.study import committed_accuracy, expand
from bn_repro.training.build import DATASETS

ROOT = Path(__file__).parent.parent / "results"


@cache
def facts(data: str, seed: int) -> tuple[str, int]:
    config = CONFIGS[data]
    built = DATASETS[config.data.name](replace(config, seed=seed))
    return built.fingerprint[:12], built.classes


CONFIGS = {}
for folder in sorted(path.parent for path in ROOT.glob("*/runs.csv")):
    study = compose([f"study={folder.name}"]).study
    runs, complete = expand(study, [], committed_accuracy(folder / results.RUNS))
    assert complete
    rows = {}
    for run in runs:
        config = run.config
        if config.data.name == "tiny_imagenet":
            config = replace(config, data=replace(config.data, root=sys.argv[1], cache="/tmp/cache"))
        CONFIGS[repr(config.data)] = config
        seed = config.seed if isinstance(config.data, DataConfig) and config.data.limit else 0
        rows[run.key] = (*facts(repr(config.data), seed), "+".join(run.blocks))
    table = pd.read_csv(folder / results.RUNS, dtype=str, keep_default_na=False)
    keys = list(zip(table["experiment"], table["id"], table["seed"].astype(int), strict=True))
    at = table.columns.get_loc("device") + 1
    new = {
        "engine": ["eager"] * len(table),
        "data": [rows[key][0] for key in keys],
        "classes": [str(rows[key][1]) for key in keys],
        "blocks": [rows[key][2] for key in keys],
    }
    for offset, (name, values) in enumerate(new.items()):
        table.insert(at + offset, name, values)
    results.write(folder / results.RUNS, table.to_csv(index=False, lineterminator="\n"))
    print(folder.name, len(table), sorted(set(new["data"]))[:4], sorted(set(new["blocks"])))
