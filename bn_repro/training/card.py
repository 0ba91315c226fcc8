"""The model card of an exported network, in Markdown."""

from __future__ import annotations

from typing import Any

import yaml

NETWORKS = {
    "mlp": "The network of section 4.1",
    "inception": "Inception (Figure 5)",
    "recurrent": "A recurrent network (sec. 5)",
}
CARD = """\
# {experiment}, seed {seed}

{what} trained for {step:,} steps on {data_name}, by bn_repro {bn_repro}, a reproduction of Ioffe &
Szegedy 2015, *Batch Normalization* ([arXiv 1502.03167v3](https://arxiv.org/abs/1502.03167v3)).

```python
import bn_repro

network, config = bn_repro.load("{file}")
```

- **Weights.** {parameters:,} parameters; from (N, {shape}) to the logits of {classes} classes.
- **Data.** {data_name}, fingerprint `{data}`.
- **The data's licence.** {licence}
- **Commit.** {commit}{dirty}.

## Accuracy at the last step

| split | BN normalizes by | top-1 | loss |
| --- | --- | --- | --- |
{accuracy}

## Configuration

```yaml
{configuration}```
"""


def card(header: dict[str, Any], file: str, parameters: int) -> str:
    """The card of ``file``, of whose ``header`` it tells everything in words."""
    configuration = header["configuration"]
    model, data = configuration["model"]["name"], configuration["data"]["name"]
    rows = [
        f"| {row['split']} | {row['statistics']} | {_number(row['top1'], 100, 1)} % "
        f"| {_number(row['loss'], 1, 4)} |"
        for row in header["accuracy"]
    ]
    values = header | {
        "what": NETWORKS[model],
        "experiment": configuration["experiment"],
        "seed": configuration["seed"],
        "data_name": data,
        "shape": ", ".join(map(str, header["shape"])),
        "commit": f"`{header['commit']}`" if header["commit"] else "not known",
        "dirty": ", with changes that were not committed" if header["dirty"] else "",
        "accuracy": "\n".join(rows),
        "configuration": yaml.safe_dump(configuration, sort_keys=False),
    }
    return CARD.format(**values, file=file, parameters=parameters)


def _number(value: float | None, factor: float, digits: int) -> str:
    return "not finite" if value is None else f"{factor * value:.{digits}f}"
