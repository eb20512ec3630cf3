# SPDX-License-Identifier: Apache-2.0
"""The page: well-formed, self-contained, escaped, readable without seeing it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from stagewright.errors import CheckError, InputError
from stagewright.reports.page import page, save_page

from .documents import HOSTILE, bound, many, optimal, plan, run, stage

VOID = {"br", "col", "input", "meta"}


class Reader(HTMLParser):
    """Checks nesting; collects elements and the text outside style and script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).replace("\N{NO-BREAK SPACE}", " ").split())

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


def full() -> dict[str, Any]:
    document = optimal()
    document["machine"]["memory"] = 1 << 30
    document["stages"][0].update(param_bytes=3 << 30, peak_bytes=5 << 20)
    document["source"] = {"model": "models/net.onnx"}
    document["history"] = [
        {"seconds": 0.0, "phase": "search", "upper": 0.005, "lower": 0.0031},
        {"seconds": 0.02, "phase": "exact", "upper": 0.00342, "lower": 0.00342},
    ]
    return document


def test_page_says_everything() -> None:
    text = Reader(page(full(), run=run())).text
    for words in (
        "net.onnx, a plan for 4 stages",
        "Proven optimal",
        "no other plan for this graph and machine has a bottleneck below 3.42 ms",
        "Stage 2 of 4 sets the pace: 5.8 % receive, 87.7 % work, 6.4 % send.",
        "2 (bottleneck)",
        "every case was looked at",
        "25 GB/s",
        "2.005 GiB too much, streamed",
        "2.9 % longer than predicted",
        "Outputs: equal to the unsplit model's",
        "best lower bound so far",
        "the gap is closed",
        "ab" * 32,
    ):
        assert words in text


@pytest.mark.parametrize("document", [optimal(), full(), many(1), many(64)])
def test_page_is_whole_and_needs_no_network(document: dict[str, Any]) -> None:
    text = page(document)
    reader = Reader(text)
    assert reader.count("style") == 1
    assert [a.get("id") for t, a in reader.elements if t == "script"] == ["data", "d3", None]
    own = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    own = own.replace(files("stagewright.reports").joinpath("vendor/d3.min.js").read_text(), "")
    assert not re.search(r"https?:|[^:]//[a-z]|@import|@font-face|url\((?!#)", own)
    policy = next(a["content"] for t, a in reader.elements if "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    for tag, attributes in reader.elements:
        assert "src" not in attributes
        assert "style" not in attributes, f"the policy blocks style attributes: {tag}"
        assert (attributes.get("href") or "#").startswith("#")
        assert not any(name.startswith("on") for name in attributes)


def test_ids_are_unique_and_references_lead_somewhere() -> None:
    reader = Reader(page(full(), run=run()))
    ids = [a["id"] for _, a in reader.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attributes in reader.elements:
        for key in ("for", "aria-labelledby"):
            assert attributes.get(key, ids[0]) in ids


def test_page_can_be_read_without_seeing_it() -> None:
    reader = Reader(page(full(), run=run()))
    assert ("html", {"lang": "en"}) in reader.elements
    assert reader.count("h1") == reader.count("main") == 1
    assert reader.count("table") == reader.count("caption") == 6
    for tag, attributes in reader.elements:
        if tag == "svg":
            assert attributes["aria-hidden"] == "true"
        if tag == "th":
            assert attributes["scope"] in ("col", "row")
        if attributes.get("role") == "img":
            assert attributes["aria-label"]


def test_hostile_texts_are_escaped_everywhere() -> None:
    document = plan(
        [stage([HOSTILE, HOSTILE + "2"], work="1")],
        [bound(HOSTILE, "0.5", HOSTILE)],
        stopped_because=HOSTILE,
        version=HOSTILE,
        graph_sha256=HOSTILE,
        source={"model": HOSTILE},
        history=[{"seconds": 0, "phase": HOSTILE, "upper": 1, "lower": 0}],
    )
    measured = run() | {"engine": HOSTILE, "latency": {HOSTILE: 1}, "outputs_equal": None}
    measured["comparison"]["reason"] = HOSTILE
    text = page(document, run=measured, title=HOSTILE)
    assert Reader(text).count("script") == 3
    assert "<script>alert" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "$title" in Reader(text).text


def test_claims_are_not_called_proven() -> None:
    document = plan([stage(["a"], work="1")], [bound("mip", "1", "claimed")])
    text = Reader(page(document)).text
    assert "Optimal if a solver's claim holds" in text
    assert "a solver says so; not proven" in text
    assert "Proven optimal" not in text
    assert "The dashed line" not in text


def test_empty_parts_leave_no_empty_sections() -> None:
    text = Reader(page(plan([stage(["a"], work="0")], []))).text
    for heading in ("Lower bounds", "Memory", "The search", "Measured against predicted"):
        assert heading not in text


def test_sizes_of_pages() -> None:
    libraries = 140_000
    assert len(page(many(8, 100)).encode()) < libraries + 90_000
    assert len(page(many(64, 20)).encode()) < libraries + 230_000
    assert len(page(many(16, 625)).encode()) < libraries + 430_000  # 10,000 nodes


def test_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    save_page(optimal(), path, run=run())
    assert path.read_text(encoding="utf-8") == page(optimal(), run=run())
    with pytest.raises(CheckError):
        save_page({}, path)
    with pytest.raises(InputError, match="expected a writable file"):
        save_page(optimal(), tmp_path / "missing" / "page.html")
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_libraries_travel_with_their_licences() -> None:
    vendor = files("stagewright.reports").joinpath("vendor")
    licences = vendor.joinpath("LICENSES.txt").read_text(encoding="utf-8")
    for name in ("@dagrejs/dagre", "d3-scale", "d3-selection", "d3-shape", "d3-zoom"):
        assert re.search(rf"^{name} \d+\.\d+\.\d+ \((MIT|ISC)\)$", licences, re.MULTILINE), name
    for entry in vendor.iterdir():
        if entry.name.endswith(".js"):
            assert "sourceMappingURL" not in entry.read_text(encoding="utf-8")
    assert "Copyright 2010" in page(optimal())
