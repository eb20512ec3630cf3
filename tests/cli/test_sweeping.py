# SPDX-License-Identifier: Apache-2.0
"""The command sweep: its table, its files, its answers, its messages."""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from tests.cli.test_cli import chain, json_of, run

import stagewright as sw
from stagewright.readers.graph_writer import write_graph_file
from stagewright.sweeps import parse_stages


@pytest.fixture
def graph_file(tmp_path: Path) -> Path:
    path = tmp_path / "chain.graph.json"
    write_graph_file(chain(8), path)
    return path


def test_table_and_answer(graph_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--bandwidth", "1GB/s", "-k", "1..6", "--target-rate", 65)
    assert run("sweep", graph_file, *options) == 0
    shown = capsys.readouterr()
    assert "65 inferences/s take 3 devices (proven: 2 cannot do)." in shown.out
    assert "6 of 6 points are proven" in shown.out
    rows = [line.split() for line in shown.out.splitlines() if "/s " in line and "optimal" in line]
    assert [row[0].lstrip("*") for row in rows] == ["1", "2", "3", "4", "5", "6"]
    assert shown.err == ""


def test_json_agrees_with_single_plans(
    graph_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("sweep", graph_file, "-k", "1,3..5", "--bandwidth", "1MB/s,1GB/s", "--json") == 0
    document = json_of(capsys)
    assert document["format"] == "stagewright-sweep/1"
    assert len(document["points"]) == 8
    for point in document["points"]:
        machine = ("-k", point["stages"], "--bandwidth", point["bandwidth"])
        assert run("plan", graph_file, *machine, "--json") == 0
        single = json_of(capsys)
        assert single["bottleneck"] == point["period"]
        assert single["lower_bound"] == point["lower_bound"]
        assert point["latency"] == pytest.approx(point["period"] * point["devices"])
        assert point["status"] == "optimal"
    assert "answers" not in document


def test_files(graph_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / name for name in ("s.html", "s.svg", "s.csv", "s.json")]
    outputs = [item for file in files for item in ("-o", file)]
    plans = tmp_path / "plans"
    machine = ("--bandwidth", "1GB/s, 2GB/s", "-k", "1..4")
    assert run("sweep", graph_file, *machine, *outputs, "--plans", plans) == 0
    told = capsys.readouterr().err.splitlines()
    assert told == [*(f"written: {file}" for file in files), f"written: {plans} (8 plans)"]
    picture = ET.fromstring(files[1].read_text())
    circles = picture.findall(".//{http://www.w3.org/2000/svg}circle")
    assert len(circles) == 2 * 8, "each point in both panels"
    page = files[0].read_text()
    assert "Sweep of chain" in page
    assert "http" not in page.replace('http-equiv="', "").replace("http://www.w3.org/2000/svg", "")
    rows = list(csv.DictReader(files[2].open()))
    document = json.loads(files[3].read_text())
    assert [float(row["period"]) for row in rows] == [p["period"] for p in document["points"]]
    assert len(list(plans.iterdir())) == 8
    for plan in sorted(plans.iterdir()):
        assert run("check", graph_file, plan) == 0
        assert json.loads(plan.read_text())["source"]["model"] == str(graph_file)


def test_a_rate_that_is_not_reached_ends_with_1(
    graph_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("sweep", graph_file, "-k", "1..2", "--bandwidth", "1GB/s", "--target-rate", 65) == 1
    assert "are not reached; the best is" in capsys.readouterr().out
    options = ("-k", "1..2", "--bandwidth", "1GB/s", "--target-rate", "1e9")
    assert run("sweep", graph_file, *options) == 1
    assert "No number of such devices reaches 1e+09 inferences/s" in capsys.readouterr().out


def test_no_plan_within_a_memory_limit(
    graph_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limit = ("--memory-limit", "1500B", "--bandwidth", "1GB/s", "-k", "1..3")
    assert run("sweep", graph_file, *limit) == 0
    assert capsys.readouterr().out.count("none (proven)") == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-k", "4..1"), "stages: expected numbers of devices such as 1..16"),
        (("-k", "0..3"), "stages: expected numbers of devices such as 1..16"),
        (("-k", "x"), "got 'x'"),
        (("-k", "1..5000"), "stages: expected numbers of devices"),
        (("--target-rate", "-1"), "target rate: expected inferences per second above 0"),
        (("-o", "s.png"), "expected a name that ends in .html, .svg, .csv or .json, got s.png"),
        (("--reserve", "1=1GB", "--memory", "2GB"), "the same on all devices in a sweep"),
        (("--bandwidth", "1GB/s,fast"), "bandwidth: expected a bandwidth above 0"),
    ],
)
def test_messages(
    options: tuple[str, ...],
    message: str,
    graph_file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = options if "--bandwidth" in options else ("--bandwidth", "1GB/s", *options)
    assert run("sweep", graph_file, *given) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert message in shown.err


def test_numbers_of_stages() -> None:
    assert parse_stages("1..3, 8,2") == [1, 2, 3, 8]
    assert parse_stages(range(2, 5)) == [2, 3, 4]
    assert parse_stages(7) == [7]
    with pytest.raises(sw.StagewrightError, match="whole numbers of devices above 0"):
        parse_stages([True])


def test_in_python() -> None:
    found = sw.sweep(chain(8), "1..5", bandwidth="1GB/s", target_rate=65)
    assert repr(found) == "<Sweep of 'chain': 5 points, 5 proven optimal>"
    ((point, answer),) = found.devices_for(65)
    assert (answer.devices, answer.proven) == (3, True)
    result = found.result(point)
    assert result.status == "optimal"
    assert sw.check(found.graph, result).exit_code == 0
    assert result.bottleneck == sw.plan(chain(8), 3, bandwidth="1GB/s").bottleneck
    with pytest.raises(sw.StagewrightError, match="none beside a bandwidth"):
        sw.sweep(chain(8), "1..5", bandwidth="1GB/s", bandwidths=["1GB/s"])
    with pytest.raises(sw.StagewrightError, match="prices by it"):
        sw.sweep(chain(8), 2, bandwidths=["1GB/s", "2GB/s"], count_graph_io=True)
