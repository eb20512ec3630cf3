# SPDX-License-Identifier: Apache-2.0
"""The process that reads a program or a configuration: `python -m stagewright.readers._torch_child`.

Reads a job (JSON) from stdin and writes one npz archive to stdout: the arrays of the graph, and ``said``,
JSON as bytes with the warnings and the error.  What libraries print goes to stderr.
"""

from __future__ import annotations

import io
import json
import os
import sys
import threading
import time
import warnings
from typing import Any

import numpy as np

from ..errors import InputError, StagewrightError
from ..graph import CostGraph
from . import StagewrightWarning
from .torch_process import to_arrays

__all__ = ["main"]


def main() -> None:
    """Do the job on stdin."""
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # libraries print what they like
    job = json.load(sys.stdin.buffer)
    _die_with_parent()
    said: dict[str, Any] = {"error": None, "warnings": []}
    arrays: dict[str, Any] = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", StagewrightWarning)
        try:
            arrays = to_arrays(_read(job))
        except StagewrightError as error:
            parts = (
                [error.item, error.expected, error.got, error.remedy]
                if isinstance(error, InputError)
                else []
            )
            said["error"] = {"kind": type(error).__name__, "parts": parts, "text": str(error)}
    said["warnings"] = [str(w.message) for w in caught if w.category is StagewrightWarning]
    arrays["said"] = np.frombuffer(json.dumps(said).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    answer.write(buffer.getvalue())
    answer.close()
    # Libraries' threads and handlers have nothing left to do.
    sys.stderr.flush()
    os._exit(0)


def _read(job: dict[str, Any]) -> CostGraph:
    if job["kind"] == "hf":
        from .hf_model import read_config

        return read_config(
            job["path"], shapes=job["shapes"], replicate=job["replicate"], **job["options"]
        )
    from .torch_file import read_pt2

    return read_pt2(job["path"], shapes=job["shapes"], replicate=job["replicate"])


def _die_with_parent() -> None:
    """End this process when its parent has gone, so that a killed command leaves nothing running."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main()
