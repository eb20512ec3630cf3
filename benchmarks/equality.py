# SPDX-License-Identifier: Apache-2.0
"""Outputs of pipelines against those of the unsplit model, item by item.

With `disabled` every node is computed as written, by the same kernels in both, so that outputs must be equal
bit by bit.  With `all` the runtime fuses operators, across what is a cut for the pipeline: then the table
tells the largest difference.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from benchmarks.common import header, row, table
from benchmarks.small_models import branching, heavy, transformer, unet

from stagewright import api
from stagewright.runtime import Pipeline
from stagewright.runtime.inputs import random_inputs
from stagewright.runtime.unsplit import Unsplit
from stagewright.splitting import Manifest

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
RTOL, ATOL = 1e-4, 1e-5
"""What `stagewright run` calls equal where kernels differ."""


@dataclass(frozen=True)
class Case:
    """A model: what writes or finds it, the sizes that its items have in turns, and what it is for."""

    name: str
    make: Callable[[Path], Path]
    what: str
    stages: int = 3
    sizes: tuple[Mapping[str, int], ...] = ({},)
    options: dict[str, Any] = field(default_factory=dict)


def _light(name: str) -> Callable[[Path], Path]:
    return lambda _: LIGHT / f"light_{name}.onnx"


def _saved(make: Callable[[], onnx.ModelProto]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        onnx.save(make(), folder / "model.onnx")
        return folder / "model.onnx"

    return write


def _heavy(folder: Path) -> Path:
    heavy(folder / "model.onnx")
    return folder / "model.onnx"


_SIZES = tuple({"batch": n, "sequence": t} for n, t in ((1, 7), (4, 16), (9, 3), (2, 33)))
CASES = (
    Case("resnet50", _light("resnet50"), "residuals"),
    Case("densenet121", _light("densenet121"), "dense skips"),
    Case("inception_v1", _light("inception_v1"), "branches"),
    Case("shufflenet", _light("shufflenet"), "shuffles"),
    Case("unet", _saved(unet), "skips over the whole length"),
    Case("branching", _saved(branching), "an If that captures"),
    Case("transformer", _saved(transformer), "batch and sequence differ by item", sizes=_SIZES),
    Case("transformer", _saved(transformer), "the same in microbatches of 2", sizes=_SIZES,
         options={"microbatch": 2}),
    Case("heavy", _heavy, "2.25 GiB of weights", stages=2),
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default=",".join(dict.fromkeys(c.name for c in CASES)))
    parser.add_argument("--items", type=int, default=20, help="of each model and level (20)")
    parser.add_argument("--engine", choices=("process", "thread"), default="process")
    options = parser.parse_args()
    header("Outputs of pipelines against the unsplit model")
    columns = ["model", "what is special", "stages", "tensors cut", "items", "bit-equal, disabled"]
    table([*columns, "bit-equal, all", "largest difference", "within tolerance"])
    chosen, fine = options.models.split(","), True
    for case in CASES:
        if case.name in chosen:
            fine &= _compare(case, options.items, options.engine)
    print(f"\nTolerance where kernels differ: rtol {RTOL:g}, atol {ATOL:g}.")
    return 0 if fine else 1


def _compare(case: Case, items: int, engine: Any) -> bool:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        path = case.make(folder)
        dims = dict(case.sizes[0])
        graph = api.read(path, device="h100-sxm", dims=dims)
        # Crossing costs next to nothing, so that small models are cut, too.
        result = api.plan(graph, case.stages, bandwidth="100TB/s", time_limit=5)
        manifest = api.split(path, result, folder / "stages", dims=dims, any_size=bool(dims))
        cut = sum(
            t.source != "model input" and t.targets != ("model output",) for t in manifest.tensors
        )
        plain, fused = (
            _run(case, manifest, path, folder / "stages", items, engine, level)
            for level in ("disabled", "all")
        )
    row(
        [
            case.name,
            case.what,
            len(manifest.stages),
            cut,
            items,
            f"{plain.equal} of {items}",
            f"{fused.equal} of {items}",
            f"{fused.largest:.1e}",
            "yes" if fused.close else "NO",
        ]
    )
    return plain.equal == items and fused.close


@dataclass
class Found:
    """How many items were equal bit by bit, and how far the others were."""

    equal: int = 0
    largest: float = 0.0
    close: bool = True

    def add(self, got: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
        """Compare one item."""
        self.equal += all(
            got[n].dtype == v.dtype and got[n].shape == v.shape and got[n].tobytes() == v.tobytes()
            for n, v in expected.items()
        )
        for name, value in expected.items():
            if value.size and got[name].shape == value.shape:
                gap = np.abs(got[name].astype(np.float64) - value)
                self.largest = max(self.largest, float(np.nanmax(gap, initial=0)))
            self.close &= got[name].shape == value.shape and np.allclose(
                got[name], value, rtol=RTOL, atol=ATOL, equal_nan=True
            )


def _run(
    case: Case, manifest: Manifest, path: Path, folder: Path, items: int, engine: Any, level: str
) -> Found:
    # One after the other: both at once would hold the weights twice.
    whole = Unsplit(path, manifest, 1, level)
    expected = [
        {name: value.copy() for name, value in whole.run(feed).items()}
        for feed in _feeds(case, manifest, items)
    ]
    del whole
    gc.collect()
    found = Found()
    with Pipeline(folder, engine=engine, level=level, **case.options) as pipeline:
        results = pipeline.map(_feeds(case, manifest, items))
        for got, value in zip(results, expected, strict=True):
            found.add(got, value)
    return found


def _feeds(case: Case, manifest: Manifest, items: int) -> Iterator[dict[str, Any]]:
    seeds = range(items)
    sizes = (case.sizes[i % len(case.sizes)] for i in seeds)
    pairs = zip(seeds, sizes, strict=True)
    return (random_inputs(manifest.inputs, seed, size) for seed, size in islice(pairs, items))


if __name__ == "__main__":
    sys.exit(main())
