# SPDX-License-Identifier: Apache-2.0
"""Plans, bounds and runs in plain words; all rounding is on the careful side.

A gap is rounded up and a share down, so that no text claims more than was proven: 99.96 % is never
written as 100 %.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from ..units import PS_PER_SECOND, format_time
from .run_view import RunView
from .view import GoalView, PlanView, StageView

__all__ = [
    "EVIDENCE",
    "METHODS",
    "PARTS",
    "explanation",
    "gap_text",
    "goal",
    "headline",
    "items",
    "limits",
    "number",
    "origin_of_work",
    "outputs_text",
    "percent_below",
    "rate",
    "run_headline",
    "shaping",
    "span",
    "stopped",
    "verdict",
]

PARTS: Final = {
    "receive": "receive: fetch tensors from earlier stages",
    "work": "work: compute",
    "send": "send: hand tensors to later stages",
    "overflow": "overflow: stream what does not fit in fast memory",
    "sync": "sync: add gradients up with the stage's other devices",
}

METHODS: Final = {
    "simple": "all work shared out evenly, or the heaviest node",
    "anchor": "for each node, the cheapest stage that could hold it",
    "average": "what the stages on either side of a boundary cost on average",
    "bottleneck": "the cheapest stage that holds its share of the work",
    "guess": "the best of guessed bottlenecks",
    "superblock": "three stages at once, their neighbours merged",
    "lp": "the exact program, relaxed to fractions",
    "mip": "the exact program, solved as far as time allowed",
    "cover": "what the blocks below a threshold can hold",
    "skeleton": "minimum cuts between intervals of possible cuts",
    "thinned": "all plans of the graph without nodes that may run nearly anywhere",
    "exact": "all plans that could be better, ruled out",
    "relaxed": "as many equal devices, each as good as the best kind",
    "shares": "all work shared out among the kinds of devices, in fractions",
    "packing": "how many of the larger units fit beside each other on a device",
}

EVIDENCE: Final = {
    "recomputed": "a formula that anyone can recompute",
    "flow": "proven by the maximum flow in the plan file",
    "exhaustive": "every case was looked at",
    "claimed": "a solver says so; not proven",
}


def percent_below(part: int, whole: int) -> str:
    """Write part / whole in per cent, rounded down to a tenth."""
    if whole <= 0:
        return "-"
    tenths = 1000 * part // whole
    return "<0.1 %" if part > 0 and tenths == 0 else f"{tenths // 10}.{tenths % 10} %"


def gap_text(upper: int, lower: int) -> str:
    """Write upper / lower - 1 in per cent, rounded up; two digits below 1 %."""
    if upper == lower:
        return "0 %"
    gap = (Fraction(upper, lower) - 1) * 100
    places = 1
    while places < 5 and gap * 10 ** (places - 1) < 1:
        places += 1
    scaled = -(-gap * 10**places // 1)
    return f"{scaled / 10**places:.{places}f} %"


def number(value: float) -> str:
    """Write a number with three or four digits, without an exponent where people expect none."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.3g}"


def rate(period: int, what: str = "inferences") -> str:
    """Write a period in picoseconds as a rate: ``292 inferences/s``."""
    if period <= 0:
        return f"no time per {_one(what)}"
    if period > PS_PER_SECOND:
        return f"one {_one(what)} every {format_time(period)}"
    return f"{number(PS_PER_SECOND / period)} {what}/s"


def items(plan: PlanView) -> str:
    """Return what passes through the stages, in the plural."""
    if plan.training is None:
        return "inferences"
    return "microbatches" if plan.training.schedule else "batches"


def _one(what: str) -> str:
    return "inference" if what == "inferences" else what.removesuffix("es")


def span(stage: StageView) -> tuple[str, str]:
    """Return the first and the last node of a stage."""
    return (stage.nodes[0], stage.nodes[-1]) if stage.nodes else ("", "")


def verdict(plan: PlanView) -> str:
    """Say how good the plan is, and how that is known."""
    if plan.goal is not None:
        return _verdict_of_goal(plan.goal)
    upper, proven = plan.bottleneck, plan.proven
    if proven == upper:
        return "Proven optimal"
    best = max((b.value for b in plan.bounds), default=0)
    claim = ""
    if best > proven:
        claim = "optimal" if best == upper else f"within {gap_text(upper, best)}"
        claim = f"{claim} if a solver's claim holds"
    if not proven:
        return claim.capitalize() or "Valid, with nothing proven about better plans"
    if upper > 2 * proven:
        tenths = -(-upper * 10 // proven)
        words = f"At most {tenths / 10:.1f} times the best possible (proven)"
    else:
        words = f"Within {gap_text(upper, proven)} of the best possible (proven)"
    return f"{words}, {claim}" if claim else words


def _verdict_of_goal(found: GoalView) -> str:
    """Say how good the plan is at what it minimises, within its limits."""
    what = found.minimise
    if found.value == found.lower:
        limited = what in ("period", "cost")
        return f"Least {what}{' within the limits' if limited else ''}, proven"
    if not found.lower:
        return "Valid, with nothing proven about better plans"
    return f"{what.capitalize()} within {gap_text(found.value, found.lower)} of the best possible (proven)"


def headline(plan: PlanView) -> str:
    """Return the verdict with the bottleneck, the rate and the latency, or the time of a step of training."""
    what, busy = items(plan), "with all stages busy"
    pace = f"({rate(plan.bottleneck, what)} {busy})"
    if plan.goal is not None and plan.goal.minimise != "period":
        return f"{goal(plan)}; bottleneck {format_time(plan.bottleneck)} {pace}"
    if plan.training is None:
        return (
            f"{verdict(plan)}: bottleneck {format_time(plan.bottleneck)} {pace}, latency about "
            f"{format_time(plan.latency)}"
        )
    period = f"{verdict(plan)}: period {format_time(plan.bottleneck)} per {_one(what)} {pace}"
    if not plan.training.schedule:
        return period
    m = plan.training.microbatches
    many = "one microbatch" if m == 1 else f"{m} microbatches"
    return f"{period}, a step of {many} {format_time(plan.training.step)}"


def goal(plan: PlanView) -> str:
    """Say what was minimised, and how good the plan is at that; empty where it is the period alone."""
    if plan.goal is None:
        return ""
    value, lower = plan.goal.value, plan.goal.lower
    shown = str if plan.goal.minimise == "cost" else format_time
    proof = "proven least" if value == lower else f"no plan is below {shown(lower)}"
    return f"{plan.goal.minimise.capitalize()}: {shown(value)} ({proof})"


def explanation(plan: PlanView) -> str:
    """Say what the verdict means."""
    if plan.goal is not None:
        least = goal(plan).partition("(")[2].removesuffix(")")
        value = goal(plan).partition(" (")[0].lower()
        return f"What counts is the {plan.goal.minimise}. The plan has {value}: {least}."
    pace = f"no other plan for this graph and machine has a bottleneck below {format_time(plan.proven)}"
    if plan.proven == plan.bottleneck:
        return f"It is proven that {pace}, which is what this one has."
    if plan.proven:
        return f"It is proven that {pace}; whether one lies in between is not known."
    return "No lower bound above 0 is known, so better plans may exist."


def limits(plan: PlanView) -> list[str]:
    """Say what sets the pace, and what could and could not help."""
    found = []
    worst = plan.worst
    if worst and plan.bottleneck:
        who = ", ".join(str(s.number) for s in worst[:4]) + (", ..." if len(worst) > 4 else "")
        parts = ", ".join(
            f"{percent_below(time, plan.bottleneck)} {name}"
            for name, time in worst[0].parts
            if time
        )
        many = len(worst) > 1
        if plan.shared:
            found.append(f"{_busiest(plan)}.")
        else:
            who = f"Stages {who} share" if many else f"Stage {who} of {len(plan.stages)} sets"
            found.append(f"{who} the pace: {'the first spends ' if many else ''}{parts}.")
    if plan.devices_used < plan.machine.stages:
        found.append(
            f"The plan uses {plan.devices_used} of {plan.machine.stages} "
            f"{'devices' if plan.kinds else 'stages'}; it found no use for the others."
        )
    if plan.work and plan.bottleneck and not plan.kinds:
        found.append(
            f"All work together takes {format_time(plan.work)}: the pipeline's rate is "
            f"{number(plan.work / plan.bottleneck)} times that of one such device with all of the "
            "model in fast memory."
        )
    return found


def _busiest(plan: PlanView) -> str:
    """Say which shared devices set the pace, and with what."""
    busy = [load for load in plan.loads if load.total == plan.bottleneck]
    who = [
        f"{load.on} with stage{'s' * (len(load.stages) > 1)} "
        f"{', '.join(str(stage.number) for stage in load.stages)}"
        for load in busy[:3]
    ]
    more = f", and {len(busy) - 3} others" if len(busy) > 3 else ""
    return f"{'; '.join(who)}{more} {'share' if len(busy) > 1 else 'sets'} the pace"


SOURCES: Final = {
    "given": "stated by the file",
    "measured": "measured",
    "calibrated": "estimated for a calibrated device",
    "roofline": "estimated from data sheets",
}
"""Where work comes from, in words."""


def origin_of_work(plan: PlanView) -> str:
    """Say where the work of the nodes comes from; empty where the plan does not."""
    total = sum(cost.work for cost in plan.costs)
    parts = [
        f"{percent_below(cost.work, total) if total else '0 %'} of the work "
        f"({cost.nodes:,} {'node' if cost.nodes == 1 else 'nodes'}) "
        f"{SOURCES.get(cost.source, cost.source)}"
        for cost in plan.costs
    ]
    if len(plan.costs) == 1:
        return f"All work is {SOURCES.get(plan.costs[0].source, plan.costs[0].source)}."
    return f"{', '.join(parts)}." if parts else ""


def stopped(plan: PlanView) -> str:
    """Say how long the search took and why it ended."""
    after = format_time(round(plan.seconds * PS_PER_SECOND))
    return f"Stopped after {after}: {plan.stopped_because}."


def shaping(plan: PlanView) -> list[str]:
    """Say what was fused, what had to stay together, and what the coarser cuts cost."""
    lines = [f"{note[:1].upper()}{note[1:]}." for note in plan.notes]
    if plan.finer is not None:
        upper, lower = plan.finer
        if lower == plan.bottleneck:
            lines.append("Cuts between any two operators would gain nothing (proven).")
        elif lower == upper:
            lines.append(
                f"Cuts between any two operators reach {format_time(upper)} (proven optimal): these "
                f"units lose {gap_text(plan.bottleneck, upper)}."
            )
        elif lower:
            lines.append(
                f"Cuts between any two operators reach {format_time(upper)} at least: these units lose "
                f"{gap_text(plan.bottleneck, upper)}, and at most {gap_text(plan.bottleneck, lower)}."
            )
    return lines


def run_headline(run: RunView) -> str:
    """Say what was measured, beside what was predicted."""
    if run.period is None:
        return "Measured: too few results for a period"
    words = f"Measured: one result every {format_time(run.period)} ({rate(run.period)})"
    if not run.predicted_period:
        return words
    change = run.period / run.predicted_period - 1
    how = "as predicted" if abs(change) < 0.0005 else f"{abs(change):.1%} ".replace("%", " %")
    if abs(change) >= 0.0005:
        how += "longer than predicted" if change > 0 else "shorter than predicted"
    return f"{words}, {how} ({format_time(run.predicted_period)})"


def outputs_text(run: RunView) -> str:
    """Say whether the outputs are those of the unsplit model."""
    if run.outputs_equal is None:
        return f"Outputs: {run.reason or 'not compared with the unsplit model'}"
    differ = "" if run.max_abs is None else f" (largest difference {run.max_abs:.3g})"
    if run.outputs_equal:
        return f"Outputs: equal to the unsplit model's{differ}"
    return f"Outputs: DIFFERENT from the unsplit model's{differ}"
