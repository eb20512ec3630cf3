# SPDX-License-Identifier: Apache-2.0
"""In a browser: the page's own script runs under its policy, a name's script does not."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from stagewright.reports.page import save_page

from .documents import plan, stage

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@pytest.mark.skipif(BROWSER is None, reason="needs chromium")
def test_search_works_and_names_do_nothing(tmp_path: Path) -> None:
    name = "</pre><img src=x onerror=document.title='owned'><script>document.title='owned'</script>"
    path = tmp_path / "page.html"
    save_page(plan([stage([name, "b"], work="1")], []), path)
    assert BROWSER is not None
    command = [
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path}/u",
    ]
    done = subprocess.run(
        [*command, "--dump-dom", path.as_uri()],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    if done.returncode or not done.stdout:
        pytest.skip(f"the browser does not start here: {done.stderr[-200:]}")
    assert "<title>owned" not in done.stdout
    assert '<div id="search" class="search">' in done.stdout  # the script has shown it
