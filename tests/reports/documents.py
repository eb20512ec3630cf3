# SPDX-License-Identifier: Apache-2.0
"""Plan documents and run reports written by hand."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

HOSTILE = "<script>alert('x')</script>&\"[bold]\x1b[2J\u202e\ud800\n$title"


def stage(nodes: list[str], *, work: str, receive: str = "0", send: str = "0") -> dict[str, Any]:
    parts = {"work": Decimal(work), "io_in": Decimal(receive), "io_out": Decimal(send)}
    return {
        "nodes": nodes,
        **parts,
        "overflow": Decimal(0),
        "total": sum(parts.values()),
        "param_bytes": 0,
        "peak_bytes": 0,
    }


def bound(method: str, value: str, evidence: str) -> dict[str, Any]:
    return {
        "method": method,
        "value": Decimal(value),
        "seconds": Decimal("0.0042"),
        "evidence": evidence,
    }


def plan(stages: list[dict[str, Any]], bounds: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    upper = max(s["total"] for s in stages)
    lower = max((b["value"] for b in bounds), default=Decimal(0))
    return {
        "format": "stagewright-plan/1",
        "graph_sha256": "ab" * 32,
        "machine": {
            "stages": len(stages),
            "bandwidth": 25 * 10**9,
            "latency": Decimal("0.000005"),
            "memory": None,
        },
        "bottleneck": upper,
        "lower_bound": lower,
        "gap": float(upper / lower - 1) if lower else None,
        "status": "optimal" if upper == lower else "bounded" if lower else "feasible",
        "stages": stages,
        "bounds": bounds,
        "stopped_because": "the gap is closed",
        "seconds": Decimal("0.02"),
        "seed": 7,
        "version": "0.1.0",
        **more,
    }


def optimal() -> dict[str, Any]:
    """Four stages, the third is the bottleneck at 3.42 ms; proven optimal."""
    stages = [
        stage(["conv1", "relu1", "conv2"], work="0.003", send="0.0002"),
        stage(
            ["conv3", "a/very/long/scope/of/names/block3/conv4/weights/quantised"], work="0.0031"
        ),
        stage(["conv5", "conv6"], work="0.003", receive="0.0002", send="0.00022"),
        stage(["gemm", "softmax"], work="0.001", receive="0.00022"),
    ]
    return plan(
        stages,
        [bound("simple", "0.0031", "recomputed"), bound("exact", "0.00342", "exhaustive")],
    )


def many(count: int, nodes: int = 3) -> dict[str, Any]:
    """A plan of `count` stages with so many nodes each; bounded."""
    stages = [
        stage([f"node_{i}_{j}" for j in range(nodes)], work=f"0.0{100 + i}", send="0.002")
        for i in range(count)
    ]
    return plan(stages, [bound("simple", "0.01", "recomputed")], stopped_because="the time limit")


def run() -> dict[str, Any]:
    return {
        "period": 0.00352,
        "predicted_period": 0.00342,
        "throughput": 284.1,
        "outputs_equal": True,
        "stages": [
            {
                "file": "stage_0.onnx",
                "compute": 0.0033,
                "wait": 0.0001,
                "send": 8e-05,
                "predicted": 0.00342,
                "predicted_work": 0.003,
            },
            {
                "file": "stage_1.onnx",
                "compute": None,
                "wait": None,
                "send": None,
                "predicted": None,
                "predicted_work": None,
            },
        ],
        "comparison": {"equal": True, "max_abs": 1.5e-6, "max_rel": 0.001, "reason": ""},
        "latency": {"p50": 0.0071},
        "items": 80,
        "engine": "process",
        "whole": [{"threads": 1, "period": 0.0064, "throughput": 156, "speedup": 1.82}],
    }
