# SPDX-License-Identifier: Apache-2.0
"""Every way a value can cross, be shared or be captured, on models of a few nodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.splitting.helpers import (
    assert_same,
    by_names,
    check,
    cost_graph,
    run_stages,
    run_whole,
    split,
)

from stagewright.errors import InputError, ModelError
from stagewright.graph import GraphBuilder
from stagewright.plans import Plan
from stagewright.splitting import Manifest, split_onnx

HEAD = '<ir_version: 8, opset_import: ["" : 17]>'
X = np.array([[1.0, -2.0, 3.0]], np.float32)


def crossings(manifest: Manifest) -> dict[str, tuple[int | str, tuple[int | str, ...]]]:
    return {t.name: (t.source, t.targets) for t in manifest.tensors}


def test_a_skip_edge_goes_straight_to_every_stage_that_uses_it(tmp_path: Path) -> None:
    model = f"""{HEAD} skip (float[1, 3] x) => (float[1, 3] y) {{
        [a] p = Relu(x)
        [b] q = Exp(p)
        [c] y = Add(p, q)
    }}"""
    manifest = check(model, tmp_path, {"x": X}, ["a"], ["b"], ["c"])
    assert crossings(manifest) == {
        "x": ("model input", (0,)),
        "p": (0, (1, 2)),
        "q": (1, (2,)),
        "y": (2, ("model output",)),
    }
    assert manifest.stages[1].inputs[0].to_json() == {
        "name": "p",
        "type": "tensor(float)",
        "shape": [1, 3],
        "bytes": 12,
    }


def test_an_output_of_an_early_stage_is_also_read_later(tmp_path: Path) -> None:
    model = f"""{HEAD} early (float[1, 3] x) => (float[1, 3] p, float[1, 3] y) {{
        [a] p = Relu(x)
        [b] y = Exp(p)
    }}"""
    manifest = check(model, tmp_path, {"x": X}, ["a"], ["b"])
    assert crossings(manifest)["p"] == (0, (1, "model output"))


def test_a_model_input_feeds_a_late_stage_and_several(tmp_path: Path) -> None:
    model = f"""{HEAD} late (float[1, 3] x, float[1, 3] z) => (float[1, 3] y) {{
        [a] p = Relu(x)
        [b] q = Add(p, z)
        [c] y = Add(q, x)
    }}"""
    manifest = check(model, tmp_path, {"x": X, "z": 2 * X}, ["a"], ["b"], ["c"])
    assert crossings(manifest)["x"] == ("model input", (0, 2))
    assert crossings(manifest)["z"] == ("model input", (1,))


def test_an_input_that_is_an_output_passes_by_every_stage(tmp_path: Path) -> None:
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Relu", ["x"], ["p"], "a"),
                helper.make_node("Exp", ["p"], ["y"], "b"),
            ],
            "through",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3])],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3]) for n in ("x", "y")],
        ),
        ir_version=8,
        opset_imports=[helper.make_opsetid("", 17)],
    )
    _, out, manifest = split(model, tmp_path, ["a"], ["b"])
    assert crossings(manifest)["x"] == ("model input", (0, "model output"))
    assert_same(run_stages(out, {"x": X}), {"x": X, "y": np.exp(np.maximum(X, 0))})


CAPTURE = f"""{HEAD} capture (float[1, 3] x, bool c) => (float[1, 3] y)
    <float[3] w = {{1, 2, 3}}> {{
        [a] p = Relu(x)
        [b] q = Exp(x)
        [i] y = If(c) <
            then_branch = yes () => (float[1, 3] t) {{ t = Mul(p, w) }},
            else_branch = no () => (float[1, 3] e) {{
                e = If(c) <
                    then_branch = inner1 () => (float[1, 3] f) {{ f = Identity(q) }},
                    else_branch = inner2 () => (float[1, 3] g) {{ g = Add(q, w) }}
                >
            }}
        >
    }}"""


@pytest.mark.parametrize("flag", [True, False])
def test_values_captured_by_bodies_cross_and_weights_are_kept(tmp_path: Path, flag: bool) -> None:
    feeds = {"x": X, "c": np.array(flag)}
    manifest = check(CAPTURE, tmp_path, feeds, ["a"], ["b"], ["i"])
    assert [t.name for t in manifest.stages[2].inputs] == ["c", "p", "q"]
    assert manifest.stages[2].param_bytes == 12
    assert [s.param_bytes for s in manifest.stages[:2]] == [0, 0]


def test_a_loop_captures_too(tmp_path: Path) -> None:
    body = onnx.parser.parse_graph(
        """b (int64 i, bool c, float[3] s) => (bool c2, float[3] s2) {
            c2 = Identity(c) t = Add(s, p) s2 = Mul(t, w) }"""
    )
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Relu", ["x"], ["p"], "a"),
                helper.make_node("Exp", ["x"], ["q"], "b"),
                helper.make_node("Loop", ["n", "", "q"], ["y"], "l", body=body),
            ],
            "loop",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3])],
            [numpy_helper.from_array(np.array(3), "n"), numpy_helper.from_array(X[0], "w")],
        ),
        ir_version=8,
        opset_imports=[helper.make_opsetid("", 17)],
    )
    manifest = check(model, tmp_path, {"x": X[0]}, ["a"], ["b"], ["l"])
    assert [t.name for t in manifest.stages[2].inputs] == ["p", "q"]


def test_a_shared_weight_is_in_each_stage_that_uses_it(tmp_path: Path) -> None:
    model = f"""{HEAD} shared (float[1, 3] x) => (float[1, 3] y) <float[3] w = {{1, 2, 3}}> {{
        [a] p = Mul(x, w)
        [b] q = Relu(p)
        [c] y = Add(q, w)
    }}"""
    manifest = check(model, tmp_path, {"x": X}, ["a"], ["b"], ["c"])
    assert [s.param_bytes for s in manifest.stages] == [12, 0, 12]


def test_several_outputs_cross_on_their_own(tmp_path: Path) -> None:
    model = f"""{HEAD} parts (float[3, 1] x) => (float[1, 1] y, float[1, 1] z) {{
        [s] p, q, r = Split<axis = 0>(x)
        [b] y = Add(p, r)
        [c] z = Relu(q)
    }}"""
    manifest = check(model, tmp_path, {"x": X.T}, ["s"], ["b"], ["c"])
    assert [t.name for t in manifest.stages[0].outputs] == ["p", "q", "r"]
    assert crossings(manifest)["q"] == (0, (2,))


def test_left_out_inputs_stay_left_out(tmp_path: Path) -> None:
    model = f"""{HEAD} optional (float[1, 3] x) => (float[1, 3] y) <float high = {{0.5}}> {{
        [a] p = Relu(x)
        [b] y = Clip(p, , high)
    }}"""
    check(model, tmp_path, {"x": X}, ["a"], ["b"])


def test_symbolic_sizes_stay_symbolic_and_can_be_fixed(tmp_path: Path) -> None:
    model = f"""{HEAD} batch (float[N, 3] x) => (float[N, 3] y) {{
        [a] p = Relu(x)
        [b] y = Exp(p)
    }}"""
    feeds = {"x": np.tile(X, (4, 1))}
    free = check(model, tmp_path, feeds, ["a"], ["b"])
    assert free.stages[1].inputs[0].shape == ("N", 3)
    assert free.stages[1].inputs[0].nbytes is None
    for options in ({"dims": {"N": 4}}, {"shapes": {"x": [4, 3]}}):
        fixed = check(model, tmp_path, feeds, ["a"], ["b"], overwrite=True, **options)
        assert fixed.stages[1].inputs[0].shape == (4, 3)
        assert fixed.stages[1].inputs[0].nbytes == 48


def test_a_fixed_size_can_be_replaced(tmp_path: Path) -> None:
    model = f"""{HEAD} batch (float[1, 3] x) => (float[1, 3] y) {{
        [a] p = Relu(x)
        [b] y = Exp(p)
    }}"""
    _, out, manifest = split(model, tmp_path, ["a"], ["b"], shapes={"x": [2, 3]})
    assert manifest.outputs[0].shape == (2, 3)
    run_stages(out, {"x": np.tile(X, (2, 1))})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dims": {"M": 4}}, "dimension 'M': expected a symbolic size of an input (N), got none"),
        (
            {"shapes": {"z": [4, 3]}},
            "shape of 'z': expected an input (x) or another tensor of the model, got an unknown name",
        ),
        ({"shapes": {"x": [4]}}, "shape of 'x': expected 2 sizes, got 1: [4]"),
        ({"shapes": {"x": [4, -1]}}, "shape of 'x': expected sizes >= 0, got [4, -1]"),
        (
            {"shapes": {"x": [4, 3]}, "dims": {"N": 5}},
            "shape of 'x': expected 5 for the size 'N', got 4",
        ),
    ],
)
def test_sizes_that_do_not_fit_are_refused(
    tmp_path: Path, options: dict[str, dict[str, int]], message: str
) -> None:
    model = f"{HEAD} m (float[N, 3] x) => (float[N, 3] y) {{ [a] p = Relu(x) [b] y = Exp(p) }}"
    with pytest.raises(InputError) as caught:
        split(model, tmp_path, ["a"], ["b"], **options)
    assert str(caught.value) == message


def folded_model() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Relu", ["x"], ["p"], "a"),
        helper.make_node("Shape", ["p"], ["s"], "shape"),
        helper.make_node("Constant", [], ["turn"], "turn", value_ints=[1, 0]),
        helper.make_node("Gather", ["s", "turn"], ["t"], "gather"),
        helper.make_node("Exp", ["p"], ["q"], "b"),
        helper.make_node("Reshape", ["q", "t"], ["y"], "d"),
        helper.make_node("Size", ["p"], ["n"], "size"),
        helper.make_node("Identity", ["n"], ["count"], "again"),
    ]
    graph = helper.make_graph(
        nodes,
        "folded",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 2]),
            helper.make_tensor_value_info("count", TensorProto.INT64, []),
        ],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def test_folded_nodes_are_copied_and_sizes_become_constants(tmp_path: Path) -> None:
    feeds = {"x": np.tile(X, (2, 1))}
    manifest = check(folded_model(), tmp_path, feeds, ["a"], ["b"], ["d"])
    assert crossings(manifest) == {
        "x": ("model input", (0,)),
        "p": (0, (1,)),
        "q": (1, (2,)),
        "y": (2, ("model output",)),
        "count": (2, ("model output",)),
    }
    last = onnx.load(tmp_path / "stages" / "stage2.onnx")
    assert {t.name: numpy_helper.to_array(t).tolist() for t in last.graph.initializer} == {
        "s": [2, 3],
        "n": 6,
    }


def test_a_shape_node_stays_where_its_tensor_is(tmp_path: Path) -> None:
    check(folded_model(), tmp_path, {"x": np.tile(X, (2, 1))}, ["a", "b", "d"])
    stage = onnx.load(tmp_path / "stages" / "stage0.onnx")
    assert "Shape" in [n.op_type for n in stage.graph.node]
    assert not stage.graph.initializer


def test_sizes_of_old_models_become_inputs_too(tmp_path: Path) -> None:
    model = folded_model()
    model.ir_version = 3
    check(model, tmp_path, {"x": np.tile(X, (2, 1))}, ["a"], ["b"], ["d"])


def test_replicable_nodes_are_copied_and_do_not_cross(tmp_path: Path) -> None:
    model = f"""{HEAD} mask (float[1, 3] x, float[1, 3] m) => (float[1, 3] y) {{
        [k] mask = Relu(m)
        [a] p = Mul(x, mask)
        [b] q = Exp(p)
        [c] y = Mul(q, mask)
    }}"""
    feeds = {"x": X, "m": X}
    manifest = check(model, tmp_path, feeds, ["k", "a"], ["b"], ["c"], replicable=["k"])
    assert crossings(manifest)["m"] == ("model input", (0, 2))
    assert "mask" not in crossings(manifest)
    assert [s.copied_nodes for s in manifest.stages] == [0, 0, 1]


def test_a_replicable_node_that_reads_a_stage_is_not_copied(tmp_path: Path) -> None:
    model = f"""{HEAD} mask (float[1, 3] x) => (float[1, 3] y) {{
        [a] p = Exp(x)
        [k] mask = Relu(p)
        [c] y = Mul(p, mask)
    }}"""
    manifest = check(model, tmp_path, {"x": X}, ["a", "k"], ["c"], replicable=["k"])
    assert crossings(manifest)["mask"] == (0, (1,))


def test_random_nodes_are_never_copied(tmp_path: Path) -> None:
    model = f"""{HEAD} dice (float[1, 3] x) => (float[1, 3] y) {{
        [r] n = RandomNormal<shape = [1, 3], seed = 1.0>()
        [a] p = Add(x, n)
        [b] q = Sub(p, n)
        [c] y = Relu(q)
    }}"""
    manifest = check(model, tmp_path, {"x": X}, ["a"], ["b"], ["c"])
    assert crossings(manifest)["n"] == (0, (1,))


def test_old_models_list_initialisers_as_inputs(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 3, opset_import: ["" : 9]>
        old (float[1, 3] x, float[3] w) => (float[1, 3] y) {
            [a] p = Mul(x, w)
            [b] y = Add(p, w)
        }"""
    )
    model.graph.initializer.append(numpy_helper.from_array(X[0], "w"))
    manifest = check(model, tmp_path, {"x": X}, ["a"], ["b"])
    assert [t.name for t in manifest.inputs] == ["x"]
    stage = onnx.load(tmp_path / "stages" / "stage1.onnx")
    assert [i.name for i in stage.graph.input] == ["p", "w"]


def test_defaults_that_can_be_overridden_stay_so(tmp_path: Path) -> None:
    model = f"""{HEAD} default (float[1, 3] x, float[3] w = {{1, 2, 3}}) => (float[1, 3] y) {{
        [a] p = Mul(x, w)
        [b] y = Relu(p)
    }}"""
    manifest = check(model, tmp_path, {"x": X}, ["a"], ["b"])
    assert [t.name for t in manifest.stages[0].inputs] == ["x"]
    stage = onnx.load(tmp_path / "stages" / "stage0.onnx")
    assert [i.name for i in stage.graph.input] == ["x", "w"]


def test_a_weight_can_be_an_output(tmp_path: Path) -> None:
    model = f"""{HEAD} w (float[1, 3] x) => (float[1, 3] y, float[3] w) <float[3] w = {{1, 2, 3}}> {{
        [a] p = Mul(x, w)
        [b] y = Relu(p)
    }}"""
    manifest = check(model, tmp_path, {"x": X}, ["a"], ["b"])
    assert crossings(manifest)["w"] == (1, ("model output",))


def test_functions_metadata_and_opsets_are_kept(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 9, opset_import: ["" : 17, "own" : 1], producer_name: "here",
           metadata_props: ["key" : "value"]>
        named (float[1, 3] x) => (float[1, 3] y) {
            [a] p = own.twice(x)
            [b] y = own.twice(p)
        }
        <domain: "own", opset_import: ["" : 17]>
        twice (v) => (w) { w = Add(v, v) }"""
    )
    model.graph.doc_string = "what it is"
    check(model, tmp_path, {"x": X}, ["a"], ["b"])
    stage = onnx.load(tmp_path / "stages" / "stage1.onnx")
    assert [f.name for f in stage.functions] == ["twice"]
    assert {o.domain: o.version for o in stage.opset_import} == {"": 17, "own": 1}
    assert [(p.key, p.value) for p in stage.metadata_props] == [("key", "value")]
    assert (stage.graph.name, stage.graph.doc_string) == ("named", "what it is")
    assert stage.producer_name == "here"


def test_sequences_cross(tmp_path: Path) -> None:
    model = f"""{HEAD} seq (float[3, 1] x) => (float[3, 1] y) {{
        [a] s = SplitToSequence<axis = 0>(x)
        [b] y = ConcatFromSequence<axis = 0>(s)
    }}"""
    manifest = check(model, tmp_path, {"x": X.T}, ["a"], ["b"])
    assert manifest.stages[1].inputs[0].type == "seq(tensor(float))"


def test_a_stage_without_inputs_and_one_nobody_reads(tmp_path: Path) -> None:
    model = f"""{HEAD} lonely (float[1, 3] x) => (float[1, 3] y) {{
        [r] n = RandomNormal<shape = [1, 3], seed = 1.0>()
        [a] p = Relu(x)
        [b] y = Exp(p)
        [dead] d = Neg(n)
    }}"""
    builder = GraphBuilder("lonely")
    nodes = [builder.add_node(name) for name in ("r", "a", "b", "dead")]
    builder.add_tensor(nodes[0], [nodes[3]], nbytes=1)
    builder.add_tensor(nodes[1], [nodes[2]], nbytes=1)
    graph = builder.build()
    path, out = tmp_path / "m.onnx", tmp_path / "out"
    onnx.save(onnx.parser.parse_model(model), path)
    plan = by_names(graph, ["r"], ["a", "b"], ["dead"])
    manifest = split_onnx(path, graph, plan, out, document=None)
    assert manifest.stages[0].inputs == ()
    assert [t.name for t in manifest.stages[2].outputs] == ["d"]
    assert_same(run_stages(out, {"x": X}), run_whole(path, {"x": X}))


@pytest.mark.parametrize("inline_bytes", [0, 2**20])
def test_external_data_is_cut_with_the_stages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inline_bytes: int
) -> None:
    monkeypatch.setattr("stagewright.splitting.stage_files._INLINE_BYTES", inline_bytes)
    model = f"""{HEAD} data (float[1, 3] x) => (float[1, 400] y) {{
        [a] p = MatMul(x, w)
        [b] q = Relu(p)
        [c] y = MatMul(q, v)
    }}"""
    proto = onnx.parser.parse_model(model)
    rng = np.random.default_rng(0)
    weights = {"w": (3, 300), "v": (300, 400)}
    proto.graph.initializer.extend(
        numpy_helper.from_array(rng.standard_normal(s, dtype=np.float32), n)
        for n, s in weights.items()
    )
    path = tmp_path / "model.onnx"
    onnx.save(proto, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    graph = cost_graph(proto)
    out = tmp_path / "stages"
    plan = by_names(graph, ["a"], ["b"], ["c"])
    manifest = split_onnx(path, graph, plan, out, document=None)
    expected = run_whole(path, {"x": X})
    (tmp_path / "weights.bin").unlink()
    assert_same(run_stages(out, {"x": X}), expected)
    assert [s.param_bytes for s in manifest.stages] == [3600, 0, 480000]
    data = sorted(f.name for f in out.iterdir() if f.suffix == ".data")
    assert data == ([] if inline_bytes else ["stage0.onnx.data", "stage2.onnx.data"])


def test_external_data_outside_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(12))
    proto = onnx.parser.parse_model(
        f"{HEAD} m (float[1, 3] x) => (float[1, 3] y) {{ [a] p = Mul(x, w) [b] y = Relu(p) }}"
    )
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    proto.graph.initializer.append(tensor)
    folder = tmp_path / "inner"
    folder.mkdir()
    onnx.save(proto, folder / "model.onnx")
    builder = GraphBuilder("m")
    nodes = [builder.add_node("a"), builder.add_node("b")]
    builder.add_tensor(nodes[0], nodes[1:], nbytes=12)
    with pytest.raises(ModelError, match="outside the base directory"):
        split_onnx(
            folder / "model.onnx",
            builder.build(),
            Plan(((0,), (1,))),
            folder / "out",
            document=None,
        )
    assert sorted(f.name for f in folder.iterdir()) == ["model.onnx"]


def test_operators_that_only_the_runtime_knows_are_typed_by_it(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>
        m (float[N, 64] x) => (float[N, 64] y) {
            [a] p = com.microsoft.FastGelu(x)
            [b] q = MatMul(p, w)
            [c] y = Add(p, q)
        }"""
    )
    weight = np.eye(64, dtype=np.float32)  # large enough to be left out of the inference
    model.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    feeds = {"x": np.linspace(-1, 1, 128, dtype=np.float32).reshape(2, 64)}
    manifest = check(model, tmp_path, feeds, ["a"], ["b"], ["c"])
    assert [(t.type, t.shape) for t in manifest.stages[2].inputs] == [
        ("tensor(float)", ("N", 64)),
        ("tensor(float)", ("N", 64)),
    ]


def test_the_shape_of_an_inner_tensor_can_be_given(tmp_path: Path) -> None:
    model = f"""{HEAD} m (float[4] x, int64[1] n) => (float[M] y) {{
        [a] p = Tile(x, n)
        [b] q = Relu(p)
        [c] y = Exp(q)
    }}"""
    feeds = {"x": np.arange(4, dtype=np.float32), "n": np.array([2])}
    manifest = check(model, tmp_path, feeds, ["a"], ["b"], ["c"], shapes={"p": [8]})
    assert manifest.stages[1].inputs[0].nbytes == 32
    assert manifest.stages[2].inputs[0].nbytes == 32


def test_a_crossing_tensor_without_a_type_is_named(tmp_path: Path) -> None:
    model = """<ir_version: 8, opset_import: ["" : 17, "own" : 1]>
    m (float[1, 3] x) => (float[1, 3] y) { [a] p = own.Mystery(x) [b] y = Relu(p) }"""
    with pytest.raises(ModelError) as caught:
        split(model, tmp_path, ["a"], ["b"])
    assert str(caught.value).startswith(
        "stage 0: tensor 'p': expected a known element type, since it crosses between stages, got "
    )
