# SPDX-License-Identifier: Apache-2.0
"""The section of the page about a measured run."""

from __future__ import annotations

from ..units import format_time
from . import words
from .charts import stacked_bar
from .markup import Html, h, join, table
from .run_view import RunStageView, RunView
from .sections import facts, legend, section

__all__ = ["run_section"]


def run_section(run: RunView) -> Html:
    """Return what was measured beside what was predicted."""
    verdict = {True: "optimal", False: "feasible", None: "bounded"}[run.outputs_equal]
    return section(
        "run",
        "Measured against predicted",
        h("p", f"{words.run_headline(run)}."),
        h("p", f"{words.outputs_text(run)}.", class_=verdict),
        _stages(run),
        _whole(run),
        facts(
            [
                *((f"Latency, {name}", format_time(value)) for name, value in run.latency),
                *((key.replace("_", " ").capitalize(), value) for key, value in run.settings),
            ]
        ),
    )


def _stages(run: RunView) -> Html:
    times = [t for s in run.stages for t in (s.compute, s.predicted_work) if t]
    full = max(times, default=0)
    slowest = max((s.compute or 0 for s in run.stages), default=0)
    rows = [[_name(s), _bars(s, full), *_numbers(s)] for s in run.stages]
    keys = [("value", "measured work (upper bar)"), ("receive", "predicted work (lower bar)")]
    numbers = table(
        "Stages, medians",
        [
            "Stage",
            "",
            "Work",
            "Predicted work",
            "Ratio",
            "Wait for input",
            "Send",
            "Predicted total",
        ],
        rows,
        numeric=range(2, 8),
        marked=[i for i, s in enumerate(run.stages) if slowest and s.compute == slowest],
    )
    return join([legend(keys), numbers])


def _name(stage: RunStageView) -> str:
    """Return the number of a stage, and the worker where workers run several."""
    return str(stage.number) if stage.worker is None else f"{stage.number}, worker {stage.worker}"


def _bars(stage: RunStageView, full: int) -> Html:
    return join(
        [
            stacked_bar([("value", stage.compute or 0)], full),
            stacked_bar([("receive", stage.predicted_work or 0)], full),
        ]
    )


def _numbers(stage: RunStageView) -> list[str]:
    known = stage.compute is not None and stage.predicted_work
    ratio = f"{(stage.compute or 0) / (stage.predicted_work or 1):.2f}" if known else "-"
    return [
        _time(stage.compute),
        _time(stage.predicted_work),
        ratio,
        _time(stage.wait),
        _time(stage.send),
        _time(stage.predicted),
    ]


def _whole(run: RunView) -> Html:
    if not run.whole:
        return Html("")
    rows = [
        [
            str(w.threads),
            _time(w.period),
            "-" if w.speedup is None else f"{w.speedup:.2f} times as high",
        ]
        for w in run.whole
    ]
    head = ["Threads", "Period", "The pipeline's rate"]
    return table("The unsplit model on the same machine", head, rows, numeric=(1, 2))


def _time(value: int | None) -> str:
    return "-" if value is None else format_time(value)
