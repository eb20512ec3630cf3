# SPDX-License-Identifier: Apache-2.0
"""What reports say, and that it never says more than was proven."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stagewright.errors import CheckError, InputError
from stagewright.reports import words
from stagewright.reports.run_view import read_run_view
from stagewright.reports.view import clean, read_plan_view

from .documents import HOSTILE, bound, optimal, plan, run, stage


def headline(*bounds: dict[str, Any]) -> str:
    return words.headline(read_plan_view(plan([stage(["a"], work="1")], list(bounds))))


def test_headline_of_an_optimal_plan() -> None:
    assert words.headline(read_plan_view(optimal())) == (
        "Proven optimal: bottleneck 3.42 ms (292 inferences/s with all stages busy), "
        "latency about 13.68 ms"
    )


@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        ([("simple", "0.9824", "recomputed")], "Within 1.8 % of the best possible (proven):"),
        ([("simple", "0.99999999999", "recomputed")], "Within 0.00001 % of the best possible"),
        ([("simple", "0.3", "recomputed")], "At most 3.4 times the best possible (proven):"),
        ([], "Valid, with nothing proven about better plans:"),
        ([("mip", "1", "claimed")], "Optimal if a solver's claim holds:"),
        (
            [("simple", "0.8", "recomputed"), ("mip", "0.96", "claimed")],
            "Within 25.0 % of the best possible (proven), within 4.2 % if a solver's claim holds:",
        ),
        (
            [("simple", "0.96", "recomputed"), ("mip", "0.8", "claimed")],
            "Within 4.2 % of the best possible (proven): bottleneck 1 s (1 inferences/s",
        ),
    ],
)
def test_verdict(bounds: list[tuple[str, str, str]], text: str) -> None:
    assert headline(*(bound(*b) for b in bounds)).startswith(text)


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (9996, 10000, "99.9 %"),
        (1, 1, "100.0 %"),
        (1, 10**6, "<0.1 %"),
        (0, 5, "0.0 %"),
        (1, 0, "-"),
    ],
)
def test_shares_are_rounded_down(part: int, whole: int, text: str) -> None:
    assert words.percent_below(part, whole) == text


@pytest.mark.parametrize(
    ("upper", "lower", "text"),
    [(1018, 1000, "1.8 %"), (10181, 10000, "1.9 %"), (100181, 10**5, "0.19 %"), (5, 5, "0 %")],
)
def test_gaps_are_rounded_up(upper: int, lower: int, text: str) -> None:
    assert words.gap_text(upper, lower) == text


def test_floats_of_a_plan_file_read_as_decimals_do() -> None:
    exact = optimal()
    floats = json.loads(json.dumps(exact, default=float))
    assert read_plan_view(floats) == read_plan_view(exact)


def test_limits_name_stages_that_share_the_pace_and_unused_ones() -> None:
    document = plan([stage(["a"], work="1"), stage(["b"], work="1")], [])
    document["machine"]["stages"] = 4
    assert words.limits(read_plan_view(document)) == [
        "Stages 0, 1 share the pace: the first spends 100.0 % work.",
        "The plan uses 2 of 4 stages; it found no use for the others.",
        (
            "All work together takes 2 s: the pipeline's rate is 2 times that of one such device "
            "with all of the model in fast memory."
        ),
    ]


def test_run_in_words() -> None:
    view = read_run_view(run())
    assert words.run_headline(view) == (
        "Measured: one result every 3.52 ms (284 inferences/s), 2.9 % longer than predicted (3.42 ms)"
    )
    assert words.outputs_text(view) == (
        "Outputs: equal to the unsplit model's (largest difference 1.5e-06)"
    )


def test_run_without_results() -> None:
    view = read_run_view(
        {"period": None, "stages": [], "comparison": {"reason": "not compared: x"}}
    )
    assert words.run_headline(view) == "Measured: too few results for a period"
    assert words.outputs_text(view) == "Outputs: not compared: x"


def test_names_are_made_harmless() -> None:
    assert clean("größe/層 1") == "größe/層 1"
    assert clean(HOSTILE) == ("<script>alert('x')</script>&\"[bold]\\x1b[2J\\u202e\\ud800\\n$title")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "x"}, "plan: format: expected 'stagewright-plan/1', got 'x'"),
        ({"stages": None}, "plan: stages: expected a list, got NoneType"),
        ({"stages": [{}]}, "plan: stages[0].nodes: expected a list, got NoneType"),
        ({"bottleneck": "soon"}, "plan: bottleneck: expected a number of seconds, got 'soon'"),
        ({"bottleneck": -1}, "plan: bottleneck: expected a finite number >= 0, got -1"),
        ({"machine": {}}, "plan: machine: expected the object of a plan file, got a fault"),
        (
            {"bottleneck": 0.003},
            "plan: bounds[0].value: expected at most the bottleneck, got 3100000000 ps",
        ),
    ],
)
def test_documents_that_are_no_plans(change: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckError) as caught:
        read_plan_view(optimal() | change)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("report", [{}, {"period": 1, "stages": [3]}, {"stages": []}, []])
def test_reports_that_are_no_runs(report: Any) -> None:
    with pytest.raises(
        InputError, match="expected the object that `stagewright run --json` prints"
    ):
        read_run_view(report)
