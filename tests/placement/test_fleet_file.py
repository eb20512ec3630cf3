# SPDX-License-Identifier: Apache-2.0
"""Machine files and files of work: what they say, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import stagewright as sw
from stagewright.errors import GraphError, InfeasibleError, InputError
from stagewright.graph import GraphBuilder
from stagewright.placement.devices import UNABLE, Fleet, Link
from stagewright.placement.fleet_file import read_fleet
from stagewright.placement.reading import read_work
from stagewright.placement.workload import Workload


def workload() -> Workload:
    builder = GraphBuilder("chain")
    for i in range(4):
        builder.add_node(f"n{i}", op="TopK" if i == 2 else "Conv", work=10, flops=10**9)
    for i in range(3):
        builder.add_tensor(i, [i + 1], nbytes=1000)
    return Workload(builder.build(), rows={"cpu": (1, 2, 3, 4)})


def fleet_of(text: str, tmp_path: Path) -> Fleet:
    path = tmp_path / "cluster.toml"
    path.write_text(text, encoding="utf-8")
    return read_fleet(path, workload())


def test_everything_a_file_can_say(tmp_path: Path) -> None:
    fleet = fleet_of(
        """
        order = ["fast", "slow", "fast"]
        link_inside = "100GB/s"
        link_between = "1GB/s"
        overlap = true
        [[device]]
        kind = "fast"
        count = 2
        device = "h100-sxm"
        memory_limit = "1GiB"
        host = "a"
        cost = 3
        [[device]]
        kind = "slow"
        work = "cpu"
        scale = 1.5
        bandwidth = "2GB/s"
        latency = "5us"
        memory = 100
        transfers = "free"
        unsupported = ["TopK", "n3"]
        host = "b"
        """,
        tmp_path,
    )
    fast, slow = fleet.kinds
    assert (fast.count, fast.cost, fast.memory, fast.memory_limit) == (2, 3, None, 2**30)
    assert fast.work is not None
    assert 0 < fast.work[0] < 10**12
    assert slow.work == (2, 3, UNABLE, UNABLE)  # rounded up
    assert slow.link == Link(2 * 10**9, 5 * 10**6, free=True)
    assert slow.memory == 100
    assert fleet.order == (0, 1, 0)
    assert fleet.links == (Link(10**9), Link(10**9))
    assert fleet.overlap


def test_a_kind_is_the_catalogues_by_default(tmp_path: Path) -> None:
    (kind,) = fleet_of('[[device]]\ndevice = "h100-sxm"\n', tmp_path).kinds
    assert kind.name == "h100-sxm"
    assert kind.memory
    assert kind.link.bandwidth
    assert kind.count == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "device: expected at least one [[device]] table, got none"),
        ("x = 1", "x: expected one of the keys"),
        ("[[device]]\ncount = 1", "device[0].kind: expected a text, got none"),
        ('[[device]]\nkind = "a"\ncount = 0', "count: expected a whole number from 1"),
        ('[[device]]\nkind = "a"\ncount = "2"', "count: expected a whole number, got '2'"),
        ('[[device]]\nkind = "a"\nspeed = 2', "device[0]: speed: expected one of the keys"),
        ('[[device]]\nkind = "a"\nwork = "b"', "work: expected a row of work: cpu, got 'b'"),
        ('[[device]]\nkind = "a"\nscale = 0', "scale: expected a number above 0, got 0"),
        ('[[device]]\nkind = "a"\ntransfers = "no"', "expected 'charged' or 'free', got 'no'"),
        ('[[device]]\nkind = "a"\nmemory = "1GiB"', "memory: expected a bandwidth beside it"),
        ('[[device]]\nkind = "a"\nunsupported = ["("]', "expected a regular expression, got '('"),
        ('[[device]]\nkind = "a"\ndevice = "h1000"', "device 'h1000': expected the name"),
        ('[[device]]\nkind = "a"\n[[device]]\nkind = "a"', "device 'a': expected each kind once"),
        ('order = "b"\n[[device]]\nkind = "a"', "order: expected 'any', 'fixed' or a list"),
        ('order = ["b"]\n[[device]]\nkind = "a"', "order: expected kinds: a, got 'b'"),
        ('order = ["a"]\n[[device]]\nkind = "a"\ncount = 2', "expected all 2 places, got 1"),
        ('links = []\n[[device]]\nkind = "a"', "expected a fixed order of devices, got none"),
        (
            'order = "fixed"\nlinks = []\n[[device]]\nkind = "a"\ncount = 2',
            "links: expected 1, between 2 places, got 0",
        ),
        ('link_inside = "1GB/s"\n[[device]]\nkind = "a"', "link_between: expected a link beside"),
        ("[[device]]\nkind = ", "expected a TOML file, got a fault"),
    ],
)
def test_faults_are_named(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        fleet_of(text, tmp_path)
    assert said in str(caught.value)


def test_work_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "work.json"
    content = {
        "format": "stagewright-work/1",
        "time_unit": "ns",
        "work": {"tpu": {"n0": 1, "n1": 0.5, "n2": None, "n3": 2}},
    }
    path.write_text(json.dumps(content))
    assert read_work(path, workload().graph) == {"tpu": (1000, 500, UNABLE, 2000)}
    for change, said in (
        ({"format": "x"}, "format: expected 'stagewright-work/1'"),
        ({"time_unit": "h"}, "time_unit: expected one of s, ms"),
        ({"work": {"tpu": {"n0": 1}}}, "work.tpu: expected a time for node 'n1', got none"),
        ({"work": {"tpu": {"n9": 1}}}, "work.tpu: expected nodes of the graph, got 'n9'"),
        ({"work": {"tpu": {f"n{i}": -1 for i in range(4)}}}, "work.tpu.n0"),
        ({"more": 1}, "more: expected one of the keys"),
    ):
        path.write_text(json.dumps(content | change))
        with pytest.raises((InputError, GraphError)) as caught:
            read_work(path, workload().graph)
        assert said in str(caught.value)


def test_place_with_a_machine_file(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(
        '[[device]]\nkind = "a"\ncount = 2\nbandwidth = "1TB/s"\nunsupported = ["TopK"]\n'
        '[[device]]\nkind = "b"\nscale = 2\nbandwidth = "1TB/s"\n'
    )
    result = sw.place(workload(), tmp_path / "m.toml")
    # n2 runs on b alone: with tensors of 1 ns, which dwarf the work, everything is there.
    assert result.status == "optimal"
    assert result.solution.bottleneck == 80
    assert result.check().exit_code == 0


def test_what_no_device_can_run_or_hold(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(
        '[[device]]\nkind = "a"\nbandwidth = 1000\nunsupported = ["TopK"]\n'
    )
    with pytest.raises(InfeasibleError, match="no kind of device can run node 'n2'"):
        sw.place(workload(), tmp_path / "m.toml")
    (tmp_path / "m.toml").write_text('[[device]]\nkind = "a"\nbandwidth=1\nmemory_limit = 1500\n')
    with pytest.raises(InfeasibleError, match=r"node 'n1' hold 2000 bytes, more than any device"):
        sw.place(workload(), tmp_path / "m.toml")


def test_place_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="machine: expected the devices to plan for, got none"):
        sw.place(workload())
    (tmp_path / "m.toml").write_text('[[device]]\nkind = "a"\n')
    with pytest.raises(InputError, match="expected one for every kind of device, since some"):
        sw.place(workload(), tmp_path / "m.toml")
