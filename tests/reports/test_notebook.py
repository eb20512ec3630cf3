# SPDX-License-Identifier: Apache-2.0
"""What notebooks show: tables of graph, plan and result, and pages in frames."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest

import stagewright as sw
from stagewright.api import Result
from stagewright.errors import InputError
from stagewright.graph import GraphBuilder
from stagewright.plans import Plan

from .test_page import Reader


@pytest.fixture(scope="module")
def result() -> Result:
    builder = GraphBuilder("net <b>")
    for i in range(12):
        builder.add_node(f"/m/layers.{i}/op", op=f"Op{i % 10}", work=10**9)
    for i in range(11):
        builder.add_tensor(i, [i + 1], nbytes=1000)
    builder.add_param(1 << 20, [0])
    return sw.plan(builder.build(), 3, bandwidth=10**9, time_limit=5)


def words(html: str) -> str:
    return Reader(html).text


def test_graph(result: Result) -> None:
    text = words(result.graph._repr_html_())
    assert text.startswith("net <b> : 12 nodes, 11 tensors, 1 MiB of parameters, 12 ms of work")
    assert "Op0 2 2 ms" in text
    assert "2 others 2 2 ms" in text


def test_graph_without_work() -> None:
    builder = GraphBuilder("empty")
    builder.add_node("a")
    text = words(builder.build()._repr_html_())
    assert text == "empty : 1 node, 0 tensors, no work yet Operator Nodes Work (no operator) 1 0 s"


def test_plan(result: Result) -> None:
    assert words(result.plan._repr_html_()).startswith("Plan : 12 nodes in 3 stages Stage Nodes")
    assert words(Plan(())._repr_html_()) == "Plan : 0 nodes in 0 stages Stage Nodes"


def test_result(result: Result) -> None:
    html = result._repr_html_()
    assert words(html).startswith("net <b> : Proven optimal: bottleneck 4.002 ms")
    assert "1 (bottleneck) 4 4.002 ms" in words(html)
    widths = [float(w) for w in re.findall(r"width:([\d.]+)%", html)]
    assert (
        99 < sum(widths[3:6]) < 101 or 99 < sum(widths[2:5]) < 101
    )  # the bottleneck's bar is full


def test_plots_are_pages_in_frames(result: Result, tmp_path: Path) -> None:
    whole = result.plot()
    frame = whole._repr_html_()
    assert frame.startswith('<iframe srcdoc="')
    assert 'sandbox="allow-scripts"' in frame
    assert unescape(frame.partition('srcdoc="')[2].partition('" sandbox')[0]) == whole.html
    whole.save(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == whole.html
    assert repr(whole).startswith("<Figure of the page, ")
    for what, heading in (("graph", "The graph"), ("memory", "Memory"), ("search", "The search")):
        reader = Reader(result.plot(what).html)
        assert reader.count("h2") == 1
        assert heading in reader.text
    assert "Plans that were made beforehand" in words(result.plot("what-if", what_if=2).html)


def test_unknown_plots_are_refused(result: Result) -> None:
    with pytest.raises(InputError, match=r"what: expected one of page, stages, graph, .*'pie'"):
        result.plot("pie")
