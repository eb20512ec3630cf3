# SPDX-License-Identifier: Apache-2.0
"""The main job on real models, one command after another; `make demo` runs this.

Profile a model on this machine, plan it for two stages, verify the plan, write the stage files, run
the pipeline against the unsplit model; then plan the same model for accelerators of the catalogue.
Everything lands in out/demo.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import onnx

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "out" / "demo"
OCR_WHEEL = "rapidocr-onnxruntime==1.4.4"
OCR_MODEL = "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx"


def main() -> int:
    """Run all four parts."""
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    light = Path(onnx.__file__).parent / "backend/test/data/light/light_resnet50.onnx"
    shutil.copy(light, OUT / "resnet50.onnx")
    title("ResNet-50: two stages on this machine")
    on_this_machine("resnet50", [])
    ocr = fetch_ocr_model()
    if ocr:
        title("A text detector with its real weights (PP-OCRv4): two stages on this machine")
        on_this_machine("ocr", ["--shape", "x=1x3x480x480"])
    title("ResNet-50: eight Coral Edge TPUs on USB 3, 8 MiB of fast memory each")
    accelerators("resnet50", "coral-edge-tpu")
    title("ResNet-50: eight H100s on NVLink")
    accelerators("resnet50", "h100-sxm")
    print(f"\nAll files are in {OUT.relative_to(ROOT)}; open resnet50.html for the report.")
    return 0


def on_this_machine(name: str, reading: list[str]) -> None:
    """Profile, plan, check, split, run, report."""
    model, plan, stages = f"{name}.onnx", f"{name}.plan.json", f"{name}-stages"
    profile = f"{name}.profile.json"
    stagewright("profile", model, "-o", profile, *reading)
    stagewright(
        *("plan", model, "--stages", "2", "--profile", profile, "--link", "shared-memory"),
        *(*reading, "-o", plan),
    )
    stagewright("check", model, plan, "--exhaustive", "30")
    stagewright("split", model, plan, "-o", stages)
    stagewright("run", stages)
    run = stagewright("run", stages, "--json", "--items", "40", save=f"{name}.run.json")
    stagewright("report", plan, "--run", run, "-o", f"{name}.html")


def accelerators(name: str, device: str) -> None:
    """Plan and check for eight devices of the catalogue."""
    model, plan = f"{name}.onnx", f"{name}.{device}.plan.json"
    stagewright("plan", model, "--stages", "8", "--device", device, "-o", plan)
    stagewright("check", model, plan)


def fetch_ocr_model() -> bool:
    """Take the text detector out of a package from PyPI; False when there is no network."""
    say(f"fetching {OCR_WHEEL} for a model with real weights")
    cache = ROOT / ".cache" / "wheels"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", str(cache)]
    if not any(cache.glob("rapidocr*.whl")):
        done = subprocess.run([*command, OCR_WHEEL], check=False)
        if done.returncode:
            say("not to be had; going on without it")
            return False
    with zipfile.ZipFile(next(cache.glob("rapidocr*.whl"))) as wheel:
        (OUT / "ocr.onnx").write_bytes(wheel.read(OCR_MODEL))
    return True


def stagewright(*arguments: str, save: str = "") -> str:
    """Run one command in the output folder, showing it; with `save`, keep its output instead."""
    shown = shlex.join(["stagewright", *arguments])
    print(f"\n$ {shown}" + (f" > {save}" if save else ""), flush=True)
    command = [sys.executable, "-m", "stagewright", *arguments]
    done = subprocess.run(command, cwd=OUT, check=False, stdout=subprocess.PIPE if save else None)
    # check ends with 3 when the plan is valid but some proof was too long to redo.
    if done.returncode not in (0, 3 if arguments[0] == "check" else 0):
        sys.exit(f"demo: the command ended with {done.returncode}")
    if save:
        (OUT / save).write_bytes(done.stdout)
    return save


def title(text: str) -> None:
    """Print a heading."""
    print(f"\n\n== {text} ==", flush=True)


def say(text: str) -> None:
    """Print a remark."""
    print(f"[demo] {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
