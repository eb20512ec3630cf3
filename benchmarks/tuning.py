# SPDX-License-Identifier: Apache-2.0
"""Plans corrected by running them: the first plan against the kept one, and how true predictions become.

Models are tuned from costs as a user has them: measured on an idle machine, or estimated for a catalogue's core.
The last columns are measured over predicted period of the first plan and of the last one that was measured.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import onnx
from benchmarks.common import header, row, table

import stagewright as sw
from stagewright.source import Source

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="resnet50,densenet121,inception_v1,squeezenet")
    parser.add_argument("--stages", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--items", type=int, default=80)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--costs", nargs="+", default=["profile", "cpu-core"])
    options = parser.parse_args()
    header("Tuned plans on this machine")
    table(
        [
            "model",
            "stages",
            "costs",
            "rounds",
            "first ms",
            "kept ms",
            "kept/first",
            "ratio of the first",
            "of the last",
            "stopped because",
        ]
    )
    for name in options.models.split(","):
        model = str(LIGHT / f"light_{name}.onnx")
        for stages in options.stages:
            for costs in options.costs:
                source = Source(model, device=None if costs == "profile" else costs)
                found = sw.tune(
                    model, stages, source=source, rounds=options.rounds, items=options.items
                )
                first, best, last = found.rounds[0], found.best, found.rounds[-1]
                row(
                    [
                        name,
                        stages,
                        costs,
                        len(found.rounds),
                        f"{1000.0 * first.found.period:.2f}",
                        f"{1000.0 * best.found.period:.2f}",
                        f"{best.found.period / first.found.period:.3f}",
                        f"{first.ratio:.3f}",
                        f"{last.ratio:.3f}",
                        found.tuned.stopped_because,
                    ]
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
