# SPDX-License-Identifier: Apache-2.0
"""One decode step of a transformers model: one token per sequence, and a cache that stays on its device.

What the cache looks like is the model's own business (windows, latent attention, recurrent states), so
a prefill on fake tensors fills one; the tensors found in it become inputs of the step.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ..errors import InputError, ModelError
from .hf_inputs import example_inputs, takes

__all__ = ["decode_step"]


class _Step(torch.nn.Module):  # type: ignore[misc]  # torch is skipped by the type checker
    """A model whose cache is given and returned as plain tensors.

    Parameters
    ----------
    inner
        The model.
    cache
        A cache whose tensors are replaced by those given.
    encoded
        Class of the encoder's output, None without an encoder.
    """

    def __init__(self, inner: Any, cache: Any, encoded: Any) -> None:
        super().__init__()
        self.inner, self._cache, self._encoded = inner, [cache], encoded

    def forward(self, state: Any, encoded: Any = None, **inputs: Any) -> Any:
        cache = _filled(self._cache[0], iter(state))
        if encoded is not None:
            inputs["encoder_outputs"] = self._encoded(last_hidden_state=encoded)
        output = self.inner(**inputs, past_key_values=cache, use_cache=True)
        return output.logits, _tensors(output.past_key_values)


def decode_step(
    model: Any, batch: int, sequence: int, cache: int, item: str
) -> tuple[Any, dict[str, Any], list[str]]:
    """Return a module, its inputs, and the names of those inputs that are the cache.

    Parameters
    ----------
    sequence
        Tokens that an encoder has read.
    cache
        Tokens in the cache.

    Raises
    ------
    InputError
        If the model has no cache.
    ModelError
        If its prefill fails on fake tensors.
    """
    names = takes(model)
    if "past_key_values" not in names:
        raise InputError(
            f"{item}: phase",
            "prefill, since the model has no key-value cache",
            "decode",
            f"{type(model).__name__} does not generate token by token.",
        )
    inputs = example_inputs(model, batch, cache, {}, item)
    inputs.pop("attention_mask", None)
    inputs["use_cache"] = True
    two_parts = "decoder_input_ids" in inputs
    if two_parts and "input_ids" in inputs:
        inputs["input_ids"] = inputs["input_ids"].new_empty((batch, sequence))
    output = _prefill(model, inputs, item)
    past = getattr(output, "past_key_values", None)
    if past is None:
        raise InputError(f"{item}: phase", "prefill, since the model keeps no cache", "decode")
    state = _tensors(past)
    token = torch.empty((batch, 1), dtype=torch.int64, device="meta")
    step: dict[str, Any] = {"state": state}
    kind = None
    if two_parts:
        from transformers.modeling_outputs import BaseModelOutput

        kind = BaseModelOutput
        step["encoded"] = output.encoder_last_hidden_state
        step["decoder_input_ids"] = token
    else:
        step["input_ids"] = token
        if "attention_mask" in names:
            step["attention_mask"] = token.new_empty((batch, cache + 1))
    resident = [f"state_{i}" for i in range(len(state))] + (["encoded"] if two_parts else [])
    return _Step(model, past, kind), step, resident


def _prefill(model: Any, inputs: dict[str, Any], item: str) -> Any:
    """Run the model on fake tensors, and hand out what it returns as tensors on the meta device."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils._pytree import tree_map

    from .torch_export import first_cause

    mode = FakeTensorMode(allow_non_fake_inputs=True)
    fake = {k: mode.from_tensor(v) if isinstance(v, torch.Tensor) else v for k, v in inputs.items()}
    try:
        with mode, torch.device("meta"), _plain_experts(model):
            output = model(**fake)
    except Exception as error:
        raise first_cause(error, model, f"{item}: prefill of the cache") from error
    plain = tree_map(_plain, dict(output))
    for name, value in plain.items():
        output[name] = value
    past = output.get("past_key_values")
    if past is not None:
        output["past_key_values"] = _filled(past, (_plain(t) for t in _tensors(past)))
    return output


@contextmanager
def _plain_experts(model: Any) -> Iterator[None]:
    """Let experts run as plain batched products: outside of an export the grouped ones are picky."""
    used = model.get_experts_implementation()
    if not model._can_set_experts_implementation():
        yield
        return
    model.set_experts_implementation("batched_mm")
    try:
        yield
    finally:
        model.set_experts_implementation(used)


def _plain(value: Any) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")


def _tensors(value: Any) -> list[Any]:
    """Return the tensors inside a cache, in a fixed order."""
    found: list[Any] = []
    _visit(value, found.append)
    return found


def _visit(value: Any, see: Any) -> None:
    if isinstance(value, torch.Tensor):
        see(value)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _visit(inner, see)
    elif isinstance(value, dict):
        for inner in value.values():
            _visit(inner, see)
    elif _is_cache(value):
        for inner in vars(value).values():
            _visit(inner, see)


def _is_cache(value: Any) -> bool:
    return (
        type(value).__module__.startswith("transformers.")
        and hasattr(value, "__dict__")
        and ("Cache" in type(value).__name__ or "Layer" in type(value).__name__)
    )


def _filled(value: Any, tensors: Any) -> Any:
    """Return a copy of a cache with its tensors replaced, in the order of :func:`_tensors`."""
    if isinstance(value, torch.Tensor):
        try:
            return next(tensors)
        except StopIteration:
            raise ModelError("cache", "as many tensors as the prefill made", "fewer") from None
    if isinstance(value, (list, tuple)):
        return type(value)(_filled(inner, tensors) for inner in value)
    if isinstance(value, dict):
        return {key: _filled(inner, tensors) for key, inner in value.items()}
    if _is_cache(value):
        twin = copy.copy(value)
        for name, inner in vars(value).items():
            vars(twin)[name] = _filled(inner, tensors)
        return twin
    return value
