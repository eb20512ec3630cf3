# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stagewright.errors import InputError
from stagewright.graph import CostGraph, GraphBuilder
from stagewright.machine import Machine
from stagewright.robustness.spread import Spread

MACHINE = Machine(2, bandwidth=10**9)


def layers(n: int = 200) -> CostGraph:
    b = GraphBuilder("layers")
    for v in range(n):
        b.add_node(f"v{v}", op=("Conv", "Relu")[v % 2], work=0 if v == 7 else 10**9)
    for v in range(n - 1):
        size = {"time": 10**8} if v == 3 else {"nbytes": 0 if v == 5 else 10**6}
        b.add_tensor(v, [v + 1], **size)
    b.add_param(77, [0])
    return b.build()


def draws(spread: Spread, count: int = 20) -> np.ndarray[Any, Any]:
    graph = layers()
    rows = [spread.draw(graph, MACHINE, (0, i)).graph.work / 1e9 for i in range(count)]
    return np.array(rows)


def test_work_errs_by_where_it_comes_from() -> None:
    graph = layers(4)
    sources = ("measured", "given", "calibrated", "roofline")
    assert Spread().of_nodes(graph.replace(node_sources=sources)).tolist() == [0.05, 0.1, 0.2, 0.3]
    some = Spread(ops={"Relu": 0.7}).of_nodes(graph.replace(node_sources=sources))
    assert some.tolist() == [0.05, 0.7, 0.2, 0.7]
    assert Spread(work=0.4).of_nodes(graph).tolist() == [0.4] * 4
    assert Spread().of_nodes(graph).tolist() == [0.1] * 4
    assert Spread().to_json()["work"] == {
        "measured": 0.05,
        "given": 0.1,
        "calibrated": 0.2,
        "roofline": 0.3,
    }


def test_equal_seeds_give_equal_instances() -> None:
    spread, graph = Spread(work=0.2, bytes=0.1, bandwidth=0.3), layers()
    a, b, c = (spread.draw(graph, MACHINE, seed) for seed in ((1, 2), (1, 2), (1, 3)))
    assert a.graph.sha256 == b.graph.sha256 != c.graph.sha256
    assert a.machine == b.machine != c.machine


def test_no_spread_changes_nothing() -> None:
    graph = layers()
    instance = Spread(work=0.0).draw(graph, MACHINE, (0,))
    assert instance.graph.sha256 == graph.sha256
    assert instance.machine == MACHINE


def test_one_spread_does_not_change_the_draws_of_another() -> None:
    graph = layers()
    a = Spread(work=0.2).draw(graph, MACHINE, (5,))
    b = Spread(work=0.2, bytes=0.4, bandwidth=0.1).draw(graph, MACHINE, (5,))
    np.testing.assert_array_equal(a.graph.work, b.graph.work)


def test_what_is_nothing_stays_nothing() -> None:
    instance = Spread(work=1.0, bytes=1.0, bandwidth=1.0).draw(layers(), MACHINE, (1,))
    assert instance.graph.work[7] == 0
    assert instance.graph.tensor_bytes[5] == 0
    assert instance.graph.tensor_bytes[3] == -1
    assert instance.graph.tensor_time[3] > 0
    assert (np.delete(instance.graph.tensor_time, 3) == -1).all()
    assert instance.graph.param_bytes.tolist() == [77]


def test_lognormal_factors_have_their_spread() -> None:
    factors = np.delete(draws(Spread(work=0.25)), 7, axis=1)
    assert np.median(factors) == pytest.approx(1, abs=0.02)
    assert np.log(factors).std() == pytest.approx(np.log(1.25), rel=0.05)


def test_uniform_factors_stay_in_their_range() -> None:
    factors = np.delete(draws(Spread(work=0.25, kind="uniform")), 7, axis=1)
    assert factors.min() >= 0.75
    assert factors.max() <= 1.25 + 1e-9
    assert factors.min() < 0.76 < 1.24 < factors.max()


def test_operators_err_together() -> None:
    factors = draws(Spread(work=0.25, per="op", ops={"Relu": 0.0}))
    conv, relu = np.delete(factors, 7, axis=1)[:, ::2][:, :3], factors[:, [1, 3]]
    assert (conv == conv[:, :1]).all()
    assert len(set(conv[:, 0].tolist())) == len(conv)
    assert (relu == 1).all()


@pytest.mark.parametrize("kind", ["lognormal", "uniform"])
def test_all_err_together_each_by_its_spread(kind: Any) -> None:
    factors = draws(Spread(work=0.2, per="all", ops={"Relu": 0.1}, kind=kind))
    conv, relu = factors[:, 0], factors[:, 1]
    assert ((conv > 1) == (relu > 1)).all()
    if kind == "lognormal":
        ratio = np.log(conv) / np.log(relu)
        np.testing.assert_allclose(ratio, np.log(1.2) / np.log(1.1), rtol=1e-4)
    else:
        np.testing.assert_allclose((conv - 1) / (relu - 1), 2, rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"work": -0.1}, "spread: work: expected a number from 0, up to 4, got -0.1"),
        ({"work": float("nan")}, "spread: work: expected a number from 0, up to 4, got nan"),
        ({"bytes": 5}, "spread: bytes: expected a number from 0, up to 4, got 5"),
        (
            {"bandwidth": 1.0, "kind": "uniform"},
            "spread: bandwidth: expected a number from 0, below 1, got 1.0",
        ),
        ({"ops": {"Conv": "x"}}, "spread: ops['Conv']: expected a number from 0, up to 4, got x"),
        ({"kind": "normal"}, "spread: kind: expected lognormal or uniform, got 'normal'"),
        ({"per": "layer"}, "spread: per: expected node, op or all, got 'layer'"),
    ],
)
def test_spreads_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        Spread(**changes)
    assert str(caught.value) == message


def test_unknown_operators_are_named() -> None:
    with pytest.raises(InputError, match=r"operators of the graph \(Conv, Relu\), got 'Gemm'"):
        Spread(ops={"Gemm": 0.5}).draw(layers(), MACHINE, (0,))


def test_costs_beyond_int64_are_refused() -> None:
    b = GraphBuilder("huge")
    b.add_node("a", work=2**61 - 1)
    graph, seed = b.build(), next(i for i in range(20) if np.random.default_rng([i]).normal() > 0)
    with pytest.raises(InputError, match=r"at most 2\*\*61|below 2\*\*62"):
        Spread(work=4.0).draw(graph, MACHINE, (seed,))
