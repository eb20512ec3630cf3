#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Bring the libraries of the report page up to date: `python3 tools/vendor.py`.

Fetches the pinned packages with npm, bundles the parts of d3 that the page uses with esbuild, and writes
bundles, licences and a list of versions to src/stagewright/reports/vendor. Needed only to change a
version or to use another function of d3.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

VENDOR = Path(__file__).resolve().parent.parent / "src" / "stagewright" / "reports" / "vendor"
PINNED = {
    "@dagrejs/dagre": "3.1.3",
    "d3-array": "3.2.5",
    "d3-axis": "3.0.1",
    "d3-scale": "4.0.3",
    "d3-selection": "3.0.1",
    "d3-shape": "3.2.1",
    "d3-zoom": "3.0.1",
    "esbuild": "0.28.2",
}
ENTRY = """
export { bisector } from "d3-array";
export { axisBottom, axisLeft } from "d3-axis";
export { scaleLinear } from "d3-scale";
export { pointer, select } from "d3-selection";
export { area, curveBasis, curveStepAfter, line } from "d3-shape";
export { zoom, zoomIdentity, zoomTransform } from "d3-zoom";
"""


def main() -> int:
    """Write every file of the vendor folder anew."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "package.json").write_text('{"private": true}')
        packages = [f"{package}@{version}" for package, version in PINNED.items()]
        subprocess.run(
            ["npm", "install", "--no-audit", "--no-fund", *packages], cwd=work, check=True
        )
        modules = work / "node_modules"
        (work / "entry.js").write_text(ENTRY)
        esbuild = str(next(modules.glob("@esbuild/*/bin/esbuild")))
        d3 = VENDOR / "d3.min.js"
        command = [esbuild, "entry.js", "--bundle", "--minify", "--format=iife", "--global-name=d3"]
        metadata = ["--target=es2020", "--legal-comments=none", "--metafile=meta.json"]
        subprocess.run([*command, *metadata, f"--outfile={d3}"], cwd=work, check=True)
        inputs = json.loads((work / "meta.json").read_text())["inputs"]
        folders = {
            modules.joinpath(*Path(path).parts[1:2]) for path in inputs if "node_modules" in path
        }
        dagre = modules / "@dagrejs" / "dagre"
        text = (dagre / "dist" / "dagre.min.js").read_text(encoding="utf-8")
        # A source map is a second file, which the page does not have.
        lines = [line for line in text.splitlines() if "sourceMappingURL" not in line]
        (VENDOR / "dagre.min.js").write_text("\n".join(lines) + "\n", encoding="utf-8")
        write_licences([dagre, *sorted(folders)])
    return 0


def write_licences(packages: list[Path]) -> None:
    """Write one file with the version and the licence of every package."""
    parts = ["Libraries bundled with the report page, unchanged but for bundling and minification."]
    for package in packages:
        about = json.loads((package / "package.json").read_text(encoding="utf-8"))
        licence = (package / "LICENSE").read_text(encoding="utf-8").strip()
        title = f"{about['name']} {about['version']} ({about['license']})"
        parts.append(f"{title}\n{'-' * len(title)}\n{licence}")
    (VENDOR / "LICENSES.txt").write_text("\n\n\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
