# SPDX-License-Identifier: Apache-2.0
"""Predicted against measured time: the roofline of a data sheet, a calibrated one, and the store.

Models are predicted and measured whole, and as the two stages that a plan by the store's costs gives.
Measured is the median processor time of untraced runs on one thread.  The calibration and the store come from
this machine; neither has seen a whole model's time, and the store's kernels were measured alone.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
from benchmarks.common import header, row, table
from benchmarks.encoder import write_encoder

from stagewright import api
from stagewright.cost.calibrate import calibrate
from stagewright.cost.calibration_file import save_device
from stagewright.cost.fill import fill_store
from stagewright.cost.profile import measure_session
from stagewright.cost.steady import Patience
from stagewright.cost.store import Store

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
METHODS = ("roofline", "calibrated", "store")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--models",
        default="bvlc_alexnet,densenet121,inception_v1,inception_v2,resnet50,shufflenet,"
        "squeezenet,vgg19,encoder",
    )
    parser.add_argument("--work", metavar="DIR", help="keep the store and the calibration here")
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.15, help="at most, for a kernel")
    parser.add_argument("--calibration", metavar="DEVICE", help="use this one, measure none")
    options = parser.parse_args()
    header("Predicted against measured time on this machine, one thread")
    with kept(options.work) as folder:
        patience = Patience(seconds=options.seconds)
        device = Path(options.calibration or folder / "cpu.toml")
        if not options.calibration and not device.exists():
            begun = time.perf_counter()
            save_device(calibrate("cpu", patience=patience).device, device)
            print(f"Calibrated in {time.perf_counter() - begun:.0f} s.\n")
        fill(options.models.split(","), folder, patience)
        compare(options.models.split(","), folder, str(device), options.repetitions)
    return 0


@contextmanager
def kept(folder: str | None) -> Iterator[Path]:
    """Give the folder to work in: a named one stays."""
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        yield Path(folder)
        return
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def path_of(name: str, folder: Path) -> Path:
    """Return the model's file."""
    if name == "encoder":
        path = folder / "encoder.onnx"
        if not path.exists():
            write_encoder(path)
        return path
    return LIGHT / f"light_{name}.onnx"


def fill(names: list[str], folder: Path, patience: Patience) -> None:
    """Fill the store model by model, and say how much each could reuse."""
    table(["model", "kernels", "different", "known", "measured now", "others' cores", "seconds"])
    with Store(folder / "kernels.sqlite") as store:
        for name in names:
            found = fill_store(path_of(name, folder), store, patience=patience)
            row(
                [
                    name,
                    found.kernels,
                    found.distinct,
                    found.known,
                    found.measured,
                    f"{found.others:.2f}",
                    f"{found.seconds:.1f}",
                ]
            )
    print()


def compare(names: list[str], folder: Path, device: str, repetitions: int) -> None:
    """Print predicted over measured for every model and stage, and the mean absolute errors."""
    table(["model", "part", "measured ms", *(f"{m} ms" for m in METHODS), *METHODS])
    errors: dict[str, dict[str, list[float]]] = {m: {"whole": [], "stage": []} for m in METHODS}
    for name in names:
        path = path_of(name, folder)
        graphs = {
            "roofline": api.read(path, device="cpu-core"),
            "calibrated": api.read(path, device=device),
            "store": api.read(path, store=folder / "kernels.sqlite"),
        }
        with tempfile.TemporaryDirectory() as stages:
            source = api.Source(str(path), store=str(folder / "kernels.sqlite"))
            result = api.plan(graphs["store"], 2, link="shared-memory", source=source)
            manifest = api.split(path, result, Path(stages) / "out")
            parts = [("whole", path, range(graphs["store"].num_nodes))]
            parts += [
                (f"stage {i}", Path(stages) / "out" / stage.file, nodes)
                for i, (stage, nodes) in enumerate(
                    zip(manifest.stages, result.plan.stages, strict=True)
                )
            ]
            for part, file, nodes in parts:
                measured = measure_session(file, repetitions=repetitions) / 1e9
                predicted = {m: sum(int(g.work[v]) for v in nodes) / 1e9 for m, g in graphs.items()}
                for m in METHODS:
                    kind = "whole" if part == "whole" else "stage"
                    errors[m][kind].append(abs(predicted[m] / measured - 1))
                row(
                    [
                        name,
                        part,
                        f"{measured:.2f}",
                        *(f"{predicted[m]:.2f}" for m in METHODS),
                        *(f"{predicted[m] / measured:.3f}" for m in METHODS),
                    ]
                )
    print("\nMean absolute error (largest) of predicted / measured:\n")
    table(["", *METHODS])
    for kind, title in (("whole", "whole models"), ("stage", "stages")):
        row(
            [
                title,
                *(
                    f"{100 * statistics.mean(errors[m][kind]):.1f} % "
                    f"({100 * max(errors[m][kind]):.1f} %)"
                    for m in METHODS
                ),
            ]
        )


if __name__ == "__main__":
    sys.exit(main())
