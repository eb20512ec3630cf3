# SPDX-License-Identifier: Apache-2.0
"""Measuring with onnxruntime.  No test asserts a time, only how times fit together."""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stagewright.cost.ort_session import session_options
from stagewright.cost.profile import Profile, Time, apply_profile, profile_onnx
from stagewright.errors import InputError, MissingDependencyError, ModelError
from stagewright.graph import GraphBuilder
from stagewright.readers import load
from stagewright.readers.onnx_file import load_model, onnx_node_names
from stagewright.reading import read

onnx = pytest.importorskip("onnx", reason="reads ONNX models")
pytest.importorskip("onnxruntime", reason="measures with onnxruntime (extra: run)")

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
SQUEEZENET = LIGHT / "light_squeezenet.onnx"
SHUFFLENET = LIGHT / "light_shufflenet.onnx"

EXAMPLE = Profile(
    model_sha256="0" * 64,
    nodes={"a": Time(10, 9, 12), "b": Time(0, 0, 0)},
    session=Time(10, 9, 14),
    cpu_time=9,
    traced_session=15,
    trace_overhead=-2,
    attributed=0.9,
    shapes={"x": (1, 3), "scalar": ()},
    threads=1,
    level="all",
    runtime="onnxruntime 1.2.3",
    warmup=1,
    repetitions=3,
    seed=0,
    cpu="a processor",
    cores=2,
)


@pytest.fixture(scope="module")
def squeezenet() -> Profile:
    return profile_onnx(SQUEEZENET, warmup=1, repetitions=5)


def small_model(tmp_path: Path, sizes: list[Any], kind: int = 1, *, external: bool = False) -> Path:
    """Write Relu(x * w) + 1 with an input of the given sizes, four last."""
    helper = onnx.helper
    weight = onnx.numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    one = onnx.numpy_helper.from_array(np.ones(4, np.float32), "one")
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["x"], ["f"], to=1, name="cast"),
            helper.make_node("MatMul", ["f", "w"], ["m"], name="mul"),
            helper.make_node("Relu", ["m"], ["r"]),
            helper.make_node("Add", ["r", "one"], ["y"], name="add"),
        ],
        "small",
        [helper.make_tensor_value_info("x", kind, sizes)],
        [helper.make_tensor_value_info("y", 1, None)],
        [weight, one],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "small.onnx"
    if external:
        onnx.save(model, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    else:
        onnx.save(model, path)
    return path


def test_every_node_of_the_graph_has_a_time(squeezenet: Profile) -> None:
    graph = load(SQUEEZENET)
    measured = apply_profile(graph, squeezenet, model=SQUEEZENET)
    assert measured.work.tolist() == [squeezenet.nodes[n].median for n in graph.node_names]
    times = dict(zip(graph.node_ops, measured.work.tolist(), strict=True))
    assert times["Conv"] > 0  # fused with its Relu and renamed by the runtime
    assert times["Relu"] > 0


def test_times_add_up(squeezenet: Profile) -> None:
    assert 0 < squeezenet.attributed <= 1
    whole = min(squeezenet.cpu_time, squeezenet.session.median)
    assert whole <= squeezenet.kernels <= whole + len(squeezenet.nodes)  # rounded up per node
    for time in (*squeezenet.nodes.values(), squeezenet.session):
        assert 0 <= time.p10 <= time.median <= time.p90


def test_what_was_measured_is_recorded(squeezenet: Profile) -> None:
    assert squeezenet.shapes == {"data_0": (1, 3, 224, 224)}
    assert (squeezenet.warmup, squeezenet.repetitions, squeezenet.threads) == (1, 5, 1)
    assert squeezenet.runtime.startswith("onnxruntime ")
    assert squeezenet.cpu
    assert squeezenet.cores >= 1


def test_what_the_runtime_fused_is_recorded(squeezenet: Profile) -> None:
    graph = load(SQUEEZENET)
    op = dict(zip(graph.node_names, graph.node_ops, strict=True))
    fused = [tuple(op[name] for name in nodes) for nodes in squeezenet.fused]
    assert fused.count(("Conv", "Relu")) == 26
    names = [name for nodes in squeezenet.fused for name in nodes]
    assert len(names) == len(set(names))


def test_folded_constants_cost_nothing(squeezenet: Profile) -> None:
    constants = [t for n, t in squeezenet.nodes.items() if n.startswith("ConstantOfShape")]
    assert len(constants) == 39
    assert set(constants) == {Time(0, 0, 0)}


@pytest.mark.parametrize("level", ["all", "basic", "disabled"])
def test_every_level_finds_the_nodes(level: str) -> None:
    found = profile_onnx(SHUFFLENET, warmup=0, repetitions=2, level=level)
    assert found.level == level
    model = load_model(SHUFFLENET)
    for name, node in zip(onnx_node_names(model), model.graph.node, strict=True):
        # Cheap nodes may be folded or eliminated by some release of the runtime; these never are.
        assert found.nodes[name].median > 0 or node.op_type not in {"Conv", "Gemm", "MaxPool"}


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = small_model(tmp_path, [2, 4])
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.chdir(scratch)
    profile_onnx(path, repetitions=1)
    assert list(scratch.iterdir()) == []
    assert [p.name for p in tmp_path.iterdir() if p != scratch] == ["small.onnx"]


def test_dimensions_shapes_and_arrays(tmp_path: Path) -> None:
    path = small_model(tmp_path, ["batch", 4], onnx.TensorProto.INT64)
    assert profile_onnx(path, repetitions=1, dims={"batch": 3}).shapes == {"x": (3, 4)}
    assert profile_onnx(path, repetitions=1, shapes={"x": [5, 4]}).shapes == {"x": (5, 4)}
    given = profile_onnx(path, repetitions=1, inputs={"x": [[1, 2, 3, 4]]})
    assert given.shapes == {"x": (1, 4)}
    assert set(given.nodes) == {"cast", "mul", "Relu:r", "add"}


def test_weights_beside_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = small_model(tmp_path, [2, 4], external=True)
    monkeypatch.chdir(path.parent.parent)
    assert profile_onnx(path, repetitions=1).nodes["mul"].median > 0


def test_unknown_shape(tmp_path: Path) -> None:
    path = small_model(tmp_path, ["batch", 4])
    with pytest.raises(ModelError, match=r"shapes of inputs: expected fixed dimensions, got 'x'"):
        profile_onnx(path)


def test_unknown_input(tmp_path: Path) -> None:
    path = small_model(tmp_path, [2, 4])
    with pytest.raises(InputError) as caught:
        profile_onnx(path, inputs={"z": 1})
    assert str(caught.value) == f"{path}: inputs: expected names out of x, got 'z'"


def test_model_that_does_not_run(tmp_path: Path) -> None:
    path = small_model(tmp_path, [2, 4])
    with pytest.raises(ModelError) as caught:
        profile_onnx(path, inputs={"x": np.ones((2, 5), np.float32)})
    assert str(caught.value).startswith(
        f"{path}: expected a model that onnxruntime runs on the given inputs, "
        "got [ONNXRuntimeError]"
    )
    assert str(caught.value).endswith(
        "Check the shapes (--shape, --dim), or give the inputs themselves."
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 0}, "threads: expected a whole number from 1 to 1024, got 0"),
        ({"level": "most"}, "level: expected one of all, basic, disabled, got 'most'"),
        ({"warmup": -1}, "warmup: expected a whole number from 0 to 100000, got -1"),
        ({"repetitions": 0}, "repetitions: expected a whole number from 1 to 100000, got 0"),
        ({"repetitions": 2.5}, "repetitions: expected a whole number from 1 to 100000, got 2.5"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        profile_onnx(SQUEEZENET, **options)
    assert str(caught.value) == message


def test_missing_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError) as caught:
        profile_onnx(SQUEEZENET)
    assert str(caught.value) == (
        "Profiling a model needs the package 'onnxruntime', which is not installed. "
        "Install it with: pip install 'stagewright[run]'"
    )


def test_idle_threads_sleep() -> None:
    options = session_options(2)
    for pool in ("intra", "inter"):
        assert options.get_session_config_entry(f"session.{pool}_op.allow_spinning") == "0"
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)
    assert not options.enable_profiling


def test_other_model_is_refused_by_hash(squeezenet: Profile) -> None:
    with pytest.raises(InputError) as caught:
        apply_profile(load(SQUEEZENET), squeezenet, model=SHUFFLENET)
    message = str(caught.value)
    assert message.startswith(f"profile for {SHUFFLENET}: expected one of the file with SHA-256 ")
    assert message.endswith("Measure this model: stagewright profile MODEL -o profile.json.")


def test_a_profile_is_taken_as_it_is(squeezenet: Profile, tmp_path: Path) -> None:
    """`read` takes what `profile` returned as well as its file, and says what else it cannot take."""
    squeezenet.save(tmp_path / "profile.json")
    measured = read(SQUEEZENET, profile=squeezenet)
    assert measured.work.any()
    assert measured.sha256 == read(SQUEEZENET, profile=tmp_path / "profile.json").sha256
    with pytest.raises(InputError, match=r"profile: expected the path of a profile, .*got int"):
        read(SQUEEZENET, profile=5)  # type: ignore[arg-type]


def test_other_graph_is_refused_by_names() -> None:
    builder = GraphBuilder("other")
    for name in ("a", "c", "d"):
        builder.add_node(name)
    with pytest.raises(InputError) as caught:
        apply_profile(builder.build(), EXAMPLE)
    assert str(caught.value) == (
        "profile for graph 'other': expected times for all 3 nodes, got none for 2 of them, "
        "first 'c'. Measure this model: stagewright profile MODEL -o profile.json."
    )


def test_a_thread_without_its_core_is_noticed() -> None:
    assert not EXAMPLE.disturbed
    assert dataclasses.replace(EXAMPLE, cpu_time=8).disturbed
    # Several threads may well wait for each other.
    assert not dataclasses.replace(EXAMPLE, cpu_time=8, threads=2).disturbed


def test_file_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    EXAMPLE.save(path)
    assert Profile.load(path) == EXAMPLE
    changed = dataclasses.replace(EXAMPLE, seed=7, fused=(("a", "b"),))
    changed.save(path)
    assert Profile.load(path) == changed
    assert [found.name for found in tmp_path.iterdir()] == ["profile.json"]
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document["format"] == "stagewright-profile/1"
    assert document["nodes"][0] == {"name": "a", "median": 10, "p10": 9, "p90": 12}


def test_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"p\.json: expected a writable file, got No such file"):
        EXAMPLE.save(tmp_path / "none" / "p.json")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", "x/1", "format: expected 'stagewright-profile/1', got 'x/1'"),
        ("time_unit", "s", "time_unit: expected 'ps', got 's'"),
        ("seed", -1, "seed: expected a whole number from 0 to 2**63 - 1, got -1"),
        ("attributed", 1.5, "attributed: expected a fraction from 0 to 1, got 1.5"),
        ("trace_overhead", "no", "trace_overhead: expected a whole number of 64 bits, got 'no'"),
        ("cpu", 3, "cpu: expected a text, got 3"),
        ("shapes", {"x": 3}, "shapes.x: expected a list of sizes, got 3"),
        ("session", {"median": 1}, "session: expected the keys median, p10 and p90, got median"),
        ("nodes", 3, "nodes: expected a list of nodes, got 3"),
        ("nodes", [{"name": "a"}], "nodes[0]: expected the keys median, p10 and p90, got none"),
        (
            "nodes",
            [{"name": "a", "median": 1, "p10": 1, "p90": 1}] * 2,
            "nodes[1].name: expected a unique name, got 'a' again",
        ),
        ("fused", ["a"], "fused: expected a list of lists of names, got ['a']"),
        ("fused", [["a", 1]], "fused[0]: expected a text, got 1"),
        ("colour", "red", "colour: expected no further key, got an unknown key"),
        ("level", None, "level: expected a value, got no such key"),
    ],
)
def test_faults_of_files(tmp_path: Path, key: str, value: object, message: str) -> None:
    path = tmp_path / "profile.json"
    EXAMPLE.save(path)
    document = json.loads(path.read_text(encoding="utf-8"))
    document[key] = value
    if value is None:
        del document[key]
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        Profile.load(path)
    assert str(caught.value) == f"{path}: {message}"


def test_older_files_say_nothing_of_fusion(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    EXAMPLE.save(path)
    document = json.loads(path.read_text(encoding="utf-8"))
    del document["fused"]
    path.write_text(json.dumps(document), encoding="utf-8")
    assert Profile.load(path).fused == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "expected a profile (JSON), got a fault"), ("[]", "expected a JSON object, got list")],
)
def test_files_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "profile.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        Profile.load(path)
    assert str(caught.value).startswith(f"{path}: {message}")
