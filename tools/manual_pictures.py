# SPDX-License-Identifier: Apache-2.0
"""The manual's pictures, drawn from real plans: `python tools/manual_pictures.py` writes docs/pictures.

matplotlib draws, networkx lays graphs out.  Everything shown is computed by Stagewright; texts say what
a picture shows, numbers come from the plan.
"""

from __future__ import annotations

import itertools
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import networkx as nx
import numpy as np

from manual_pages import DOCS, ROOT

sys.path.insert(0, str(ROOT))

import stagewright as sw
from stagewright.graph import CostGraph
from stagewright.plans import Plan, evaluate, problems_of, tensor_costs
from stagewright.problem import compile_problem
from stagewright.reduce import reduce_problem
from stagewright.simulation import Settings, StageTimes, simulate

PICTURES = DOCS / "pictures"
MS, US = 10**9, 10**6  # picoseconds
# Colours that stay apart for the colour-blind (Okabe and Ito), in a fixed order.
STAGES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#999999")
PARTS = {"receive": "#56b4e9", "work": "#0072b2", "send": "#009e73", "overflow": "#d55e00"}
INK, FAINT = "#222222", "#888888"


def main() -> int:
    """Draw all pictures."""
    plain()
    PICTURES.mkdir(exist_ok=True)
    save(resnet_on_edge_tpus(), "plan")
    graph = small_graph()
    result = sw.plan(graph, 3)
    save(cut(graph, result.plan), "cut")
    save(one_tensor_three_readers(), "tensor")
    save(two_assignments(), "acyclic")
    save(all_ideals(graph, result.plan), "ideals")
    save(pipeline_over_time(graph, result.plan), "pipeline")
    save(ladder(), "gap")
    save(before_and_after_reductions(), "reductions")
    return 0


def plain() -> None:
    """Set how figures look."""
    # The same picture has the same bytes: no dates, no random identifiers.
    mpl.rcParams.update(
        {
            "svg.hashsalt": "stagewright",
            "svg.fonttype": "none",
            "font.family": ["DejaVu Sans", "sans-serif"],
            "font.size": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "text.color": INK,
            "axes.labelcolor": INK,
        }
    )


def save(figure: Any, name: str) -> None:
    """Write a figure as SVG."""
    figure.savefig(
        PICTURES / f"{name}.svg",
        bbox_inches="tight",
        facecolor="white",
        metadata={"Date": None, "Creator": None},
    )
    plt.close(figure)


# --- the plan of a real network ----------------------------------------------------------------


def resnet_on_edge_tpus() -> Any:
    """Draw ResNet-50 on eight Edge TPUs: the parts of each stage's cost, and what no plan can be below."""
    import onnx

    light = Path(onnx.__file__).parent / "backend/test/data/light/light_resnet50.onnx"
    result = sw.plan(sw.read(light, device="coral-edge-tpu"), 8, device="coral-edge-tpu")
    costs = evaluate(result.graph, result.machine, result.plan)
    figure, axes = plt.subplots(figsize=(8.4, 3.6))
    left = [0.0] * len(costs)
    for part, colour in PARTS.items():
        widths = [part_of(cost, part) / MS for cost in costs]
        axes.barh(range(len(costs)), widths, left=left, color=colour, label=part, height=0.68)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    slowest = max(range(len(costs)), key=lambda stage: costs[stage].total)
    for stage, nodes in enumerate(result.plan.stages):
        mark = ", slowest" if stage == slowest else ""
        text = f"{len(nodes)} nodes{mark}"
        axes.text(max(left) + 0.4, stage, text, va="center", color=FAINT, fontsize=9)
    names = {"simple": "work shared out", "anchor": "minimum cuts", "exact": "all cases"}
    for bound in result.bounds:
        at = bound.value / MS
        axes.axvline(at, color=INK, linewidth=1, linestyle="-" if at == left[slowest] else ":")
        axes.text(at, -0.75, names.get(bound.method, bound.method), ha="center", fontsize=9)
    axes.set(xlabel="milliseconds per inference", xlim=(0, max(left) * 1.2))
    axes.set_yticks(range(len(costs)), [f"stage {stage}" for stage in range(len(costs))])
    axes.invert_yaxis()
    axes.legend(loc="lower right", frameon=False, ncols=4, bbox_to_anchor=(1, -0.32))
    axes.set_title("Lower bounds (vertical lines): no plan is left of them", fontsize=10, pad=16)
    return figure


def part_of(cost: Any, part: str) -> int:
    """Return a part of a stage's cost in picoseconds."""
    names = {"receive": "io_in", "send": "io_out"}
    return int(getattr(cost, names.get(part, part)))


# --- a small graph -----------------------------------------------------------------------------


def small_graph() -> CostGraph:
    """Two branches between a stem and a head, as in many vision models; milliseconds."""
    builder = sw.GraphBuilder("two branches")
    work = {"stem": 4, "a1": 3, "a2": 3, "a3": 2, "b1": 5, "b2": 2, "join": 1, "head": 5, "out": 2}
    node = {name: builder.add_node(name, work=ms * MS) for name, ms in work.items()}
    for producer, consumers, ms in (
        ("stem", ("a1", "b1"), 1),
        ("a1", ("a2",), 2),
        ("a2", ("a3",), 1),
        ("a3", ("join",), 1),
        ("b1", ("b2",), 3),
        ("b2", ("join",), 1),
        ("join", ("head",), 1),
        ("head", ("out",), 2),
    ):
        builder.add_tensor(node[producer], [node[each] for each in consumers], time=ms * MS)
    return builder.build()


def drawing_of(graph: CostGraph) -> tuple[Any, dict[int, Any]]:
    """Return the graph for networkx, and places in layers from left to right."""
    drawn = nx.DiGraph()
    drawn.add_nodes_from(range(graph.num_nodes))
    for tensor in range(graph.num_tensors):
        for consumer in graph.tensor_consumers[tensor]:
            drawn.add_edge(int(graph.tensor_producer[tensor]), int(consumer), tensor=tensor)
    for layer, nodes in enumerate(nx.topological_generations(drawn)):
        for node in nodes:
            drawn.nodes[node]["layer"] = layer
    return drawn, nx.multipartite_layout(drawn, subset_key="layer", scale=1.0)


def draw_stages(
    axes: Any, graph: CostGraph, block: Sequence[int], *, works: bool = True, size: int = 1500
) -> None:
    """Draw a graph with a colour per stage; tensors between stages are bold and say what they cost."""
    drawn, places = drawing_of(graph)
    costs = tensor_costs(graph, sw.Machine(1))
    crossing = [edge for edge in drawn.edges if block[edge[0]] != block[edge[1]]]
    inside = [edge for edge in drawn.edges if block[edge[0]] == block[edge[1]]]
    nx.draw_networkx_edges(drawn, places, inside, ax=axes, edge_color=FAINT, node_size=size)
    nx.draw_networkx_edges(
        drawn, places, crossing, ax=axes, edge_color=INK, width=2.2, node_size=size, arrowsize=14
    )
    colours = [STAGES[block[node]] for node in drawn.nodes]
    nx.draw_networkx_nodes(drawn, places, ax=axes, node_color=colours, node_size=size)
    labels = {
        node: f"{graph.node_names[node]}\n{graph.work[node] // MS} ms"
        if works
        else graph.node_names[node]
        for node in drawn.nodes
    }
    nx.draw_networkx_labels(drawn, places, labels, ax=axes, font_size=8, font_color="white")
    if works:
        prices = {e: f"{costs[drawn.edges[e]['tensor']] // MS} ms" for e in crossing}
        nx.draw_networkx_edge_labels(drawn, places, prices, ax=axes, font_size=8, rotate=False)
    axes.set_axis_off()
    axes.margins(0.1, 0.28)


def cut(graph: CostGraph, plan: Plan) -> Any:
    """Draw the small graph with its best three stages, and what each stage costs."""
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(8.4, 5.6), height_ratios=(1.9, 1), gridspec_kw={"hspace": 0.12}
    )
    draw_stages(top, graph, plan.assignment(graph.num_nodes))
    costs = evaluate(graph, sw.Machine(3), plan)
    bars(bottom, costs)
    return figure


def bars(axes: Any, costs: Sequence[Any]) -> None:
    """Draw one bar per stage: receive, work, send."""
    for stage, cost in enumerate(costs):
        left = 0.0
        for part, shade in (("receive", 0.45), ("work", 1.0), ("send", 0.45)):
            width = part_of(cost, part) / MS
            axes.barh(stage, width, left=left, color=STAGES[stage], alpha=shade, height=0.6)
            if width:
                text = f"{part} {width:g}" if width > 1 else f"{width:g}"
                axes.text(left + width / 2, stage, text, ha="center", va="center", fontsize=8)
            left += width
    most = max(cost.total for cost in costs) / MS
    axes.axvline(most, color=INK, linestyle=":")
    axes.text(most + 0.1, -0.62, f"bottleneck {most:g} ms", fontsize=9)
    axes.set_yticks(range(len(costs)), [f"stage {stage}" for stage in range(len(costs))])
    axes.set(xlabel="milliseconds per item", xlim=(0, most * 1.25))
    axes.invert_yaxis()


def one_tensor_three_readers() -> Any:
    """Draw a tensor with three readers: paid once by each stage that sends or receives it."""
    builder = sw.GraphBuilder("one tensor")
    nodes = [builder.add_node(name, work=MS) for name in ("x", "r1", "r2", "r3")]
    builder.add_tensor(nodes[0], nodes[1:], time=MS)
    figure, panels = plt.subplots(1, 2, figsize=(8.4, 2.6))
    for axes, block, text in (
        (panels[0], [0, 1, 1, 1], "two stages hold it:\nsent once, received once"),
        (panels[1], [0, 1, 1, 2], "three stages hold it:\nsent once, received twice"),
    ):
        draw_stages(axes, builder.build(), block, works=False, size=900)
        plan = Plan.from_assignment(builder.build(), block)
        paid = sum(c.io_in + c.io_out for c in evaluate(builder.build(), sw.Machine(3), plan))
        axes.set_title(f"{text} ({paid // MS} payments)", fontsize=9)
    return figure


def two_assignments() -> Any:
    """Draw the same graph assigned in two ways: one is a plan, one has a cycle between its stages."""
    graph = small_graph()
    figure, panels = plt.subplots(1, 2, figsize=(10.5, 2.9))
    for axes, first in (
        (panels[0], {"stem", "a1", "b1", "b2"}),
        (panels[1], {"stem", "a2", "a3", "b1", "b2"}),
    ):
        block = [0 if name in first else 1 for name in graph.node_names]
        draw_stages(axes, graph, block, works=False, size=800)
        faults = problems_of(graph, sw.Machine(2), Plan.from_assignment(graph, block))
        text = "no plan: the stages wait for each other" if faults else "a plan: tensors go forward"
        axes.set_title(text, fontsize=9)
    return figure


def all_ideals(graph: CostGraph, plan: Plan) -> Any:
    """Draw every ideal of the small graph, one more node from left to right, and the plan's chain."""
    drawn, _ = drawing_of(graph)
    before = {v: nx.ancestors(drawn, v) for v in drawn.nodes}
    ideals = nx.DiGraph()
    ideals.add_node(frozenset())
    front = [frozenset[int]()]
    while front:
        inside = front.pop()
        for node in sorted(set(drawn.nodes) - inside):
            if before[node] <= inside:
                larger = inside | {node}
                if larger not in ideals:
                    front.append(larger)
                ideals.add_edge(inside, larger)
    for ideal in ideals.nodes:
        ideals.nodes[ideal]["size"] = len(ideal)
    places = nx.multipartite_layout(ideals, subset_key="size")
    chain = [frozenset[int]()]
    for stage in plan.stages:
        chain.append(chain[-1] | set(stage))
    figure, axes = plt.subplots(figsize=(8.4, 2.8))
    nx.draw_networkx_edges(ideals, places, ax=axes, edge_color="#cccccc", node_size=90, arrowsize=7)
    nx.draw_networkx_nodes(ideals, places, ax=axes, node_color="#bbbbbb", node_size=90)
    heights = [height for _, height in places.values()]
    label = max(heights) + 0.3 * (max(heights) - min(heights))
    for number, (start, end) in enumerate(itertools.pairwise(chain)):
        colour = STAGES[number]
        nx.draw_networkx_nodes(ideals, places, [end], ax=axes, node_color=colour, node_size=240)
        (x0, y0), (x1, y1) = places[start], places[end]
        arrow = {"arrowstyle": "->", "color": colour, "lw": 2, "connectionstyle": "arc3,rad=-0.35"}
        axes.annotate("", (x1, y1), (x0, y0), arrowprops=arrow)
        axes.text((x0 + x1) / 2, label, f"stage {number}", ha="center", color=colour, fontsize=9)
    axes.set_title(f"{ideals.number_of_nodes()} ideals", fontsize=9)
    axes.set_axis_off()
    axes.margins(0.05, 0.35)
    return figure


def pipeline_over_time(graph: CostGraph, plan: Plan) -> Any:
    """Draw six items through the three stages, in simulated time."""
    costs = evaluate(graph, sw.Machine(3), plan)
    colours = mpl.colormaps["viridis"](np.linspace(0, 0.85, 6))
    times = [StageTimes(c.io_in, c.work, c.io_out) for c in costs]
    spans = simulate(times, Settings(items=6)).spans
    figure, axes = plt.subplots(figsize=(8.4, 2.4))
    busy = [span for span in spans if span.what in ("receive", "work", "send")]
    for span in busy:
        axes.barh(
            span.stage,
            (span.end - span.start) / MS,
            left=span.start / MS,
            height=0.7,
            color=colours[span.item],
            alpha=1.0 if span.what == "work" else 0.45,
        )
        if span.what == "work":
            middle = (span.start + span.end) / 2 / MS
            axes.text(middle, span.stage, str(span.item), ha="center", va="center", color="white")
    leaves = sorted(max(s.end for s in busy if s.item == item) / MS for item in range(6))
    axes.annotate(
        "", (leaves[3], 2.55), (leaves[4], 2.55), arrowprops={"arrowstyle": "<->", "color": INK}
    )
    axes.text((leaves[3] + leaves[4]) / 2, 2.95, "period", ha="center", fontsize=9)
    axes.annotate(
        "", (0, -0.55), (leaves[0], -0.55), arrowprops={"arrowstyle": "<->", "color": INK}
    )
    axes.text(leaves[0] / 2, -0.68, "latency of the first item", ha="center", fontsize=9)
    axes.set_yticks(range(3), [f"stage {stage}" for stage in range(3)])
    axes.set(xlabel="milliseconds", ylim=(-1.1, 3.2))
    axes.invert_yaxis()
    return figure


# --- bounds ------------------------------------------------------------------------------------


def ladder() -> Any:
    """Draw a wide random graph after some seconds: every bound found, the plan, and the gap between them."""
    from benchmarks.random_dags import random_dag

    result = sw.plan(random_dag("erdos", 120, 3), 8, time_limit=5.0)
    figure, axes = plt.subplots(figsize=(8.4, 2.6))
    best = {bound.method: bound.value / US for bound in result.bounds}
    rows = [*sorted(best.items(), key=lambda row: row[1]), ("the plan", result.bottleneck * 1e6)]
    upper, lower = rows[-1][1], result.lower_bound * 1e6
    for row, (name, value) in enumerate(rows):
        colour = "#e69f00" if name == "the plan" else "#56b4e9"
        axes.barh(row, value, color=colour, height=0.62)
        text = name if name == "the plan" else f"bound '{name}'"
        axes.text(0.01 * upper, row, text, va="center", fontsize=9)
        axes.text(value * 0.99, row, f"{value:.0f} us", ha="right", va="center", fontsize=9)
    axes.axvspan(lower, upper, color="#d55e00", alpha=0.25)
    gap = 100 * (upper / lower - 1)
    axes.text(
        upper * 1.01, 0, f"gap {gap:.1f} %:\nany better plan\nlies in here", va="bottom", fontsize=9
    )
    axes.set(xlabel="microseconds", xlim=(0, upper * 1.2), yticks=[])
    return figure


def before_and_after_reductions() -> Any:
    """Draw a graph with its merged nodes in one colour, and what is left of it."""
    builder = sw.GraphBuilder("a small network")
    works = {"mask": 0, "cast": 0, "conv": 4, "bias": 0, "relu": 1, "shape": 0, "view": 0}
    works |= {"pool": 1, "left": 5, "right": 4, "add": 1, "out": 2}
    node = {name: builder.add_node(name, work=ms * MS) for name, ms in works.items()}
    for producer, consumers, ms in (
        ("mask", ("cast",), 1), ("cast", ("add",), 4), ("bias", ("conv",), 1), ("conv", ("relu",), 3),
        ("relu", ("pool",), 3), ("pool", ("left", "right"), 1), ("pool", ("shape",), 0),
        ("shape", ("view",), 0), ("left", ("view",), 2), ("view", ("add",), 2), ("right", ("add",), 2),
        ("add", ("out",), 2),
    ):  # fmt: skip
        builder.add_tensor(node[producer], [node[each] for each in consumers], time=ms * MS)
    graph = builder.build()
    problem = compile_problem(graph, sw.Machine(3))
    smaller = reduce_problem(problem)
    home: dict[int, int] = {}
    for merged, classes in enumerate(smaller.members):
        home |= dict.fromkeys(classes, merged)
    figure, panels = plt.subplots(2, 1, figsize=(8.4, 6.0))
    draw_stages(panels[0], graph, [home[v] for v in range(graph.num_nodes)], size=1150)
    rest = sw.GraphBuilder("reduced")
    for merged, work in enumerate(smaller.work):
        names = [graph.node_names[v] for v in smaller.members[merged]]
        text = " ".join(sorted(names, key=list(works).index))
        rest.add_node(textwrap.fill(text, 11), work=work)
    for maker, users, cost in zip(smaller.producer, smaller.consumers, smaller.cost, strict=True):
        rest.add_tensor(maker, users, time=cost)
    left = rest.build()
    draw_stages(panels[1], left, list(range(left.num_nodes)), size=3000)
    panels[0].set_title(f"{graph.num_nodes} nodes", fontsize=9)
    panels[1].set_title(f"{left.num_nodes} nodes, the same optimum", fontsize=9)
    return figure


if __name__ == "__main__":
    sys.exit(main())
