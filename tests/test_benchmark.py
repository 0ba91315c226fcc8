"""The benchmark's own arithmetic, and that its parts run; what they measure is not judged here."""

import importlib
import re
import runpy

import pytest
import torch
from support import ROOT
from torch import nn

BENCHMARK = runpy.run_path(str(ROOT / "scripts" / "benchmark.py"))


def test_the_least_work_of_a_layer():
    """Two products of its size, for there is no gradient of its input; x, W and W's gradient."""
    model, x = nn.Linear(4, 3, bias=False), torch.randn(5, 4)
    flops, traffic = BENCHMARK["least_work"](model, lambda: model(x).sum().backward())
    assert flops == 2 * (2 * 5 * 4 * 3)
    assert traffic == 2 * x.nbytes + 8 * model.weight.nbytes


def test_the_part_for_a_gpu_runs_on_what_there_is():
    (row,) = BENCHMARK["gpu"](1, device="cpu", sizes=(32,), batches=(4,), width=0.125)
    assert row[0] == "Inception on cpu at 32, batch 4"
    found = re.fullmatch(r"([\d.]+), ([\d.]+) % of the roofline", row[3])
    assert found is not None
    ratio, share = map(float, found.groups())
    assert ratio == 1.0  # both are eager there
    assert 0 <= share < 100


def test_without_a_gpu_it_is_told():
    assert BENCHMARK["gpu"](1) == [("GPU", "none here", "", "")]


@pytest.fixture
def runs(monkeypatch):
    """The names in ``benchmark_runs.py``, which finds its sibling as it does when it is run."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return runpy.run_path(str(ROOT / "scripts" / "benchmark_runs.py"))


def test_the_costs_of_a_run_are_ratios_to_its_products_in_a_table(runs):
    rows = list(runs["of_steps"](1, 101))
    found = {name: value for name, value, *_ in rows}
    for part in ("a run", "a run, train.engine=eager", "a plain PyTorch loop"):
        ratio = found[f"a step: {part}"] / found["a step: its matrix products alone"]
        assert found[f"{part} / products"] == pytest.approx(ratio)
    table = runs["page"](rows, 1, 101)
    assert table.count(" |\n") == len(rows) + 1  # its head
    assert "| a run / products | " in table


def test_the_loader_is_a_ratio_to_pillow(runs, monkeypatch):
    other_parts = "bn_repro.data.streaming.StreamedImages.train_batches"
    monkeypatch.setattr(other_parts, lambda *a, **k: pytest.fail("not asked for"))
    rows = {name: value for name, value, *_ in runs["of_the_loader"](1)}
    loader = rows["streaming photographs at 224, a worker's part, a core"]
    assert rows["streaming / Pillow"] == pytest.approx(loader / rows["the same by Pillow alone"])


def test_a_job_that_fails_beside_others_ends_the_benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    photographs = importlib.import_module("benchmark_photographs")
    network = photographs.words("imagenet/bn_x5", 0.25, "[3b,5b]", "cpu")
    with pytest.raises(ValueError, match="^model.width: -1.0 is not positive"):
        photographs.at_once(2, [*network, "model.width=-1"], "eager", 1)


def test_a_sweep_is_timed_one_at_a_time_and_several_at_once(runs):
    one, two, ratio = runs["of_cores"](1, 2, 2)
    assert one[0] == "a sweep of 4 runs of 2 steps, 1 at once"
    assert two[0] == "a sweep of 4 runs of 2 steps, 2 at once"
    assert ratio[1] == pytest.approx(one[1] / two[1])


def test_a_sweep_of_finished_runs_is_asked_for_again(runs):
    ((name, seconds, unit, bar),) = runs["of_a_finished_sweep"](1, 3)
    assert (name, unit, bar) == ("a sweep of 3 finished runs asked for again", "s", "under 3")
    assert seconds > 0


def test_how_costs_grow_is_measured_and_drawn(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import benchmark_scaling as scaling  # pyright: ignore[reportMissingImports]

    monkeypatch.setattr(scaling, "SECONDS", 0.0)
    monkeypatch.setattr(scaling, "VARIED", {"width": (25,), "depth": (1,), "mini-batch": (15,)})
    monkeypatch.setattr(scaling, "SIZES", (32,))
    monkeypatch.setattr(scaling, "WIDTHS", (0.125,))
    rows = [*scaling.of_mnist(1), *scaling.of_inception(1)]
    assert {row.what for row in rows} == {"products", "by_hand", "eager"}
    assert all(row.microseconds > 0 for row in rows)
    assert all(row.relative == 1 for row in rows if row.what == "products")
    assert all(0 < row.relative < 1 for row in rows if row.network.startswith("imagenet"))
    scaling.draw(rows).savefig(tmp_path / "scaling.png")
