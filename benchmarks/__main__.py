# SPDX-License-Identifier: Apache-2.0
"""`make bench`: every quick benchmark, or those named; the tables go to stdout as Markdown."""

from __future__ import annotations

import subprocess
import sys

QUICK = ("instances", "slicing", "onnx_light", "pipeline")


def main() -> int:
    for name in sys.argv[1:] or QUICK:
        done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False)
        if done.returncode:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
