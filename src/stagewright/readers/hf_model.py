# SPDX-License-Identifier: Apache-2.0
"""Configurations of Hugging Face transformers to cost graphs; nothing is downloaded, no weight exists.

A configuration names its class; the model is built on the meta device, where tensors have shapes and no
memory, and traced at the batch, sequence length and phase asked for.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..errors import InputError, MissingDependencyError, ModelError

if TYPE_CHECKING:
    from ..graph import CostGraph

__all__ = [
    "DTYPES",
    "PHASES",
    "ExportedModel",
    "build_model",
    "export_config",
    "load_config",
    "read_config",
]

PHASES: Final = ("prefill", "decode")
DTYPES: Final = ("float32", "float16", "bfloat16", "float64")
_LARGEST_FILE: Final = 16 << 20

_AUTO: Final = (
    "AutoModelForImageClassification",
    "AutoModelForObjectDetection",
    "AutoModelForSemanticSegmentation",
    "AutoModelForMaskedLM",
    "AutoModelForCTC",
    "AutoModelForCausalLM",
    "AutoModel",
)
"""Where the class is looked up when a configuration names none: the first that knows the type."""

_AUTO_TWO_PARTS: Final = ("AutoModelForSeq2SeqLM", "AutoModelForSpeechSeq2Seq")


def read_config(
    path: str | Path,
    *,
    batch: int = 1,
    sequence: int | None = None,
    phase: str = "prefill",
    cache: int | None = None,
    dtype: str | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    replicate: bool = True,
) -> CostGraph:
    """Read a model's configuration.

    Parameters
    ----------
    path
        A ``config.json``, or the folder that holds it.
    batch
        Inputs at once.
    sequence
        Tokens of each; the model's longest, at most 512, by default.
    phase
        ``prefill``: the whole sequence at once, without a cache.  ``decode``: one step that makes one token
        from a cache of `cache` tokens.
    cache
        Tokens in the cache (decode only).
    dtype
        Element type of the weights; the configuration's, else float32, by default.
    shapes
        Shapes of inputs by name, such as ``pixel_values``, where others than the usual are wanted.
    replicate
        Mark masks, position tables and their like as replicable.

    Raises
    ------
    InputError
        If an option or the configuration cannot be used.
    ModelError
        If the model cannot be built or exported.
    MissingDependencyError
        If torch or transformers is not installed.
    """
    found = export_config(
        path,
        batch=batch,
        sequence=sequence,
        phase=phase,
        cache=cache,
        dtype=dtype,
        shapes=shapes,
    )
    from .torch_program import read_program

    with _offline():
        return read_program(
            found.program,
            name=found.name,
            item=f"{path} ({found.name})",
            resident=found.resident,
            prefix=found.prefix,
            replicate=replicate,
        )


@dataclass(frozen=True)
class ExportedModel:
    """The program of a configuration.

    Attributes
    ----------
    program
        What ``torch.export.export`` made; its tensors are on the meta device.
    name
        Class and phase.
    resident, prefix
        As :func:`.torch_program.read_program` takes them.
    """

    program: Any
    name: str
    resident: Sequence[str]
    prefix: str


def export_config(
    path: str | Path,
    *,
    batch: int = 1,
    sequence: int | None = None,
    phase: str = "prefill",
    cache: int | None = None,
    dtype: str | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> ExportedModel:
    """Export the model of a configuration; parameters and errors as for :func:`read_config`."""
    _check(batch, sequence, phase, cache, dtype)
    config = load_config(path)
    with _offline():
        import torch

        from .hf_decode import decode_step
        from .hf_inputs import example_inputs
        from .torch_export import export_module

        model = build_model(config, str(path), dtype)
        name = f"{type(model).__name__} {phase}"
        length = sequence_of(config, sequence)
        with torch.no_grad():
            if phase == "decode":
                cached = cache if cache is not None else length
                module, inputs, resident = decode_step(model, batch, length, cached, str(path))
            else:
                module, resident = model, []
                _make_no_cache(model.config)
                inputs = example_inputs(model, batch, length, dict(shapes or {}), str(path))
        program = export_module(module, (), inputs, item=f"{path} ({name})")
        return ExportedModel(program, name, resident, "inner" if phase == "decode" else "")


def _make_no_cache(config: Any) -> None:
    """Say in the configuration that no cache is wanted: some models' ``forward`` takes no such option."""
    for part in (config, config.get_text_config()):
        if hasattr(part, "use_cache"):
            part.use_cache = False


def _check(
    batch: int, sequence: int | None, phase: str, cache: int | None, dtype: str | None
) -> None:
    for option, value in (("batch", batch), ("sequence", sequence), ("cache", cache)):
        if value is not None and value < 1:
            raise InputError(option, "a whole number >= 1", str(value))
    if phase not in PHASES:
        raise InputError("phase", " or ".join(PHASES), repr(phase))
    if cache is not None and phase != "decode":
        raise InputError(
            "cache", "none for the prefill, which fills it", str(cache), "Ask for phase decode."
        )
    if dtype is not None and dtype not in DTYPES:
        raise InputError("dtype", f"one of {', '.join(DTYPES)}", repr(dtype))


@contextmanager
def _offline() -> Iterator[None]:
    """Forbid downloads and silence what transformers says about itself."""
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
        os.environ[variable] = "1"
    import transformers

    transformers.logging.set_verbosity(transformers.logging.CRITICAL)
    yield


def load_config(path: str | Path) -> Any:
    """Return the configuration object of a ``config.json`` or its folder.

    Raises
    ------
    InputError, MissingDependencyError
    """
    import importlib.util

    for package, extra in (("torch", "torch"), ("transformers", "hf")):
        if importlib.util.find_spec(package) is None:
            raise MissingDependencyError(package, extra, "reading a Hugging Face configuration")
    path = Path(path)
    file = path / "config.json" if path.is_dir() else path
    content = _content(file)
    kind = content.get("model_type")
    if not isinstance(kind, str):
        raise InputError(
            f"{file}: model_type", "a type that transformers knows", repr(kind), "Add it."
        )
    with _offline():
        import transformers
        from transformers.models.auto.configuration_auto import CONFIG_MAPPING

        if kind not in CONFIG_MAPPING:
            remedy = (
                "Code that comes with a model is not run: export the model and read the .pt2 file."
                if "auto_map" in content
                else "Update transformers, or export the model and read the .pt2 file."
            )
            raise InputError(
                f"{file}: model_type",
                f"a type that transformers {transformers.__version__} knows",
                f"'{kind}'",
                remedy,
            )
        try:
            return CONFIG_MAPPING[kind].from_dict(content)
        except Exception as error:  # noqa: BLE001 - configurations check themselves in many ways
            text = " ".join(str(error).split())[:300]
            raise InputError(
                str(file), f"a configuration of '{kind}'", f"{type(error).__name__}: {text}"
            ) from None


def _content(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > _LARGEST_FILE:
            raise InputError(str(file), "a configuration of at most 16 MiB", "a larger file")
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            str(file), "a readable config.json", error.strerror or str(error)
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(str(file), "JSON", str(error)) from None
    if not isinstance(content, dict):
        raise InputError(str(file), "a JSON object", type(content).__name__)
    return content


def build_model(config: Any, item: str, dtype: str | None) -> Any:
    """Return the model of a configuration on the meta device, ready for inference.

    Raises
    ------
    InputError
        If transformers has no class for it.
    ModelError
        If the class cannot be built from it.
    """
    import torch

    kind = getattr(torch, dtype) if dtype else _own_dtype(config)
    found = _class_of(config, item)
    try:
        with torch.device("meta"):
            model = found._from_config(config, dtype=kind)
    except ImportError as error:
        text = " ".join(str(error).split())[:300]
        raise ModelError(f"{item}: {found.__name__}", "its libraries installed", text) from None
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        raise ModelError(
            f"{item}: {found.__name__}",
            "a configuration that it can be built from",
            f"{type(error).__name__}: {text}",
        ) from error
    return model.to("meta").eval()


def _own_dtype(config: Any) -> Any:
    import torch

    own = getattr(config, "dtype", None)
    own = getattr(torch, own, None) if isinstance(own, str) else own
    return own if isinstance(own, torch.dtype) and own.is_floating_point else torch.float32


def _class_of(config: Any, item: str) -> Any:
    import transformers

    named = getattr(config, "architectures", None) or []
    for name in named:
        found = getattr(transformers, name, None)
        if found is not None:
            return found
    if named:
        raise InputError(
            f"{item}: architectures",
            f"a class that transformers {transformers.__version__} has",
            ", ".join(map(str, named)),
            "Correct it, or leave it out to take the usual class of the model's type.",
        )
    two_towers = hasattr(config, "text_config") and hasattr(config, "vision_config")
    order = ("AutoModel",) if two_towers else _AUTO
    if getattr(config, "is_encoder_decoder", False):
        order = (*_AUTO_TWO_PARTS, *order)
    for name in order:
        mapping = getattr(transformers, name)._model_mapping
        if type(config) in mapping:
            found = mapping[type(config)]
            return found[0] if isinstance(found, tuple) else found
    raise InputError(
        f"{item}: architectures", "the class to build", "none", "Name it in the configuration."
    )


def sequence_of(config: Any, sequence: int | None) -> int:
    """Return the tokens to read: those asked for, else the longest the model takes up to 512."""
    if sequence is not None:
        return sequence
    text = config.get_text_config()
    names = ("max_position_embeddings", "n_positions", "max_target_positions", "seq_length")
    limits = [getattr(text, name, None) for name in names]
    return min([512, *(n for n in limits if isinstance(n, int) and n > 0)])
