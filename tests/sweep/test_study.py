"""Blocks become runs; a rate chosen in one block names the runs of the next."""

import os
import re
import subprocess
from dataclasses import replace

import pytest
from support import ROOT

from bn_repro.config.compose import compose
from bn_repro.config.schema import StudyConfig
from bn_repro.sweep.planned import accuracy_or_reported, rows_of
from bn_repro.sweep.study import expand, numbered

ARMS = ["mnist/baseline", "mnist/bn"]


def study(*blocks, **options):
    return StudyConfig(name="test", blocks=list(blocks), **options)


def half(run):
    return 0.5


def test_a_block_is_a_grid_and_a_study_their_union():
    blocks = (
        {"experiment": ARMS, "seed": [0, 1], "optimizer.lr": [0.1, 1.0]},
        {"experiment": ["mnist/bn"], "seed": [0], "optimizer.lr": [0.1, 3.0]},
    )
    runs, whole = expand(study(*blocks), ["runs=elsewhere"], half)
    assert whole
    assert len(runs) == 9  # mnist/bn at 0.1, seed 0, is in both blocks
    assert {r.config.runs for r in runs} == {"elsewhere"}
    assert runs[0].varied == {"optimizer.lr": 0.1}
    assert runs[0].title == "mnist/baseline optimizer.lr=0.1 seed 0"


def test_only_the_first_seeds():
    block = {"experiment": ARMS, "seed": [4, 5, 6]}
    runs, _ = expand(study(block, seeds=2), [], half)
    assert {r.config.seed for r in runs} == {4, 5}
    smoke, _ = expand(study(block), ["scale=smoke"], half)
    assert {r.config.seed for r in smoke} == {4}


def test_seeds_may_be_a_range():
    runs, _ = expand(study({"experiment": ["mnist/bn"], "seed": "range(3, 6)"}), [], half)
    assert [r.config.seed for r in runs] == [3, 4, 5]


@pytest.mark.parametrize(
    "seeds", [["a"], [1.5], [True], [None], [[1]], [], 5, "1", {"best_of": "x"}]
)
def test_seeds_are_whole_numbers(seeds):
    with pytest.raises(ValueError, match="^study test, block 1: seed must be a list of whole numb"):
        expand(
            study({"experiment": ["mnist/bn"], "seed": seeds}, seeds=None), ["scale=smoke"], half
        )


@pytest.mark.parametrize(
    ("block", "said"),
    [
        (5, "block 1 needs an experiment"),
        ({"experiment": [5]}, "block 1: experiment must be a list of names"),
        ({"experiment": [["mnist/bn"]]}, "block 1: experiment must be a list of names"),
        ({"experiment": ARMS, "optimizer.lr": 0.1}, "optimizer.lr must be a list of values"),
        ({"experiment": ["mnist/bn"], "name": ["a"]}, "block 1 needs a name of its own"),
        ({"experiment": ["mnist/bn"], "model": [{"norm": "none"}]}, "model must be a list of val"),
        ({"experiment": ["mnist/bn"], "optimizer.lr": {"best_of": [1]}}, "best_of: no block [1]"),
        ({"experiment": ["mnist/bn"], "study.seeds": [1]}, "study.seeds: is of the command"),
        ({"experiment": ["mnist/bn"], "hydra.run.dir": ["x"]}, "hydra.run.dir: is of the command"),
        ({"experiment": ["mnist/bn"], "seed": "range(0, 10000000000)"}, "is more than 100,000"),
    ],
)
def test_a_block_that_is_no_grid_is_told(block, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        expand(study(block), [], half)


@pytest.mark.parametrize("name", ["../x", "a/b", "<img src=x>", "a\nb", ".", "..", ".git"])
def test_a_study_has_a_name_for_a_folder(name):
    with pytest.raises(ValueError, match="^study.name: .* is not a name for a folder"):
        StudyConfig(name=name)


def test_only_some_blocks_are_asked_for():
    """A block that is left out chooses all the same, and one that waits holds up no other."""
    tried = {"name": "tried", "experiment": ["mnist/bn"], "optimizer.lr": [0.1, 1.0], "seed": [0]}
    best = {**tried, "name": "best", "optimizer.lr": {"best_of": "tried"}, "seed": [1]}
    other = {"name": "other", "experiment": ["mnist/baseline"], "seed": [2]}
    again = {**best, "name": "again", "optimizer.lr": {"best_of": "best"}, "seed": [3]}

    def asked(accuracy, *names, blocks=(tried, best, other)):
        runs, complete = expand(study(*blocks, only=list(names)), [], accuracy)
        return [run.config.seed for run in runs], complete

    assert asked(half, "best", "other") == ([1, 2], True)
    assert asked(lambda run: None, "other") == ([2], True)
    assert asked(lambda run: None, "other", "best") == ([2], False)
    with pytest.raises(ValueError, match="only: again: waits for the runs of other blocks"):
        asked(lambda run: None, "again", blocks=(tried, best, again))
    with pytest.raises(ValueError, match="study test has no block 'x'; it has tried, best, other"):
        asked(half, "x")


def test_a_number_never_stands_for_another_run_once_a_block_is_known(tmp_path):
    """The block that waits comes between: what follows it has no number yet."""
    tried = {"name": "tried", "experiment": ["mnist/bn"], "optimizer.lr": [0.1, 1.0], "seed": [0]}
    best = {**tried, "name": "best", "optimizer.lr": {"best_of": "tried"}, "seed": [1]}
    other = {"name": "other", "experiment": ["mnist/baseline"], "seed": [2]}
    runs = [f"runs={tmp_path}"]
    assert numbered(study(tried, best, other, run=1), runs).varied["optimizer.lr"] == 1.0
    with pytest.raises(ValueError, match="has 2 runs so far, and the next block needs them"):
        numbered(study(tried, best, other, run=2), runs)


def test_a_block_does_not_replace_another_of_its_name():
    block = {"name": "a", "experiment": ["mnist/bn"]}
    with pytest.raises(ValueError, match="block 2 needs a name of its own, not a"):
        expand(study(block, {**block, "optimizer.lr": [0.5]}), [], half)


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_the_arms_of_a_study_stay_different(norm):
    """Else both arms of Figure 1 are BN, and their difference is an exact 0."""
    own = [f"model.norm={norm}"]
    said = "study fig1, arms: mnist/baseline and mnist/bn would be the same run under two names"
    with pytest.raises(ValueError, match=said):
        expand(compose(["study=fig1"]).study, own, half)


def test_a_study_has_a_scale_of_its_own_unless_one_is_asked_for():
    block = {"experiment": ["mnist/bn"], "seed": [0]}
    usual, _ = expand(study(block), [], half)
    own, _ = expand(study(block, scale="proxy"), [], half)
    asked, _ = expand(study(block, scale="proxy"), ["scale=smoke"], half)
    assert [r[0].config.train.steps for r in (usual, own, asked)] == [50_000, 10_000, 200]


def test_a_block_has_a_scale_of_its_own_unless_one_is_asked_for():
    block = {"name": "short", "experiment": ["mnist/bn"], "seed": [0]}
    longer = {**block, "name": "long", "scale": ["paper"]}
    own, _ = expand(study(block, longer, scale="proxy"), [], half)
    assert [r.config.train.steps for r in own] == [10_000, 50_000]
    assert [r.varied for r in own] == [{}, {"scale": "paper"}]
    asked, _ = expand(study(block, longer, scale="proxy"), ["scale=smoke"], half)
    assert [(r.config.train.steps, r.blocks) for r in asked] == [(200, ("short", "long"))]


def chosen(blocks, accuracy):
    runs, whole = expand(study(*blocks), [], accuracy)
    return {(r.config.experiment, r.config.optimizer.lr) for r in runs if r.config.seed == 9}, whole


GRID = {"name": "grid", "experiment": ARMS, "optimizer.lr": [0.1, 1.0], "seed": [0, 1]}
FINAL = {"experiment": ARMS, "optimizer.lr": {"best_of": "grid"}, "seed": [9]}


def test_each_arm_gets_its_own_best_rate_by_the_mean_over_seeds():
    table = {
        ("mnist/baseline", 0.1): (0.90, 0.90),
        ("mnist/baseline", 1.0): (0.95, 0.80),  # the best single run, but the worse mean
        ("mnist/bn", 0.1): (0.90, 0.90),
        ("mnist/bn", 1.0): (0.94, 0.95),
    }

    def accuracy(run):
        return table[run.config.experiment, run.config.optimizer.lr][run.config.seed]

    found, whole = chosen([GRID, FINAL], accuracy)
    assert whole
    assert found == {("mnist/baseline", 0.1), ("mnist/bn", 1.0)}


def test_keys_given_by_one_block_are_chosen_together():
    grid = {**GRID, "experiment": ["mnist/bn"], "model.init_std": [0.1, 1.0]}
    final = {
        "experiment": ["mnist/bn"],
        "optimizer.lr": {"best_of": "grid"},
        "model.init_std": {"best_of": "grid"},
        "seed": [9],
    }
    # Averaged over the other key 0.1 is best, of rates and of scales; in the best cell both are 1.
    table = {(0.1, 0.1): 0.90, (0.1, 1.0): 0.90, (1.0, 0.1): 0.70, (1.0, 1.0): 0.91}

    def accuracy(run):
        return table[run.config.optimizer.lr, run.config.model.init_std]

    runs, whole = expand(study(grid, final), [], accuracy)
    assert whole
    best = [r.config for r in runs if r.config.seed == 9]
    assert [(c.optimizer.lr, c.model.init_std) for c in best] == [(1.0, 1.0)]


def test_at_smoke_scale_a_grid_is_its_corners():
    block = {"experiment": ["mnist/bn"], "optimizer.lr": [0.1, 0.3, 1.0, 3.0], "seed": [4, 5]}
    runs, _ = expand(study(block), ["scale=smoke"], half)
    assert [(r.config.optimizer.lr, r.config.seed) for r in runs] == [(0.1, 4), (3.0, 4)]


def test_at_smoke_scale_a_grid_keeps_what_a_later_block_chooses_from():
    experiment, rates = ["mnist/bn"], {"best_of": "tried"}
    tried = {"name": "tried", "experiment": experiment, "optimizer.lr": [0.1, 0.3, 1.0]}
    tried |= {"model.depth": [1, 2, 3, 4], "seed": [0]}
    final = {"name": "final", "experiment": experiment, "model.depth": [2], "optimizer.lr": rates}
    runs, _ = expand(study(tried, final | {"seed": [1]}), ["scale=smoke"], half)
    found = [(r.varied["model.depth"], r.config.optimizer.lr, r.config.seed) for r in runs]
    assert found == [*((d, lr, 0) for lr in (0.1, 1.0) for d in (1, 2, 4)), (2, 0.1, 1)]


def test_a_title_leaves_out_what_all_runs_share():
    block = {
        "experiment": ["mnist/bn"],
        "optimizer.lr": [0.1, 1.0],
        "data.held_out": [10],
        "seed": [0],
    }
    runs, _ = expand(study(block), [], half)
    assert runs[0].title == "mnist/bn optimizer.lr=0.1 seed 0"
    assert runs[0].varied == {"optimizer.lr": 0.1, "data.held_out": 10}


def test_a_title_tells_a_run_from_those_of_other_blocks():
    same = {"experiment": ["mnist/bn"], "seed": [0]}
    blocks = [same, same | {"optimizer.lr": [0.3]}, same | {"model.depth": [5]}]
    runs, _ = expand(study(*blocks), [], half)
    assert [run.title for run in runs] == [
        "mnist/bn seed 0",
        "mnist/bn optimizer.lr=0.3 seed 0",
        "mnist/bn model.depth=5 seed 0",
    ]


def test_a_block_waits_for_the_runs_it_is_chosen_from():
    found, whole = chosen([GRID, FINAL], lambda run: None if run.config.seed == 1 else 0.5)
    assert not whole
    assert not found


def test_what_a_study_sweeps_cannot_be_set_beside_it():
    with pytest.raises(ValueError, match="optimizer.lr: study test sweeps this key itself"):
        expand(study(GRID), ["optimizer.lr=3"], half)
    with pytest.raises(ValueError, match="study.seeds=N"):
        expand(study(GRID), ["seed=3"], half)


def test_the_engine_of_a_block_stands_beside_the_one_that_is_typed():
    own = {"experiment": ["mnist/bn"], "train.engine": ["eager"], "seed": [5]}
    runs, _ = expand(study(own, own | {"seed": [6]}, GRID), ["train.engine=graphed"], half)
    assert [run.config.train.engine for run in runs[:3]] == ["eager", "eager", "graphed"]
    assert runs[0].varied == {}  # as the engine is no part of the run's id
    with pytest.raises(ValueError, match=r"train\.engine: study test sweeps this key itself"):
        expand(study(own), ["train.engine=graphed"], half)


def test_two_blocks_may_not_ask_for_one_run_by_two_engines():
    own = {"experiment": ["mnist/bn"], "train.engine": ["eager"], "seed": [0, 5]}
    with pytest.raises(ValueError, match=r"mnist/bn .*seed 0, by the engines eager and graphed"):
        expand(study(own, own | {"train.engine": ["graphed"], "seed": [0]}), [], half)


def test_committed_rows_stand_in_for_missing_runs(tmp_path):
    runs, _ = expand(study(GRID), [f"runs={tmp_path}"], half)
    experiment, run_id, seed = runs[0].key
    table = tmp_path / "runs.csv"
    table.write_text(
        "experiment,id,seed,state,final_top1\n"
        f"{experiment},{run_id},{seed},completed,0.75\n"
        f"{experiment},{run_id},{seed + 1},diverged,\n"
    )
    accuracy = accuracy_or_reported(rows_of(table))
    by_key = {r.key: accuracy(r) for r in runs}
    assert by_key[experiment, run_id, seed] == 0.75
    assert by_key[experiment, run_id, seed + 1] == 0.0
    assert by_key[runs[-1].key] is None


def test_a_run_by_its_number_is_that_of_the_study():
    blocks = [{"experiment": ["mnist/baseline", "mnist/bn"], "seed": [0, 1]}]
    asked = study(*blocks)
    runs, _ = expand(asked, [], lambda run: None)
    assert [numbered(replace(asked, run=n), []).key for n in range(4)] == [r.key for r in runs]
    with pytest.raises(ValueError, match=r"^study\.run: 4, but study test has 4 runs"):
        numbered(replace(asked, run=4), [])


def test_the_array_of_paper_sbatch_is_the_whole_of_figure_3():
    runs, _ = expand(compose(["study=fig3"]).study, ["scale=paper"], lambda run: None)
    assert f"#SBATCH --array=0-{len(runs) - 1}\n" in (ROOT / "scripts/paper.sbatch").read_text()


def test_a_task_of_the_array_queues_itself_again_and_no_other(tmp_path):
    """The bare job id would mean the whole array, for one of its tasks."""
    for name, lines in (("scontrol", 'echo "$@" > asked'), ("python", "exit 75")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{lines}\n")
        (tmp_path / name).chmod(0o755)
    job = {"SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "31"}
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHON": str(tmp_path / "python")}
    environment = {**os.environ, **job, **path, "SLURM_SUBMIT_DIR": str(tmp_path)}
    script = ["bash", str(ROOT / "scripts/paper.sbatch")]
    assert subprocess.run(script, env=environment).returncode == 75
    assert (tmp_path / "asked").read_text() == "requeue 7_31\n"
