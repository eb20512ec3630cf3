# SPDX-License-Identifier: Apache-2.0
"""Grids are read whole or refused with the key that is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stagewright.benching.grid import Grid
from stagewright.benching.packs import line_of, write_pack
from stagewright.benching.random_dags import TOPOLOGIES, random_dag, random_parameters
from stagewright.benching.runs import answer_of
from stagewright.errors import InputError

RANDOM = '[[instances]]\nset = "r"\nrandom = 2\n'


def load(tmp_path: Path, text: str) -> Grid:
    path = tmp_path / "grid.toml"
    path.write_text(text)
    return Grid.load(path)


def test_every_combination_is_a_job_and_bounds_without_chance_take_one_seed(tmp_path: Path) -> None:
    text = 'stages = [2, 4]\nmethods = ["plan", "simple"]\nseeds = [3, 4]\nlimits = [1, 2]\n'
    jobs = list(load(tmp_path, text + RANDOM).jobs())
    assert len(jobs) == 2 * 2 * (2 * 2 + 1 * 2)
    keys = {tuple(job.key.values()) for job in jobs}
    assert len(keys) == len(jobs)
    assert {job.seed for job in jobs if job.method == "simple"} == {3}


def test_files_meet_machines_and_names_are_chosen(tmp_path: Path) -> None:
    lines = [line_of(random_dag("watts", 5, seed), f"area/{seed}/b1") for seed in range(4)]
    write_pack(tmp_path / "some.jsonl.xz", lines)
    (tmp_path / "model.onnx").write_bytes(b"model")
    grid = load(
        tmp_path,
        'stages = [2]\n[machines.fast]\nbandwidth = "1GB/s"\n[machines.slow]\nbandwidth = "1MB/s"\n'
        '[[instances]]\nset = "packed"\nfiles = ["*.xz"]\nonly = "[123]/b1"\nfirst = 2\n'
        '[[instances]]\nset = "one"\nfiles = ["model.onnx"]\nmachines = ["slow"]\n',
    )
    found = [(i.set, i.name, i.machine, i.kind) for i in grid.instances]
    assert found == [
        ("packed", "area/1/b1", "fast", "pack"),
        ("packed", "area/1/b1", "slow", "pack"),
        ("packed", "area/2/b1", "fast", "pack"),
        ("packed", "area/2/b1", "slow", "pack"),
        ("one", "model.onnx", "slow", "file"),
    ]
    assert grid.instances[1].options == (("bandwidth", "1MB/s"),)


def test_the_same_file_with_other_content_is_another_run(tmp_path: Path) -> None:
    text = 'stages = [2]\n[[instances]]\nset = "one"\nfiles = ["model.json"]\n'
    keys = []
    for content in ("one", "two"):
        (tmp_path / "model.json").write_text(content)
        (job,) = load(tmp_path, text).jobs()
        keys.append(job.key)
    assert keys[0] != keys[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stages = [", "expected TOML"),
        (RANDOM, "grid.toml: stages: expected a list, got nothing"),
        ("stages = [0]\n" + RANDOM, r"stages: expected whole numbers >= 1, got \[0\]"),
        ("stages = [2]\nstage = 3\n" + RANDOM, "stage: expected a key of instances, limits"),
        (
            'stages = [2]\nmethods = ["best"]\n' + RANDOM,
            "methods: expected some of plan, .*, got best",
        ),
        ("stages = [2]\nlimits = [0]\n" + RANDOM, "limits: expected numbers of seconds > 0, got 0"),
        ("stages = [2]\nthreads = 0\n" + RANDOM, "threads: expected a whole number >= 1, got 0"),
        ("stages = [2]\n", "instances: expected a list, got nothing"),
        (
            "stages = [2]\n" + RANDOM + 'only = "zzz"\n',
            "instances: expected at least one, got none",
        ),
        (
            "stages = [2]\n" + RANDOM + 'only = "("\n',
            r"instances\[0\].only: expected a regular expression",
        ),
        (
            "stages = [2]\n" + RANDOM + 'files = ["x"]\n',
            r"instances\[0\]: expected one of files, random and families, got 2 of them",
        ),
        (
            "stages = [2]\n" + RANDOM + RANDOM + "communication = 2\n",
            r"instances\[1\]: expected names that differ, got r/",
        ),
        (
            "stages = [2]\n" + RANDOM + "limits = []\n",
            r"instances\[0\].limits: expected at least one, got none",
        ),
        (
            'stages = [2]\nmethods = ["plan@far"]\n' + RANDOM,
            "methods: expected plan@ and the name of a machine, got plan@far",
        ),
        (
            "stages = [2]\n[machines.a]\nscale_link = 0\ndevice = 'h100-sxm'\n" + RANDOM,
            "machines.a.scale_link: expected a number > 0, got 0",
        ),
        (
            "stages = [2]\n[machines.a]\nscale_link = 2\nlink = 'ethernet-100g'\n" + RANDOM,
            "machines.a.scale_link: expected a device, got none",
        ),
        (
            'stages = [2]\n[[instances]]\nset = "g"\nfamilies = ["tree"]\nnodes = [9]\n',
            r"instances\[0\].families: expected some of layered, .*, got tree",
        ),
        (
            'stages = [2]\n[[instances]]\nset = "r"\nrandom = 1\npublished = "x"\n',
            r"instances\[0\].published: expected a key of",
        ),
        (
            'stages = [2]\n[[instances]]\nset = "r"\nfiles = ["*.no"]\n',
            r"files: expected a pattern that some file matches, got \*.no",
        ),
        (
            'stages = [2]\n[machines.a]\nspeed = 3\n[[instances]]\nset = "r"\nrandom = 1\n',
            r"machines.a.speed: expected a key of bandwidth, .*, got speed",
        ),
    ],
)
def test_faults_name_the_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(tmp_path, text)


def test_parts_have_their_own_runs_and_none_is_made_twice(tmp_path: Path) -> None:
    text = "stages = [2, 4]\nopen_limits = [9]\n" + RANDOM + RANDOM
    grid = load(
        tmp_path, text + 'stages = [4, 8]\nmethods = ["simple", "plan"]\nopen_limits = []\n'
    )
    runs = [(j.instance.name[:3], j.stages, j.method, j.time_limit) for j in grid.jobs()]
    names = [instance.name[:3] for instance in grid.instances]
    first = [(n, k, "plan", limit) for limit in (5.0, 9.0) for n in names for k in (2, 4)]
    second = [(n, k, m, 5.0) for n in names for k in (4, 8) for m in ("simple", "plan")]
    assert runs == [*first, *(run for run in second if run not in first)]
    longer = [job for job in grid.jobs() if job.opens]
    assert {job.time_limit for job in longer} == {9.0}
    assert all(job.shorter == {**job.key, "time_limit": 5.0} for job in longer)


def test_every_other_name_is_taken(tmp_path: Path) -> None:
    text = 'stages = [2]\n[[instances]]\nset = "r"\nrandom = 5\n'
    names = [i.name for i in load(tmp_path, text).instances]
    assert [i.name for i in load(tmp_path, text + "every = 2\n").instances] == names[::2]


def test_families_grow_with_their_stages(tmp_path: Path) -> None:
    text = '[[instances]]\nset = "g"\nfamilies = ["layered"]\nnodes = [100, 400]\nnodes_per_stage = 100\n'
    runs = [(job.instance.name, job.stages) for job in load(tmp_path, text).jobs()]
    assert runs == [("layered-100", 2), ("layered-400", 4)]


def test_published_optima_are_of_the_graph_with_or_without_groups(tmp_path: Path) -> None:
    entry = {
        "k": 3,
        "optimum_with_groups_ms": 1.5,
        "optimum_without_groups_ms": {"2": 1.25, "8": 1},
    }
    (tmp_path / "optima.json").write_text(json.dumps({"a": entry}))
    (tmp_path / "a.graph.json").write_text("{}")
    text = '[[instances]]\nset = "p"\nfiles = ["*.graph.json"]\npublished = "optima.json"\n'
    assert load(tmp_path, text).instances[0].published == ((3, 1_500_000_000),)
    grid = load(tmp_path, text + "constraints = false\n")
    assert [job.stages for job in grid.jobs()] == [2, 8]
    (tmp_path / "optima.json").write_text('{"a": {}}')
    with pytest.raises(InputError, match=r"published: expected JSON: k, optimum_with_groups_ms"):
        load(tmp_path, text)


def test_missing_grid_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a readable grid, got No such file"):
        Grid.load(tmp_path / "none.toml")


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_random_dags_keep_their_costs_as_a_cost_graph_def(topology: str, tmp_path: Path) -> None:
    from benchmarks.random_dags import sized

    from stagewright.machine import Machine
    from stagewright.plans import tensor_costs
    from stagewright.readers import load
    from stagewright.writers.cost_graph import cost_graph_text, write_cost_graph

    graph = random_dag(topology, 60, 3)
    path = tmp_path / "graph.pbtxt"
    write_cost_graph(sized(graph), path)
    back = load(path)
    machine = Machine(4, 10**9)
    assert back.num_nodes == graph.num_nodes
    assert back.num_edges == graph.num_edges
    # Works are rounded up to microseconds, of a thousand and more each.
    for name, work in zip(graph.node_names, graph.work.tolist(), strict=True):
        assert 0 <= int(back.work[back.index_of[name]]) - 1000 * work < 10**6
    costs = tensor_costs(back, machine)
    rows = zip(back.tensor_producer.tolist(), back.tensor_consumers.rows(), costs, strict=True)
    read = {producer: (users, cost) for producer, users, cost in rows if users}
    own = zip(
        graph.tensor_producer.tolist(),
        graph.tensor_consumers.rows(),
        graph.tensor_time.tolist(),
        strict=True,
    )
    assert read == {producer: (users, 1000 * time) for producer, users, time in own}
    # Out again it is the same text.
    assert cost_graph_text(back)[0] == path.read_text()


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_random_dags_have_the_shape_of_their_topology(topology: str) -> None:
    for _, nodes, seed in random_parameters(8, seed=11):
        graph = random_dag(topology, nodes, seed)
        edges = list(
            zip(graph.tensor_producer.tolist(), graph.tensor_consumers.rows(), strict=True)
        )
        arcs = {(u, v) for u, users in edges for v in users}
        assert 50 <= graph.num_nodes == nodes <= 200
        assert all(u < v for u, v in arcs)
        fans = [len(users) for _, users in edges]
        fed = [sum(v == w for _, w in arcs) for v in range(nodes)]
        if topology == "watts":  # a ring: two before each, some elsewhere
            assert max(fed) == 2
            assert 0.75 < sum(v - u <= 2 for u, v in arcs) / len(arcs) < 1
        if topology == "barabasi":  # hubs
            assert max(fed) <= 2
            assert max(fans) > 4 * sum(fans) / nodes
        if topology == "layered":
            assert max(fed) <= 4
            assert all(fed[1:])
        if topology in ("erdos", "blocks"):
            assert 1.5 < len(arcs) / nodes < 3.5


def test_a_folder_of_cost_graph_defs_is_a_set_and_one_line_makes_a_thousand(tmp_path: Path) -> None:
    from benchmarks.random_dags import write_set

    folder = tmp_path / "dropped"
    write_set(folder, 6, 5, "pbtxt")
    text = 'stages = [4]\nlimits = [2]\n[machines.link]\nbandwidth = "1GB/s"\n'
    grid = load(tmp_path, text + '[[instances]]\nset = "regal"\nfiles = ["dropped/*.pbtxt"]\n')
    assert len(grid.instances) == 6
    straight = load(tmp_path, text + '[[instances]]\nset = "own"\nrandom = 6\nseed = 5\n')
    for job, same in zip(sorted(grid.jobs(), key=lambda j: j.instance.name),
                         sorted(straight.jobs(), key=lambda j: j.instance.name), strict=True):  # fmt: skip
        assert job.instance.name == f"{same.instance.name}.pbtxt"
        read, made = answer_of(job), answer_of(same)
        assert (read["error"], read["nodes"], read["edges"]) == (None, made["nodes"], made["edges"])
        # The text holds a thousand times the costs, works rounded up to a microsecond.
        assert 1000 * made["lower"] <= read["upper"]
        assert read["lower"] <= 1.001 * 1000 * made["upper"]
    whole = load(tmp_path, text + RANDOM.replace("random = 2", "random = 1000"))
    assert len({job.instance.digest for job in whole.jobs()}) == 1000


def test_instances_say_whether_kernels_are_fused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"model")
    text = (
        "stages = [2]\n[machines.fast]\nfuse = true\n"
        '[[instances]]\nset = "{}"\nfiles = ["model.onnx"]\n'
    )
    both = text.format("a") + "fuse = false\n"
    (job,) = load(tmp_path, both).jobs()
    assert dict(job.instance.options) == {"fuse": False}
    (job,) = load(tmp_path, text.format("a")).jobs()
    assert dict(job.instance.options) == {"fuse": True}
    with pytest.raises(InputError, match=r"instances\[0\].fuse: expected true or false, got 1"):
        load(tmp_path, text.format("a") + "fuse = 1\n")
    with pytest.raises(InputError, match=r"instances\[0\].fuse: expected a key of"):
        load(tmp_path, "stages = [2]\n" + RANDOM + "fuse = true\n")
    with pytest.raises(InputError, match=r"instances\[0\].fuse: expected machines .*, got none"):
        load(
            tmp_path,
            text.format("a").replace("[machines.fast]\nfuse = true\n", "") + "fuse = true\n",
        )
