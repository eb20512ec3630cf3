# SPDX-License-Identifier: Apache-2.0
"""Pipelines and tasks on a real Ray cluster of several raylets on this machine, with some of them killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.exporting.test_layers import decoder
from tests.runtime.helpers import FAULTY, FOREVER, SKIP, SLOW, inside, item, slow
from tests.splitting.helpers import assert_same, run_whole, split

import stagewright as sw
from stagewright.cli import main
from stagewright.errors import InputError, RunError
from stagewright.raylink import over_ray
from stagewright.readers.graph_writer import write_graph_file
from stagewright.runtime import Pipeline
from stagewright.runtime.engines import MakeEngine
from stagewright.runtime.ray_engine import RayChannel, ray_engine
from stagewright.runtime.sockets import connect

ray = pytest.importorskip("ray", reason="needs Ray: pip install 'stagewright[ray]'")

MEMORY = 80 * 2**20
# A dead raylet is to be noticed in a second, not in the quarter of a minute that suits real networks.
QUICK = {
    "worker_niceness": 0,
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 300,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}

CHANNELS: list[RayChannel] = ["sockets", "objects"]
both_channels = pytest.mark.parametrize("channel", CHANNELS)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A head without cores and three raylets with two each; nothing of it is left."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # Workers import this package from where the tests do, and the modules of the tests.
        patch.setenv(
            "PYTHONPATH", os.pathsep.join(filter(None, ["src", ".", os.environ.get("PYTHONPATH")]))
        )
        head = {
            "num_cpus": 0,
            "object_store_memory": MEMORY,
            "include_dashboard": False,
            "_system_config": QUICK,
        }
        made = Cluster(initialize_head=True, head_node_args=head)
        try:
            for _ in range(3):
                made.add_node(num_cpus=2, object_store_memory=MEMORY)
            made.wait_for_nodes()
            ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
            yield made
        finally:
            ray.shutdown()
            made.shutdown()
    deadline = time.monotonic() + 10
    while _raylets() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _raylets()


def _raylets() -> list[int]:
    """Return the raylets among this process's descendants."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "stat").read_text().rpartition(")")[2].split()
            name = (folder / "comm").read_text().strip()
        except OSError:
            continue
        if name in ("raylet", "gcs_server") and int(words[1]) == os.getpid() and words[0] != "Z":
            found.append(int(folder.name))
    return found


def on(cluster: Any, channel: RayChannel) -> MakeEngine:
    return ray_engine(cluster.address, channel=channel)


def told(pipeline: Pipeline, stage: int, question: str) -> Any:
    """Ask a stage's actor for its process or its node."""
    ask = {"pid": _pid, "node": _node}[question]
    return ray.get(inside(pipeline)._actors[stage].__ray_call__.remote(ask))


def _pid(_: Any) -> int:
    return os.getpid()


def _node(_: Any) -> str:
    return str(ray.get_runtime_context().get_node_id())


def kill_node(cluster: Any, name: str, worker: int) -> None:
    """Kill the raylet of a node, and the worker that it runs, at once: as a machine goes."""
    (node,) = (n for n in cluster.worker_nodes if n.node_id == name)
    os.kill(worker, signal.SIGKILL)
    cluster.remove_node(node, allow_graceful=False)


@both_channels
def test_outputs_are_the_models_in_order_and_stages_are_spread(
    cluster: Any, tmp_path: Path, channel: RayChannel
) -> None:
    path, folder, _ = split(SKIP, tmp_path, ["a"], ["b", "c"], ["d"])
    with Pipeline(folder, engine=on(cluster, channel)) as pipeline:
        assert len({told(pipeline, stage, "node") for stage in range(3)}) == 3
        for i, got in enumerate(pipeline.map(item(i) for i in range(100))):
            assert_same(got, run_whole(path, item(i)))
        stats, history = pipeline.stats(), pipeline.history()
    assert stats.items == 100
    assert all(s.compute is not None and 0 < s.compute < 1 for s in stats.stages)
    assert history.items == 100
    for rows in history.rows:
        assert (np.diff(rows, axis=1) >= 0).all()
    # An item is received by a stage after those before it computed it, on one clock.
    assert (history.rows[1][:, 1] > history.rows[0][:, 2] - 0.01).all()


@both_channels
def test_large_tensors_and_files_that_are_sent(
    cluster: Any, tmp_path: Path, channel: RayChannel
) -> None:
    model = SKIP.replace("[1, 3]", "[64, 4096]")
    path, folder, _ = split(model, tmp_path, ["a"], ["b", "c"], ["d"])
    feeds = {name: np.random.default_rng(0).random((64, 4096), np.float32) for name in "xz"}
    with Pipeline(
        folder, engine=ray_engine(cluster.address, ship=True, channel=channel)
    ) as pipeline:
        wanted = run_whole(path, feeds)
        for got in pipeline.map([feeds] * 12):
            assert_same(got, wanted)


@both_channels
def test_a_machine_killed_amid_a_stream_loses_nothing(
    cluster: Any, tmp_path: Path, channel: RayChannel
) -> None:
    path, folder, _ = split(SKIP, tmp_path, ["a"], ["b", "c"], ["d"])
    with Pipeline(folder, engine=on(cluster, channel), restart=2) as pipeline:
        victim, worker = told(pipeline, 1, "node"), told(pipeline, 1, "pid")
        results = []
        for i, got in enumerate(pipeline.map(item(i) for i in range(300))):
            results.append(got)
            if i == 100:
                kill_node(cluster, victim, worker)
        assert told(pipeline, 1, "node") != victim
        # What Ray mends by itself is not told.
        lost = ("stage 1 died: its process has gone",)
        assert pipeline.faults == (lost if channel == "sockets" else ())
    cluster.add_node(num_cpus=2, object_store_memory=MEMORY)
    assert len(results) == 300
    for i, got in enumerate(results):
        assert_same(got, run_whole(path, item(i)))


@both_channels
def test_a_process_killed_amid_a_stream(cluster: Any, tmp_path: Path, channel: RayChannel) -> None:
    path, folder, _ = split(SKIP, tmp_path, ["a"], ["b", "c"], ["d"])
    for restart in (1, 0):
        with Pipeline(folder, engine=on(cluster, channel), restart=restart) as pipeline:
            pid, results, fault = told(pipeline, 1, "pid"), [], ""
            try:
                for i, got in enumerate(pipeline.map(item(i) for i in range(200))):
                    results.append(got)
                    if i == 50:
                        os.kill(pid, signal.SIGKILL)
            except RunError as error:
                fault = str(error)
        assert (len(results) == 200) == (restart == 1)
        assert fault.startswith("stage 1 died: " if restart == 0 else "")
        assert (fault == "") == (restart == 1)
        assert "Some common causes" not in fault
        for i, got in enumerate(results):
            assert_same(got, run_whole(path, item(i)))


@both_channels
def test_an_item_that_raises_fails_alone(cluster: Any, tmp_path: Path, channel: RayChannel) -> None:
    _, folder, _ = split(FAULTY, tmp_path, ["a"], ["b"], ["c"])
    x = np.arange(3, dtype=np.float32)
    items = [{"x": x, "i": np.array([i])} for i in (0, 7, 2)]
    with Pipeline(folder, engine=on(cluster, channel)) as pipeline:
        good, bad, after = pipeline.map(items, on_error="yield")
        with pytest.raises(RunError, match="stage 1 failed: "):
            pipeline.run(items[1])
    assert isinstance(bad, RunError)
    assert [good["y"][0], after["y"][0]] == pytest.approx([1, np.exp(2)])


@both_channels
def test_a_stage_that_stalls_is_named(cluster: Any, tmp_path: Path, channel: RayChannel) -> None:
    _, folder, _ = split(SLOW, tmp_path, ["a"], ["b"], ["d"])
    said = {"sockets": "an item computed for more than", "objects": "no result within"}[channel]
    with Pipeline(folder, engine=on(cluster, channel), stall_after=0.5) as pipeline:
        assert pipeline.run(slow(3))["y"].tolist() == [[0, 0, 0]]
        with pytest.raises(RunError, match=f"stage 1 stalled: {said} 0.5 s"):
            pipeline.run(slow(1 << 60))


def test_an_item_that_ends_its_stage_every_time_fails_alone(cluster: Any, tmp_path: Path) -> None:
    _, folder, _ = split(SLOW, tmp_path, ["a"], ["b"], ["d"])
    items = [slow(2, i) for i in range(8)]
    items[3] = slow(FOREVER)
    with Pipeline(folder, engine=on(cluster, "sockets"), restart=1, stall_after=0.5) as pipeline:
        results = list(pipeline.map(items, on_error="yield"))
        faults = pipeline.faults
    assert len(faults) == 2
    assert all(f.startswith("stage 1 stalled: an item computed") for f in faults)
    assert isinstance(results[3], RunError)
    assert "2 times with the same item" in str(results[3])
    for i in (0, 1, 2, 4, 5, 6, 7):
        assert results[i]["y"].tolist() == [[-i, -i, -i]]


def test_machines_that_cannot_connect_fall_back_to_objects(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, folder, _ = split(SKIP, tmp_path, ["a"], ["b", "c"], ["d"])
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = free.getsockname()
    monkeypatch.setattr(
        "stagewright.runtime.socket_engine.connect",
        lambda _, secret, line: connect(nobody, secret, line),
    )
    said = r"cannot connect to 127.0.0.1:\d+: Connection refused"
    with pytest.warns(UserWarning, match=f"{said}; items go through Ray's objects"):
        pipeline = Pipeline(folder, engine=on(cluster, "auto"))
    with pipeline:
        assert_same(pipeline.run(item(1)), run_whole(path, item(1)))
    with pytest.raises(RunError, match=said):
        Pipeline(folder, engine=on(cluster, "sockets"))
    with pytest.raises(InputError, match="channel: expected 'auto' or 'sockets' or 'objects'"):
        ray_engine(channel="shm")  # type: ignore[arg-type]


def test_what_does_not_start_is_said(cluster: Any, tmp_path: Path) -> None:
    _, folder, _ = split(SKIP, tmp_path, ["a", "b"], ["c", "d"])
    wanted = ray_engine(
        cluster.address, resources=[{"CPU": 1}, {"CPU": 1, "lasers": 2}], start_seconds=5
    )
    with pytest.raises(RunError, match=r"stage 1 did not start within 5 s: the cluster has .*CPU"):
        Pipeline(folder, engine=wanted)
    (folder / "stage1.onnx").write_bytes(b"no model")
    with pytest.raises(RunError, match=r"stage 1 failed: .*stage1.onnx"):
        Pipeline(folder, engine=ray_engine(cluster.address))


def test_the_command_runs_on_the_cluster(
    cluster: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, folder, _ = split(SKIP, tmp_path, ["a"], ["b", "c"], ["d"])
    trace = tmp_path / "trace.json"
    options = ["--engine", "ray", "--address", cluster.address, "--items", "60", "--restart"]
    assert main(["run", str(folder), *options, "--trace", str(trace), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["engine"], report["outputs_equal"], len(report["stages"])) == ("ray", True, 3)
    assert json.loads(trace.read_text())["traceEvents"]
    assert all(stage["send"] > 0 for stage in report["stages"])  # which calls of Ray do not tell
    assert main(["run", str(folder), "--address", cluster.address]) == 2
    assert "address: expected none for the engine 'process'" in capsys.readouterr().err
    assert main(["run", str(folder), "--ray-channel", "objects"]) == 2
    assert "ray_channel: expected none for the engine 'process'" in capsys.readouterr().err
    assert path.exists()


def _square(x: int) -> int:
    if x == 13:
        raise InputError("task", "another number", "13")
    return x * x


def _dies_once(path: str) -> str:
    if not Path(path).exists():
        Path(path).touch()
        os._exit(1)
    return "done"


def test_tasks_keep_their_order_and_survive_a_death(cluster: Any, tmp_path: Path) -> None:
    assert list(over_ray(_square, range(8), address=cluster.address)) == [x * x for x in range(8)]
    assert list(over_ray(_dies_once, [str(tmp_path / "mark")], address=cluster.address)) == ["done"]
    answers = over_ray(_square, [2, 13, 3], address=cluster.address)
    assert next(answers) == 4
    with pytest.raises(InputError, match="another number"):
        next(answers)


def _planned(task: tuple[str, int]) -> tuple[Any, ...]:
    path, stages = task
    found = sw.plan(path, stages, bandwidth="1GB/s", time_limit=20)
    return found.plan.stages, found.bottleneck, found.lower_bound, found.status


def _swept(model: str) -> list[dict[str, Any]]:
    points = sw.sweep(model, "1..4", bandwidth="1GB/s", time_limit=20).to_json()["points"]
    return [{name: point[name] for name in ("stages", "period", "lower_bound")} for point in points]


def test_plans_and_sweeps_of_many_models_are_those_made_here(cluster: Any, tmp_path: Path) -> None:
    models = []
    for layers in (3, 6):
        models.append(str(tmp_path / f"decoder{layers}.graph.json"))
        write_graph_file(decoder(layers, seed=layers), models[-1])
    tasks = [(model, stages) for model in models for stages in (1, 2, 4)]
    there = list(over_ray(_planned, tasks, address=cluster.address))
    assert there == [_planned(task) for task in tasks]
    swept = list(over_ray(_swept, models, address=cluster.address))
    assert swept == [_swept(model) for model in models]


def test_no_cluster_is_said() -> None:
    code = "from stagewright.raylink import over_ray; list(over_ray(abs, [1]))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "RAY_ADDRESS": "127.0.0.1:1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "InputError: Ray cluster at '127.0.0.1:1': expected one that runs" in done.stderr
