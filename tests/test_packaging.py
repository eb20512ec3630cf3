# SPDX-License-Identifier: Apache-2.0
"""What travels in the wheel besides modules: the page's scripts, libraries and licences, schemas."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "stagewright"
BUILD = """
import sys
from scikit_build_core.build import build_wheel
build_wheel(sys.argv[1], {"wheel.cmake": "false", "build-dir": sys.argv[1] + "/build"})
"""


def test_data_files_are_in_the_wheel(tmp_path: Path) -> None:
    pytest.importorskip("scikit_build_core")
    # The native module is left out: what is asked here does not depend on it, and it takes minutes.
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    data = {
        path.relative_to(PACKAGE.parent).as_posix()
        for path in PACKAGE.rglob("*")
        if path.suffix in {".js", ".css", ".html", ".txt", ".json", ".toml", ".typed"}
    }
    assert "stagewright/reports/vendor/LICENSES.txt" in data
    assert "stagewright/reports/web/page.html" in data
    assert data <= names
    assert any("dist-info/licenses" in name and "vendor/LICENSES.txt" in name for name in names)
