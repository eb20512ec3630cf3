# SPDX-License-Identifier: Apache-2.0
"""One self-contained HTML page about a plan: no network, no external fonts or scripts.

A content security policy that knows only this page's own style and scripts keeps it so, whatever the
names in a model contain.  What the page says in words and tables is there without any script; the
scripts (``web/``) draw the graph and the curves with the libraries in ``vendor/``.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path, PurePath
from string import Template
from typing import Any, Final

from ..files import write_whole
from . import sections, words
from .charts import patterns
from .drawing import Drawing
from .graph_section import cuts_section, graph_section, what_if_section
from .kinds_section import kinds_section
from .markup import Html, h, join
from .payload import data_element, page_data
from .run_section import run_section
from .run_view import read_run_view
from .view import PlanView, clean, read_plan_view

__all__ = ["PARTS", "page", "save_page"]

PARTS: Final = (
    *("stages", "graph", "cuts", "bounds", "what-if", "run", "memory", "search", "machine"),
    *("nodes", "origin"),
)
"""The sections of the page, in order."""

_SCRIPTS = (
    "data",
    "graph_model",
    "graph_layout",
    "graph_view",
    "graph_controls",
    "plots",
    "what_if",
    "nodes",
    "main",
)


def page(
    document: Mapping[str, Any],
    *,
    run: Mapping[str, Any] | None = None,
    title: str | None = None,
    drawing: Drawing | None = None,
    missing: str = "",
    what_if: Mapping[str, Any] | None = None,
    verified: Mapping[str, Any] | None = None,
    only: str = "",
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
    drawing
        The graph that was planned (:func:`.drawing.drawing`).
    missing
        Without `drawing`: why the graph is not shown, in a sentence.
    what_if
        Plans for other machines: ``bandwidths`` (bytes per second, or None), ``stages``, and for each
        bandwidth and number of stages in ``points`` an object of ``upper``, ``lower`` (ps) and ``stages``
        (receive, work, send, overflow of each, ps), or None; ``note`` says how they were made.
    verified
        What the independent checker said: ``valid``, ``problems``, ``verified``, ``not_verified``.
    only
        One of `PARTS`, to be shown alone.

    Raises
    ------
    CheckError
        If `document` is not the content of a plan file.
    InputError
        If `run` is not a run report.
    """
    plan = read_plan_view(document)
    name = clean(title) if title is not None else _title(plan, drawing)
    parts: dict[str, Callable[[], Html]] = {
        "stages": lambda: sections.stages_section(plan),
        "graph": lambda: graph_section(plan, drawing, missing),
        "cuts": lambda: cuts_section(plan, drawing),
        "bounds": lambda: sections.bounds_section(plan, verified),
        "what-if": lambda: what_if_section(plan, what_if),
        "run": lambda: run_section(read_run_view(run)) if run is not None else Html(""),
        "memory": lambda: sections.memory_section(plan, curves=drawing is not None),
        "search": lambda: sections.timeline_section(plan),
        "machine": lambda: kinds_section(plan) if plan.kinds else sections.machine_section(plan),
        "nodes": lambda: sections.nodes_section(plan, searchable=drawing is None),
        "origin": lambda: sections.origin_section(plan),
    }
    main = [part() for key, part in parts.items() if not only or key == only]
    style = _file("web/page.css")
    libraries = [("d3", _file("vendor/d3.min.js"))]
    if drawing is not None:
        libraries.append(("dagre", _file("vendor/dagre.min.js")))
    own = "\n".join(_file(f"web/{name}.js") for name in _SCRIPTS)
    written = f"Written by Stagewright {plan.version}. This file needs no network."
    scripts = [text for _, text in libraries] + [own]
    return Template(_file("web/page.html")).substitute(
        policy=escape(_policy(style, scripts)),
        title=escape(f"{name}: {words.headline(plan)}"),
        style=style,
        patterns=patterns(),
        header=Html("") if only else sections.header(plan, name),
        main=join(main),
        footer=Html("") if only else h("footer", h("p", written)),
        licences=_comment(_file("vendor/LICENSES.txt")),
        data=data_element(page_data(plan, drawing, what_if)),
        libraries=join(h("script", Html(text), id=key) for key, text in libraries),
        script=own,
    )


def save_page(
    document: Mapping[str, Any],
    path: str | Path,
    run: Mapping[str, Any] | None = None,
    **more: Any,
) -> None:
    """Write the page to a file, which appears whole or not at all; arguments and errors as of :func:`page`.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    text = page(document, run=run, **more)
    write_whole(path, text)


def _title(plan: PlanView, drawing: Drawing | None) -> str:
    model = PurePath(plan.model).name or (drawing.name if drawing else "")
    cut = f"a plan for {plan.machine.stages} {'devices' if plan.kinds else 'stages'}"
    return f"{model}, {cut}" if model else cut.capitalize()


def _policy(style: str, scripts: Sequence[str]) -> str:
    known = " ".join(map(_hash, scripts))
    # The worker that lays out the graph is made of the same library and script.
    return (
        f"default-src 'none'; style-src {_hash(style)}; script-src {known}; worker-src blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _comment(text: str) -> str:
    """Return a comment of HTML, in which two hyphens may not stand."""
    return f"<!--\n{text.replace('--', '- ')}-->"


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
    return f"'sha256-{digest}'"


@cache
def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
