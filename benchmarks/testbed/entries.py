# SPDX-License-Identifier: Apache-2.0
"""What the testbed is made of: model definitions, their sizes, and the settings that each is read in.

A setting is short text: ``b8-s128`` is eight texts of 128 tokens, ``b1-decode-c1024`` one step from a cache of 1,024.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Entry", "Family", "expand", "options_of"]


@dataclass(frozen=True)
class Entry:
    """One graph to make.

    Attributes
    ----------
    area, model, setting
        Its name is the three joined by slashes.
    kind
        ``config`` (a configuration of transformers), ``module`` (a network of benchmarks/testbed/nets*.py)
        or ``onnx`` (a model that the onnx package brings).
    source
        The configuration, the arguments of the network, or the file's name.
    options
        How it is read.
    effort
        About how many layers there are to trace: small ones are made first.
    """

    area: str
    model: str
    setting: str
    kind: str
    source: Mapping[str, Any]
    options: Mapping[str, Any]
    effort: float

    @property
    def name(self) -> str:
        """The entry's unique name."""
        return f"{self.area}/{self.model}/{self.setting}"


@dataclass(frozen=True)
class Family:
    """Sizes of one architecture.

    Attributes
    ----------
    area, type
        Field of use, and the type's name as transformers has it.
    sizes
        What differs from the common part, by size.
    settings
        Space-separated; each makes one graph of each size.
    common
        Keys of the configuration of all sizes.
    dtype
        Element type of the weights; float32 by default.
    few
        Settings of sizes whose effort is over `few_above`.
    """

    area: str
    type: str
    sizes: Mapping[str, Mapping[str, Any]]
    settings: str
    common: Mapping[str, Any] = field(default_factory=dict)
    dtype: str | None = None


def options_of(setting: str) -> dict[str, Any]:
    """Return the options of reading that a setting stands for."""
    found: dict[str, Any] = {}
    keys = {"b": "batch", "s": "sequence", "c": "cache"}
    for part in setting.split("-"):
        if part == "decode":
            found["phase"] = part
        elif part[:1] in keys and part[1:].isdigit():
            found[keys[part[0]]] = int(part[1:])
        else:
            raise ValueError(
                f"setting '{setting}': expected b8, s128, c1024 or decode, got '{part}'"
            )
    return found


def layers_of(config: Mapping[str, Any]) -> float:
    """Return about how many layers a configuration has, 12 where it does not say."""
    own = 0.0
    for key, value in config.items():
        if key in _LAYERS and isinstance(value, int):
            own += value
        elif key == "depths" and isinstance(value, list):
            own += 0.7 * sum(value)
        elif key.endswith("_config") and isinstance(value, dict):
            own += layers_of(value)
    return own or 12.0


_LAYERS = frozenset(
    [
        "num_hidden_layers",
        "n_layer",
        "n_layers",
        "num_layers",
        "num_decoder_layers",
        "encoder_layers",
        "decoder_layers",
    ]
)


def expand(families: tuple[Family, ...]) -> Iterator[Entry]:
    """Yield the entries of families of configurations."""
    for family in families:
        for size, sizes in family.sizes.items():
            config = {"model_type": family.type, **family.common, **sizes}
            for setting in family.settings.split():
                options = options_of(setting)
                if family.dtype:
                    options["dtype"] = family.dtype
                model = f"{family.type}-{size}" if size else family.type
                yield Entry(
                    family.area, model, setting, "config", config, options, layers_of(config)
                )
