# SPDX-License-Identifier: Apache-2.0
"""PyTorch: a script that runs an exported program's stages with ``torch.distributed.pipelining``."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

from ..certificate.build import dumps
from ..errors import InputError
from ..splitting.stage_files import new_folder
from .evaluating import one_stage_each
from .types import Export, Job

__all__ = ["torch_folder"]


def torch_folder(job: Job, folder: Path, *, overwrite: bool) -> Export:
    """Write the script, and the plan that it reads; the program stays where it is."""
    if not job.model.endswith(".pt2"):
        raise InputError(
            "model for torch",
            "a PyTorch program (.pt2)",
            f"'{job.model}'",
            "Save it with torch.export.save() and plan that, or use result.to_torch(module) in Python.",
        )
    one_stage_each(job, "torch", job.devices)
    stages = len(job.plan.stages)
    manifest = {
        "format": "stagewright-torch/1",
        "model": str(Path(job.model).resolve()),
        "stages": stages,
    }
    script = (files(__package__) / "pipeline_script.txt").read_text(encoding="utf-8")
    with new_folder(folder, overwrite=overwrite) as made:
        (made / "pipeline.py").write_text(script, encoding="utf-8")
        (made / "plan.json").write_text(dumps(job.document), encoding="utf-8")
        (made / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    notes = ("sizes other than those of the program: they are one microbatch",)
    text = f"torchrun --nproc-per-node {stages} {folder / 'pipeline.py'} --check\n"
    return Export("torch", text, manifest, job.as_planned, notes, folder=True)
