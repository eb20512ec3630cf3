# SPDX-License-Identifier: Apache-2.0
"""One self-contained HTML page about a plan: no network, no external fonts or scripts.

A content security policy that knows only this page's own style and script keeps it so, whatever the
names in a model contain.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path, PurePath
from string import Template
from typing import Any

from ..files import write_whole
from . import sections, words
from .charts import patterns
from .markup import Html, h, join
from .run_section import run_section
from .view import PlanView, clean, read_plan_view, read_run_view

__all__ = ["page", "save_page"]


def page(
    document: Mapping[str, Any], *, run: Mapping[str, Any] | None = None, title: str | None = None
) -> str:
    """Return the page as text.

    Parameters
    ----------
    document
        The content of a plan file.
    run
        What ``stagewright run --json`` printed, to be compared with the prediction.
    title
        Name of what was planned; the model's file name by default.

    Raises
    ------
    CheckError
        If `document` is not the content of a plan file.
    InputError
        If `run` is not a run report.
    """
    plan = read_plan_view(document)
    name = clean(title) if title is not None else _title(plan)
    main = [
        sections.stages_section(plan),
        sections.bounds_section(plan),
        run_section(read_run_view(run)) if run is not None else Html(""),
        sections.memory_section(plan),
        sections.timeline_section(plan),
        sections.machine_section(plan),
        sections.nodes_section(plan),
        sections.origin_section(plan),
    ]
    style, script = _file("page.css"), _file("page.js")
    return Template(_file("page.html")).substitute(
        policy=escape(_policy(style, script)),
        title=escape(f"{name}: {words.headline(plan)}"),
        style=style,
        patterns=patterns(),
        header=sections.header(plan, name),
        main=join(main),
        footer=h("p", f"Written by Stagewright {plan.version}. This file needs no network."),
        script=script,
    )


def save_page(
    document: Mapping[str, Any],
    path: str | Path,
    run: Mapping[str, Any] | None = None,
    *,
    title: str | None = None,
) -> None:
    """Write the page to a file, which appears whole or not at all; errors as in :func:`page`.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    text = page(document, run=run, title=title)
    write_whole(path, text)


def _title(plan: PlanView) -> str:
    model = PurePath(plan.model).name
    cut = f"a plan for {plan.machine.stages} stages"
    return f"{model}, {cut}" if model else cut.capitalize()


def _policy(style: str, script: str) -> str:
    return f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; form-action 'none'"


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
    return f"'sha256-{digest}'"


@cache
def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
