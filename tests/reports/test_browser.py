# SPDX-License-Identifier: Apache-2.0
"""In a browser: what the page draws is there and works, and nothing else happens."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import stagewright as sw
from chromium import Browser, BrowserError, Page, find_browser
from stagewright.benching.families import layered_model
from stagewright.graph import CostGraph, GraphBuilder
from stagewright.reports.page import save_page

from .documents import HOSTILE, plan, run, stage

READY = "document.documentElement.dataset.ready"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if find_browser() is None:
        pytest.skip("needs chromium, which only root can install (apt install chromium)")
    try:
        started = Browser()
    except BrowserError as error:
        pytest.skip(f"the browser does not start here: {error}")
    with started:
        yield started


def transformer(layers: int) -> CostGraph:
    """A graph with modules in its names, parameters, and tensors in bytes."""
    builder = GraphBuilder("transformer")
    before = builder.add_node("/model/embed/Gather", op="Gather", work=10**6)
    edges: dict[int, list[int]] = {}
    for i in range(layers):
        scope = f"/model/layers.{i}"
        rows = [
            builder.add_node(f"{scope}/{name}", op=name.rpartition("/")[2], work=10**7 + i)
            for name in ("norm/Mul", "attn/MatMul", "attn/Softmax", "mlp/Gemm", "mlp/Relu", "Add")
        ]
        builder.add_param(1 << 20, [rows[1]])
        for a, b in zip([before, *rows], rows, strict=False):
            edges.setdefault(a, []).append(b)
        edges[before].append(rows[-1])
        before = rows[-1]
    for producer, users in edges.items():
        builder.add_tensor(producer, sorted(set(users)), nbytes=1 << 16)
    return builder.build()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    result = sw.plan(transformer(6), 3, bandwidth="10GB/s", memory="8MiB", time_limit=10)
    path = tmp_path_factory.mktemp("page") / "page.html"
    result.report(path, run=run(), what_if=5, verify=True)
    return path


def opened(browser: Browser, path: Path, **options: Any) -> Page:
    page = browser.open(path, **options)
    page.wait(READY)
    return page


def nothing_else_happened(page: Page, path: Path) -> None:
    assert page.complaints() == []
    addresses = [url for url in page.requests() if not url.startswith(("blob:", "data:"))]
    assert addresses == [path.absolute().as_uri()]


def middle(page: Page, selector: str) -> tuple[float, float]:
    page.evaluate(f"document.querySelector('{selector}').scrollIntoView({{block: 'center'}})")
    x, y = page.evaluate(
        f"(b => [b.x + b.width / 2, b.y + Math.min(b.height / 2, 12)])"
        f"(document.querySelector('{selector}').getBoundingClientRect())"
    )
    return float(x), float(y)


def number(page: Page, selector: str) -> int:
    return int(page.evaluate(f"document.querySelectorAll('{selector}').length"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_everything_is_drawn(browser: Browser, report: Path, scheme: str, width: int) -> None:
    page = opened(browser, report, width=width, scheme=scheme)
    for selector in (
        "svg.graph .part, svg.graph .node",
        "svg.graph .edge.cut .tag",
        "#search-plot svg.plot .upper",
        "#memory-plot svg.plot .alive",
        "#what-if-view [data-bars] rect",
        "#run table",
    ):
        assert number(page, selector), selector
    for selector in ("svg.graph", "#search-plot svg", "#memory-plot svg", "#stages .chart"):
        box = page.evaluate(
            f"(b => [b.width, b.height])(document.querySelector('{selector}').getBoundingClientRect())"
        )
        assert min(box) > 40, selector
    assert page.evaluate("document.documentElement.scrollWidth") <= width  # nothing sticks out
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")
    nothing_else_happened(page, report)


def test_modules_open_and_close(browser: Browser, report: Path) -> None:
    page = opened(browser, report)
    page.evaluate("document.querySelector('[data-act=close]').click()")
    page.wait("document.querySelectorAll('svg.graph .part').length === 3")
    assert number(page, "svg.graph .node") == 0
    page.click(*middle(page, "svg.graph .part .face"))
    page.wait("document.querySelectorAll('svg.graph .box').length === 1")
    page.click(*middle(page, "svg.graph .box text"))
    page.wait("document.querySelectorAll('svg.graph .box').length === 0")
    for _ in range(4):
        page.evaluate("document.querySelector('[data-act=open]').click()")
        time.sleep(0.2)
    page.wait("document.querySelectorAll('svg.graph .node').length === 37")
    page.evaluate("document.querySelector('[data-act=turn]').click()")
    page.wait("document.querySelector('svg.graph').querySelector('g').getBBox().width > 1000")
    nothing_else_happened(page, report)


def test_search_goes_to_the_node(browser: Browser, report: Path) -> None:
    page = opened(browser, report)
    page.evaluate("document.querySelector('[data-act=close]').click()")
    page.wait("document.querySelectorAll('svg.graph .part').length === 3")
    page.evaluate("document.getElementById('graph-search').focus()")
    page.type("LAYERS.4/attn/soft")
    assert number(page, "#graph-hits li") == 1
    page.key("ArrowDown")
    page.key("Enter")
    page.wait("document.querySelectorAll('svg.graph .selected').length === 1")
    label = page.evaluate(
        "document.querySelector('svg.graph .selected').getAttribute('aria-label')"
    )
    assert label.startswith("/model/layers.4/attn/Softmax, Operator Softmax, Stage ")
    x, y = middle(page, "svg.graph .selected")
    assert page.evaluate(f"!!document.elementFromPoint({x}, {y}).closest('.selected')")
    page.evaluate("document.getElementById('graph-search').value = ''")
    page.evaluate("document.getElementById('graph-search').focus()")
    page.type("no such node")
    assert page.evaluate("document.querySelector('[data-found]').textContent") == "0 found"
    nothing_else_happened(page, report)


def test_hover_and_focus_tell_the_costs(browser: Browser, report: Path) -> None:
    page = opened(browser, report)
    told = "document.querySelector('.tip').textContent"
    page.move(*middle(page, "svg.graph .part .face, svg.graph .node .face"))
    page.wait("!document.querySelector('.tip').hidden")
    assert "Work" in page.evaluate(told)
    page.move(2, 2)
    page.wait("document.querySelector('.tip').hidden")
    page.evaluate("document.querySelector('.stages button:last-child').focus()")
    page.key("Tab")
    page.wait("document.activeElement.closest('svg.graph') !== null")
    first = page.evaluate("document.activeElement.dataset.item")
    page.key("ArrowDown")
    assert page.evaluate("document.activeElement.dataset.item") != first
    page.wait("!document.querySelector('.tip').hidden")
    assert "Work" in page.evaluate(told)
    nothing_else_happened(page, report)


def test_edges_tell_bytes_and_time(browser: Browser, report: Path) -> None:
    page = opened(browser, report)
    tags = page.evaluate("[...document.querySelectorAll('svg.graph .tag')].map(t => t.textContent)")
    assert tags
    assert all("64\u00a0KiB · 6.554\u00a0us" in tag for tag in tags)


def test_sliders_show_other_plans(browser: Browser, report: Path) -> None:
    page = opened(browser, report)
    said = "document.querySelector('[data-told=verdict]').textContent"
    assert "as in the plan of this page" in page.evaluate(said)
    page.evaluate(
        "(s => { s.value = s.max; s.dispatchEvent(new Event('input')); })"
        "(document.getElementById('what-if-k'))"
    )
    assert page.evaluate("document.querySelector('[data-told=k]').textContent") == "6"
    assert "less than that of this page" in page.evaluate(said)
    nothing_else_happened(page, report)


def test_names_do_nothing(browser: Browser, tmp_path: Path) -> None:
    evil = "</script></pre><img src=x onerror=document.title='owned'>" + HOSTILE.encode(
        "ascii", "backslashreplace"
    ).decode("ascii")
    builder = GraphBuilder(evil)
    for i in range(3):
        builder.add_node(f"{evil}{i}", op=evil, work=1)
    builder.add_tensor(0, [1, 2], nbytes=5)
    path = tmp_path / "page.html"
    sw.plan(builder.build(), 2, bandwidth=10**9).report(path, what_if=1)
    page = opened(browser, path)
    page.evaluate("document.getElementById('graph-search').focus()")
    page.type("img")
    assert number(page, "#graph-hits li") == 3
    assert "owned" not in page.evaluate("document.title.slice(0, 6)")
    assert number(page, "img") == 0
    nothing_else_happened(page, path)


def test_node_lists_are_searched_without_a_graph(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    save_page(plan([stage(["conv1", "relu1"], work="1")], []), path)
    page = opened(browser, path)
    page.evaluate("document.getElementById('node-search').focus()")
    page.type("relu")
    assert page.evaluate("document.querySelector('#search output').textContent") == "1 found"
    nothing_else_happened(page, path)


def test_large_graphs_are_drawn_closed(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    sw.plan(layered_model(10_000, 1), 8, time_limit=2).report(path)
    assert path.stat().st_size < 5_000_000
    page = opened(browser, path)
    assert 8 <= number(page, "svg.graph .part") <= 60
    page.evaluate("document.getElementById('graph-search').focus()")
    page.type("n7777")
    page.key("Enter")
    page.wait("document.querySelectorAll('svg.graph .selected').length === 1")
    nothing_else_happened(page, path)


def test_page_prints(browser: Browser, report: Path, tmp_path: Path) -> None:
    page = opened(browser, report, scheme="dark")
    page.pdf(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


def test_plots_work_in_their_frames(browser: Browser, tmp_path: Path) -> None:
    result = sw.plan(transformer(2), 2, bandwidth="10GB/s", time_limit=5)
    path = tmp_path / "cell.html"
    frame = result.plot("graph")._repr_html_()
    path.write_text(f"<!DOCTYPE html><html><body>{frame}</body></html>", encoding="utf-8")
    page = browser.open(path)
    inner = page.frame()
    inner.wait(READY)
    assert number(inner, "svg.graph .part, svg.graph .node") >= 2
    assert inner.complaints() == []
    nothing_else_happened(page, path)
