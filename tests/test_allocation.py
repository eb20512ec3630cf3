# SPDX-License-Identifier: Apache-2.0
"""The cyclic collector waits while many objects are made, and no longer."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from tests.solver.random_graphs import random_case

from stagewright.allocation import many_objects
from stagewright.errors import InputError
from stagewright.machine import Machine
from stagewright.problem import compile_problem


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    gc.enable()
    yield
    gc.enable()


def test_the_collector_is_off_inside_and_on_behind() -> None:
    with many_objects():
        assert not gc.isenabled()
        with many_objects():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_whoever_switched_it_off_keeps_it_off() -> None:
    gc.disable()
    with many_objects():
        pass
    assert not gc.isenabled()


def test_it_is_on_again_after_an_error() -> None:
    graph, _ = random_case(1)
    sized = graph.replace(
        tensor_bytes=graph.tensor_bytes * 0 + 8, tensor_time=graph.tensor_time * 0 - 1
    )
    assert sized.num_tensors
    with pytest.raises(InputError, match="bandwidth"):
        compile_problem(sized, Machine(2))
    assert gc.isenabled()
