# SPDX-License-Identifier: Apache-2.0
"""Constraints and memory: what must stay together, what is pinned, what fits.

python examples/constraints.py
"""

from __future__ import annotations

import stagewright as sw
from stagewright.errors import InfeasibleError

MS, MB = 10**9, 10**6


def language_model(layers: int = 8) -> sw.CostGraph:
    """Return a small language model whose first and last node use one table of embeddings."""
    builder = sw.GraphBuilder("tied")
    embed = builder.add_node("embed", work=1 * MS)
    last = embed
    for number in range(layers):
        attention = builder.add_node(f"layers.{number}.attention", work=2 * MS)
        expand = builder.add_node(f"layers.{number}.expand", work=3 * MS)
        shrink = builder.add_node(f"layers.{number}.shrink", work=3 * MS)
        builder.add_tensor(last, [attention], nbytes=2 * MB)
        builder.add_tensor(attention, [expand], nbytes=2 * MB)
        builder.add_tensor(expand, [shrink], nbytes=8 * MB)
        for node in (attention, expand, shrink):
            builder.add_param(50 * MB, [node])
        last = shrink
    head = builder.add_node("head", work=4 * MS)
    builder.add_tensor(last, [head], nbytes=2 * MB)
    builder.add_param(400 * MB, [embed, head])  # tied: held once by each stage that uses it
    return builder.build()


def show(title: str, result: sw.Result) -> None:
    """Print one line about a plan."""
    sizes = [len(nodes) for nodes in result.plan.stages]
    print(
        f"{title:34} {result.bottleneck * 1e3:7.2f} ms  {result.status:8} nodes per stage {sizes}"
    )


def main() -> None:
    """Plan the same model under one constraint after another."""
    graph, link = language_model(), "10GB/s"
    free = sw.plan(graph, 4, bandwidth=link)
    show("no constraints", free)

    # Expressions search in the nodes' names, as in `stagewright plan --together 'layers[.][34]'`.
    constraints = {"together": [r"layers\.[34]\."], "first": ["^embed$"], "last": ["^head$"]}
    kept = sw.plan(graph, 4, bandwidth=link, constraints=constraints)
    show("layers 3 and 4 joined, ends pinned", kept)
    print(f"{'':34} costs {100 * (kept.bottleneck / free.bottleneck - 1):.1f} % more than without")

    # Frameworks that cut between layers only: whole layers are units, and the result says what that loses.
    show("whole layers only", sw.plan(graph, 4, bandwidth=link, granularity="layer"))

    # With `memory` a stage may hold more and streams the rest through its link, for a price ...
    show("700 MB, the rest is streamed", sw.plan(graph, 4, bandwidth=link, memory="700MB"))
    # ... with `memory_limit` no stage may hold more. Where nothing fits, that is proven.
    show("at most 700 MB", sw.plan(graph, 4, bandwidth=link, memory_limit="700MB"))
    try:
        sw.plan(graph, 4, bandwidth=link, memory_limit="420MB")
    except InfeasibleError as error:
        print("at most 420 MB:", error)

    # Memory that is not there for the model: a runtime, a cache.
    reserved = {"reserve": {"all": "100MB"}}
    show(
        "at most 700 MB, 100 MB of it taken",
        sw.plan(graph, 4, bandwidth=link, memory_limit="700MB", constraints=reserved),
    )


if __name__ == "__main__":
    main()
