"""From the YAML files and what the user typed to dataclasses; Hydra and OmegaConf end here."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from omegaconf import DictConfig, OmegaConf

from bn_repro.config.fields import from_environment
from bn_repro.config.schema import FROM_ENVIRONMENT, KINDS, SECTIONS, SETTINGS, Composed, Config
from bn_repro.records.paths import CONFIGS

GROUPS = ("experiment", "scale", "data", "wandb", "study")
OWN_CONFIGS = "BN_REPRO_OWN_CONFIGS"
"""Has the folder of ``--config-dir``, for processes that a command starts."""


def _schema() -> DictConfig:
    """All keys with their defaults; some look into the environment when they are resolved."""
    schema = OmegaConf.structured(Composed)
    for key in FROM_ENVIRONMENT:
        OmegaConf.update(schema, key, f"${{environment:{key}}}")
    return schema


ConfigStore.instance().store(name="schema", node=_schema())
OmegaConf.register_new_resolver(
    "environment", lambda key: from_environment(key) or SETTINGS[key].default
)
OmegaConf.register_new_resolver(
    # ``${times:30,${optimizer.r0}}``, as one writes it: of 0.03 it is 0.9, not 0.8999999999999999.
    "times",
    lambda factor, value: float(f"{factor * value:.12g}"),
)
OmegaConf.register_new_resolver(
    # ``${only:synthetic,8}``: 8 where that is the section's ``name``, else null.
    "only",
    lambda name, value, *, _parent_: value if _parent_["name"] == name else None,
)


def plain(composed: DictConfig, overrides: Sequence[str]) -> Config:
    """The composed configuration as dataclasses; ``overrides`` are what the user typed for it.

    Of the model and the data set it has the settings of those that are chosen. What only a scale
    or an experiment set for another is dropped. ValueError names a key that the user typed and
    that the chosen one does not have, one that does not exist, and a value that cannot be.

    Without an experiment nothing is chosen yet, and both are the default ones: the overrides are
    judged when a study's runs are composed.
    """
    typed = set(_keys_of(parsed(overrides)))
    values: dict[str, Any] = OmegaConf.to_container(  # pyright: ignore
        composed, resolve=True, throw_on_missing=True
    )
    _refuse_unknown(values)
    for name, kind in SECTIONS.items():
        if name not in KINDS:
            values[name] = kind(**values[name])
        elif values["experiment"]:
            values[name] = _chosen(name, values[name], typed)
        else:
            del values[name]
    _refuse_idle(values, typed)
    return Config(**values)


def parsed(words: Sequence[str]) -> list[Override]:
    """The words by Hydra's grammar; ValueError for a ``~key``, which would leave its section out or
    at the defaults of another experiment."""
    overrides = [_parsed(word) for word in words]
    for override in overrides:
        if override.is_delete():
            raise ValueError(
                f"{override.input_line}: nothing can be taken out of a configuration; "
                "give other values"
            )
    return overrides


def _refuse_idle(values: Mapping[str, Any], typed: set[str]) -> None:
    """ValueError for a typed value, not the default, of a key that has no effect beside others."""
    if not values["experiment"]:
        return
    idle: dict[str, str] = {}
    if values["model"].name != "inception":
        idle["optimizer.r0"] = "model.name is not inception"
    if values["optimizer"].decay_every is None:
        idle |= dict.fromkeys(IDLE_WITHOUT_DECAY, "optimizer.decay_every is null")
    for key in sorted(typed & idle.keys()):
        section, _, name = key.partition(".")
        value, usual = getattr(values[section], name), getattr(SECTIONS[section](), name)
        if value != usual:
            raise ValueError(
                f"{key}: has no effect where {idle[key]}; leave it at {usual}, not {value}"
            )


IDLE_WITHOUT_DECAY = ("optimizer.decay_rate", "optimizer.decay_speed", "train.paper_steps")


def _refuse_unknown(values: Mapping[str, Any]) -> None:
    """Hydra lets ``+key=value`` add what the schema does not have; it would be ignored."""
    for section, value in values.items():
        keys = [f"{section}.{key}" for key in value] if section in SECTIONS else [section]
        for key in keys:
            if key not in SETTINGS:
                raise ValueError(no_such_key(key))


def no_such_key(key: str) -> str:
    """What to say of a key that there is not: which was meant, perhaps."""
    section, dot, name = key.rpartition(".")
    inside = [k.rpartition(".")[2] for k in SETTINGS if dot and k.rpartition(".")[0] == section]
    if inside:
        closest = near(name, inside)
        has = f"{section} has {', '.join(inside)}"
        return f"{key}: no such key; {f'did you mean {section}.{closest}?' if closest else has}"
    same = next((k for k in SETTINGS if k.endswith(f".{name}")), None)
    closest = same or near(key, SETTINGS)
    meant = f" did you mean {closest}?" if closest else ""
    return f"{key}: no such key;{meant} --help lists the main ones, --cfg job all"


def near(word: str, known: Iterable[str]) -> str | None:
    """The one of ``known`` that is nearest to ``word``, if any is."""
    return next(iter(get_close_matches(word, known, n=1, cutoff=0.7)), None)


def quoted(value: str) -> str:
    """A text in quotes, for Hydra's grammar: ``"a=b"``."""
    return QuotedString(value, Quote.double).with_quotes()


def _keys_of(overrides: Sequence[Override]) -> Iterator[str]:
    for override in overrides:
        key, value = override.key_or_group, override.value()
        if isinstance(value, dict):
            yield from (f"{key}.{name}" for name in value)
        else:
            yield key


def _chosen(section: str, values: Mapping[str, Any], typed: set[str]) -> Any:
    """The section as the dataclass that its ``name`` chooses."""
    name, kinds = values["name"], KINDS[section]
    if name not in kinds:
        raise ValueError(f"{section}.name: {name!r} is not one of {', '.join(kinds)}")
    own = [f.name for f in fields(kinds[name])]
    for key in values:
        if key not in own and f"{section}.{key}" in typed:
            raise ValueError(f"{section}.{key}: {name} has no such key; it has {', '.join(own)}")
    return kinds[name](**{key: values[key] for key in own})


def compose(overrides: Sequence[str], primary: str = "config") -> Config:
    """The configuration that ``bn-repro train <overrides>`` would run; Hydra begins with the file
    ``primary``.

    Hydra composes once for each choice of groups, which takes a tenth of a second; plain keys are
    then set as it sets them itself. That takes 25 to 50 ms a call: see :func:`compose_once`.
    """
    return plain(_unresolved(overrides, primary), overrides)


def compose_once(overrides: Sequence[str], primary: str = "config") -> Config:
    """As :func:`compose`, once for all seeds of a setting, of which 500 would take 20 seconds; for
    each where a key names ``${seed}``."""
    words = tuple(overrides)
    seeds = [word for word in words if word.startswith("seed=")]
    if len(seeds) == 1 and (seed := seeds[0].removeprefix("seed=")).isdecimal():
        setting = tuple(word for word in words if word != seeds[0])
        if config := _of_any_seed(setting, primary):
            return replace(config, seed=int(seed))
    return _once(words, primary)


@lru_cache(maxsize=4096)
def _of_any_seed(setting: tuple[str, ...], primary: str) -> Config | None:
    """The configuration of a setting; None where a key names the seed."""
    composed = _unresolved(setting, primary)
    names_it = re.search(r"\$\{[^}]*seed", str(OmegaConf.to_container(composed)))
    return None if names_it else plain(composed, setting)


_once = lru_cache(maxsize=4096)(compose)


def _unresolved(overrides: Sequence[str], primary: str) -> DictConfig:
    words = parsed(overrides)
    keys = [override for override in words if _is_plain_key(override)]
    groups = tuple(str(override.input_line) for override in words if override not in keys)
    composed = copy.deepcopy(_composed(groups, primary))
    for override in keys:
        OmegaConf.update(composed, override.key_or_group, override.value(), merge=True)
    return composed


def _is_plain_key(override: Override) -> bool:
    added = override.is_add() or override.is_force_add()
    other = added or override.is_delete() or override.is_sweep_override()
    key = override.key_or_group
    group = key.split("/")[0] in GROUPS or key.startswith("hydra")
    return not (other or group or override.package is not None)


@lru_cache(maxsize=1024)
def _parsed(override: str) -> Override:
    return OverridesParser.create().parse_overrides([override])[0]


@lru_cache(maxsize=256)
def _composed(groups: tuple[str, ...], primary: str) -> DictConfig:
    if GlobalHydra.instance().is_initialized():
        return hydra.compose(primary, overrides=list(groups))
    own = os.environ.get(OWN_CONFIGS)
    search = [f"hydra.searchpath=[{quoted(f'file://{own}')}]"] if own else []
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return hydra.compose(primary, overrides=[*groups, *search])
