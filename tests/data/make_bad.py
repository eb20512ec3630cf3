# SPDX-License-Identifier: Apache-2.0
"""Write the malformed files of tests/data/bad, one fault each; run from the repository root.

    python tests/data/make_bad.py

The message each file must give is in tests/data/bad/expected.json: the text behind the path.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    TypeProto,
    ValueInfoProto,
    helper,
)

FOLDER = Path(__file__).parent / "bad"


def graph(**changes: Any) -> dict[str, Any]:
    """Return a valid graph file of two nodes with some top-level keys changed (None drops one)."""
    document = {
        "format": "stagewright-graph/1",
        "name": "bad",
        "time_unit": "ms",
        "nodes": [{"name": "a", "work": 1}, {"name": "b", "work": 2.5}],
        "tensors": [{"producer": 0, "consumers": [1], "bytes": 8}],
    } | changes
    return {key: value for key, value in document.items() if value is not None}


def node(**changes: Any) -> dict[str, Any]:
    """Return a graph file whose second node has some keys changed."""
    return graph(nodes=[{"name": "a", "work": 1}, {"name": "b", "work": 2} | changes])


def tensor(**changes: Any) -> dict[str, Any]:
    """Return a graph file whose tensor has some keys changed (None drops one)."""
    made = {"producer": 0, "consumers": [1], "bytes": 8} | changes
    return graph(tensors=[{k: v for k, v in made.items() if v is not None}])


GRAPHS: dict[str, Any] = {
    "format_missing": graph(format=None),
    "format_version": graph(format="stagewright-graph/2"),
    "name_number": graph(name=7),
    "time_unit_missing": graph(time_unit=None),
    "time_unit_unknown": graph(time_unit="min"),
    "nodes_object": graph(nodes={"a": 1}),
    "nodes_empty": graph(nodes=[], tensors=[]),
    "node_number": graph(nodes=[3]),
    "key_unknown": node(wrok=3),
    "key_unknown_top": graph(edges=[]),
    "node_name_twice": node(name="a"),
    "node_name_empty": node(name=""),
    "work_missing": graph(nodes=[{"name": "a"}]),
    "work_negative": node(work=-1),
    "work_text": node(work="5 ms"),
    "work_true": node(work=True),
    "work_huge": node(work=10**30),
    "work_sum_overflows": graph(nodes=[{"name": n, "work": 1_600_000_000} for n in "ab"]),
    "flops_fraction": node(flops=0.5),
    "bytes_huge": node(bytes=2**63),
    "stage_middle": node(stage="middle"),
    "group_number": node(group=1),
    "replicable_number": node(replicable=1),
    "tensor_bytes_true": tensor(bytes=True),
    "tensor_bytes_and_cost": tensor(cost=1),
    "tensor_without_size": tensor(bytes=None),
    "tensor_cost_negative": tensor(bytes=None, cost=-0.5),
    "producer_unknown": tensor(producer=2),
    "consumer_unknown": tensor(consumers=[9]),
    "consumer_twice": tensor(consumers=[1, 1]),
    "consumer_is_producer": tensor(consumers=[0]),
    "consumers_number": tensor(consumers=1),
    "cycle": graph(
        tensors=[
            {"producer": 0, "consumers": [1], "bytes": 8},
            {"producer": 1, "consumers": [0], "bytes": 8},
        ]
    ),
    "param_user_unknown": graph(params=[{"bytes": 4, "users": [5]}]),
    "pair_of_three": graph(uncuttable=[[0, 1, 1]]),
    "top_list": [],
    "surrogate": node(op="\ud800"),
}

VALID = json.dumps(graph()).encode()
TEXTS: dict[str, bytes] = {
    "empty.json": b"",
    "not_json.json": b'{"format": "stagewright-graph/1",\n "name": }',
    "work_nan.json": VALID.replace(b"2.5", b"NaN"),
    "work_exponent.json": VALID.replace(b"2.5", b"1e99999999999999999999"),
    "work_exponent_large.json": VALID.replace(b"2.5", b"1e999999"),
    "bytes_digits.json": VALID.replace(b": 8", b": " + b"8" * 5000),
    "key_twice.json": VALID.replace(b'"work": 2.5', b'"work": 2.5, "work": 3'),
    "nested_deeply.json": VALID.replace(b": 8", b": " + b"[" * 50_000),
    "not_utf8.json": VALID.replace(b'"bad"', b'"\xe4"'),
    "truncated.json.gz": gzip.compress(VALID, mtime=0)[:60],
    "checksum.json.gz": gzip.compress(VALID, mtime=0)[:-8] + bytes(8),
    "other_kind.txt": b"conv1 3.5 relu1\n",
    "empty.onnx": b"",
    "text.onnx": b"this is no protobuf",
    "no_graph.onnx": ModelProto(ir_version=8).SerializeToString(),
}


FORMATS = Path(__file__).parent / "formats"


def changed(name: str, *swaps: tuple[str, str]) -> bytes:
    """Return a good sample of another format with texts swapped, each of which must be there."""
    text = (FORMATS / name).read_text()
    for old, new in swaps:
        if old not in text:
            raise ValueError(f"{name} has no {old!r}")
        text = text.replace(old, new, 1)
    return text.encode()


PBTXT, PROFILE, WORKLOAD, PIPER = (
    "regal.pbtxt",
    "pipedream.graph.txt",
    "workload.json",
    "piper.json",
)
OTHERS: dict[str, bytes] = {
    "costs_syntax.pbtxt": changed(PBTXT, ("size: 100", "size 100")),
    "costs_key_unknown.pbtxt": changed(PBTXT, ("compute_cost: 58", "compute_costs: 58")),
    "costs_number.pbtxt": changed(PBTXT, ("compute_cost: 58", "compute_cost: 5.8")),
    "costs_id_twice.pbtxt": changed(PBTXT, ("id: 2", "id: 1")),
    "costs_name_twice.pbtxt": changed(PBTXT, ('"join"', '"left"'), ("id: 4", "id: 3")),
    "costs_node_unknown.pbtxt": changed(PBTXT, ("preceding_node: 2", "preceding_node: 8")),
    "costs_port_unknown.pbtxt": changed(PBTXT, ("preceding_port: 1", "preceding_port: 2")),
    "costs_port_negative.pbtxt": changed(PBTXT, ("preceding_port: 1", "preceding_port: -2")),
    "costs_control_unknown.pbtxt": changed(PBTXT, ("control_input: 1", "control_input: 9")),
    "costs_negative.pbtxt": changed(PBTXT, ("compute_cost: 58", "compute_cost: -58")),
    "costs_memory_negative.pbtxt": changed(PBTXT, ("size: 1000", "size: -1000")),
    "costs_overflow.pbtxt": changed(PBTXT, ("compute_cost: 58", f"compute_cost: {2**60}")),
    "costs_cycle.pbtxt": changed(
        PBTXT, ("control_input: 0\n  compute", "control_input: 4 compute")
    ),
    "costs_empty.pbtxt": b"# nothing\n",
    "profile_metric_missing.graph.txt": changed(PROFILE, (", parameter_size=1e3", "")),
    "profile_time_negative.graph.txt": changed(PROFILE, ("time=1.250", "time=-1.250")),
    "profile_size_text.graph.txt": changed(PROFILE, ("16.0; 16.5", "16.0; many")),
    "profile_size_huge.graph.txt": changed(PROFILE, ("16.0; 16.5", "16.0; 1e30")),
    "profile_node_twice.graph.txt": changed(PROFILE, ("node4 --", "node3 --")),
    "profile_node_unknown.graph.txt": changed(PROFILE, ("node1 -- node2", "node1 -- node7")),
    "profile_edge_without_tab.graph.txt": changed(PROFILE, ("\tnode1", "    node1")),
    "profile_cycle.graph.txt": changed(PROFILE, ("\tnode2 -- node5", "\tnode5 -- node2")),
    "workload_edges_missing.json": changed(WORKLOAD, ('"edges"', '"arcs"')),
    "workload_latency_missing.json": changed(WORKLOAD, ('"cpuLatency": 50', '"cpu": 50')),
    "workload_latency_negative.json": changed(
        WORKLOAD, ('"fpgaLatency": 4.0', '"fpgaLatency": -4')
    ),
    "workload_latency_text.json": changed(WORKLOAD, ('"fpgaLatency": 4.0', '"fpgaLatency": "4"')),
    "workload_id_twice.json": changed(WORKLOAD, ('"id": 2', '"id": 7')),
    "workload_backward_text.json": changed(WORKLOAD, ("false", '"no"')),
    "workload_color_text.json": changed(WORKLOAD, ('"colorClass": 3', '"colorClass": "3"')),
    "workload_size_nan.json": changed(WORKLOAD, ('"size": 10.5', '"size": NaN')),
    "workload_node_unknown.json": changed(WORKLOAD, ('"destId": 2', '"destId": 1')),
    "workload_cost_missing.json": changed(WORKLOAD, ('"cost": 0.25', '"price": 0.25')),
    "workload_only_backward.json": changed(
        WORKLOAD, *[('"isBackwardNode": 0', '"isBackwardNode": 1')] * 2, ("false", "true")
    ),
    "piper_degree_missing.json": changed(PIPER, ('"1": [', '"4": [')),
    "piper_variants_object.json": changed(PIPER, ('"TMPCs": {', '"TMPCs": {"1": {}}, "table": {')),
    "piper_time_missing.json": changed(PIPER, ('"timePerSample"', '"time"')),
    "piper_size_negative.json": changed(PIPER, ('"parameterSize": 100.0', '"parameterSize": -1')),
    "piper_id_twice.json": changed(PIPER, ('"id": 5', '"id": 0')),
    "piper_node_unknown.json": changed(PIPER, ('"destId": 6', '"destId": 60')),
    "piper_cost_null.json": changed(
        PIPER, ('"communicationCost": 8.0', '"communicationCost": null')
    ),
}


def info(name: str, *dims: int | str) -> ValueInfoProto:
    """Return a float tensor of a name and shape."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)


def model(nodes: list[NodeProto], *, functions: Any = (), **changes: Any) -> ModelProto:
    """Return a model from x (2, 3) to y."""
    made: dict[str, Any] = {"inputs": [info("x", 2, 3)], "outputs": [info("y")]} | changes
    body = helper.make_graph(nodes, "bad", **made)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("local", 1)]
    return helper.make_model(body, opset_imports=opsets, functions=functions, ir_version=10)


def weights(dims: list[int], **fields: Any) -> TensorProto:
    """Return an initialiser w with the given fields and no data."""
    return TensorProto(name="w", dims=dims, **{"data_type": TensorProto.FLOAT} | fields)


def external(location: str, **entries: str) -> TensorProto:
    """Return a 3 x 4 initialiser w in an external data file."""
    made = weights([3, 4], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **entries}.items():
        made.external_data.add(key=key, value=value)
    return made


def product(**changes: Any) -> ModelProto:
    """Return a model of one MatMul with the initialiser w."""
    return model([helper.make_node("MatMul", ["x", "w"], ["y"], "mm")], **changes)


def recursive() -> Any:
    """Return a function that calls itself."""
    call = helper.make_node("Again", ["a"], ["b"], "again", domain="local")
    return helper.make_function("local", "Again", ["a"], ["b"], [call], [])


def untyped() -> ValueInfoProto:
    """Return an input without an element type."""
    return ValueInfoProto(name="x", type=TypeProto(tensor_type=TypeProto.Tensor()))


def no_opset() -> ModelProto:
    """Return a model that imports no operator set."""
    made = model([helper.make_node("Relu", ["x"], ["y"], "r")])
    del made.opset_import[:]
    return made


RELU = helper.make_node("Relu", ["x"], ["y"], "r")
MODELS: dict[str, ModelProto] = {
    "no_nodes": ModelProto(
        ir_version=8, opset_import=[helper.make_opsetid("", 20)], graph=GraphProto()
    ),
    "no_opset": no_opset(),
    "input_unknown": model([helper.make_node("Add", ["x", "z"], ["y"], "add")]),
    "not_sorted": model(
        [helper.make_node("Relu", ["t"], ["y"], "r"), helper.make_node("Abs", ["x"], ["t"], "abs")]
    ),
    "output_twice": model([RELU, helper.make_node("Abs", ["x"], ["y"], "abs")]),
    "output_is_input": model([helper.make_node("Relu", ["x"], ["x"], "r")]),
    "shapes_contradict": product(initializer=[weights([5, 4])]),
    "rank_wrong": model(
        [
            helper.make_node("Abs", ["x"], ["a"], "abs"),
            helper.make_node("QMoE", ["a", "x", "", "x"], ["y"], "moe", domain="com.microsoft"),
        ]
    ),
    "dims_symbolic": model([RELU], inputs=[info("x", "batch", 3, "height", "width")]),
    "input_without_type": model([RELU], inputs=[untyped()]),
    "external_absolute": product(initializer=[external("/etc/passwd")]),
    "external_parent": product(initializer=[external("../w.bin")]),
    "external_windows": product(initializer=[external("C:\\w.bin")]),
    "external_nowhere": product(initializer=[external("")]),
    "external_length": product(initializer=[external("w.bin", length="47")]),
    "external_offset": product(initializer=[external("w.bin", offset="-4")]),
    "external_short": product(initializer=[external("empty.json", length="48")]),
    "raw_data_short": product(initializer=[weights([3, 4], raw_data=b"1234")]),
    "dims_negative": product(initializer=[weights([3, -4])]),
    "element_type_unknown": product(initializer=[weights([3, 4], data_type=99)]),
    "initialiser_twice": product(initializer=[weights([3, 4]), weights([3, 4])]),
    "data_too_short": product(initializer=[weights([3, 4], float_data=[1.0])]),
    "tensor_overflows": product(initializer=[weights([3, 2**61])]),
    "function_recursive": model(
        [helper.make_node("Again", ["x"], ["y"], "f", domain="local")], functions=[recursive()]
    ),
    "only_constants": model([helper.make_node("Constant", [], ["y"], "c", value_float=1.0)]),
    "constant_without_value": model([helper.make_node("Constant", [], ["y"], "c")]),
    "loop_without_body": model([helper.make_node("Loop", ["", "", "x"], ["y"], "loop")]),
    "scan_without_inputs": model(
        [
            NodeProto(
                op_type="Scan",
                name="scan",
                input=["x"],
                output=["y"],
                attribute=[
                    AttributeProto(name="num_scan_inputs", type=AttributeProto.INT, i=2),
                ],
            )
        ]
    ),
    "shape_unknown": model(
        [
            helper.make_node("Custom", ["x"], ["t"], "custom", domain="local"),
            helper.make_node("Relu", ["t"], ["y"], "r"),
        ]
    ),
}


def main() -> None:
    """Write all files."""
    FOLDER.mkdir(exist_ok=True)
    for name, document in GRAPHS.items():
        (FOLDER / f"{name}.json").write_text(json.dumps(document) + "\n")
    for name, content in (TEXTS | OTHERS).items():
        (FOLDER / name).write_bytes(content)
    for name, made in MODELS.items():
        (FOLDER / f"{name}.onnx").write_bytes(made.SerializeToString(deterministic=True))
    whole = MODELS["shape_unknown"].SerializeToString(deterministic=True)
    (FOLDER / "truncated.onnx").write_bytes(whole[: len(whole) // 2])


if __name__ == "__main__":
    main()
