"""From what a run stored of its configuration back to dataclasses, without Hydra."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from bn_repro.config.schema import KINDS, SECTIONS, SETTINGS, Config

OF_A_RUN = ("model", "data", "optimizer", "train")
"""The sections that say what a run is."""


def stored(values: Mapping[str, Any]) -> Config:
    """The configuration that ``config.yaml`` holds, as far as it says what a run is.

    Older files have the keys of all models and data sets: those of another than the run's are left
    out. ValueError where a key or a value is none of this version's.
    """
    sections = {name: _section(name, values.get(name) or {}) for name in OF_A_RUN}
    own = {name: values[name] for name in ("experiment", "seed", "scale") if name in values}
    return Config(**own, **sections)


def _section(section: str, values: Mapping[str, Any]) -> Any:
    try:
        kinds, name = KINDS.get(section, {}), values.get("name", "")
        if kinds and name not in kinds:
            raise ValueError(f"{section}.name: {name!r} is not one of {', '.join(kinds)}")
        kind = kinds[name] if kinds else SECTIONS[section]
        for key in values:
            if f"{section}.{key}" not in SETTINGS:
                raise ValueError(
                    f"{section}.{key}: no key of this version; take the run's own version"
                )
        own = {f.name for f in fields(kind)}
        return kind(**{key: value for key, value in values.items() if key in own})
    except (TypeError, AttributeError) as error:  # a value of another type, which no rule expects
        raise ValueError(
            f"{section}: a value is of another type than its key's ({error})"
        ) from None
