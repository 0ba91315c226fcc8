"""docs/norm.md at its word."""

import re

import torch
from support import ROOT

PAGE = (ROOT / "docs" / "norm.md").read_text()


def test_the_code_of_the_page_runs_from_top_to_bottom():
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
    assert len(blocks) == PAGE.count("```") / 2
    with torch.random.fork_rng():
        torch.manual_seed(0)
        names: dict[str, object] = {}
        for block in blocks:
            exec(block, names)
