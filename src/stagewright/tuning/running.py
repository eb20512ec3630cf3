# SPDX-License-Identifier: Apache-2.0
"""The public function tune: a model's plan, corrected by running it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from .. import api
from ..cores import usable_cores
from ..cost.profile_file import Profile, Time
from ..errors import InputError
from ..reading import profile as profile_model
from ..reading import read_again
from ..source import Source
from .correction import Costs, Measurement, StageMeasurement, scaled
from .rounds import Measurer, Round, Tuned, tune_plans

if TYPE_CHECKING:
    from ..graph import CostGraph
    from ..machine import Machine
    from ..plans import Plan
    from ..splitting import Manifest

__all__ = ["Tuning", "tune"]

_LINK: Final = "shared-memory"


@dataclass(frozen=True, eq=False)
class Tuning:
    """A tuned plan.

    Attributes
    ----------
    tuned
        The rounds, the best of them, and the costs after the last.
    profile
        The corrected node times and the fitted link, as ``stagewright plan --profile`` takes them.
    """

    tuned: Tuned
    profile: Profile

    @property
    def rounds(self) -> tuple[Round, ...]:
        """Every plan that was measured."""
        return self.tuned.rounds

    @property
    def best(self) -> Round:
        """The one with the shortest measured period."""
        return self.tuned.best

    @property
    def result(self) -> api.Result:
        """The plan of `best`, priced and bounded by the corrected costs."""
        return self.tuned.result

    def save(self, plan: str | Path, profile: str | Path | None = None) -> Path:
        """Write the plan file, and the profile beside it that its costs come from; return its path.

        Raises
        ------
        InputError
            If one of them cannot be written.
        """
        path = Path(plan).with_suffix(".profile.json") if profile is None else Path(profile)
        self.profile.save(path)
        source = self.result.source or Source(self.result.graph.name)
        replace(self.result, source=replace(source, profile=str(path))).save(plan)
        return path

    def report(self, path: str | Path, *, what_if: float = 0.0) -> None:
        """Write the report page of the plan that is kept, with what was measured of it.

        Raises
        ------
        InputError
            If the file cannot be written.
        """
        self.result.report(path, run=self.best.as_run(), what_if=what_if)

    def to_json(self) -> dict[str, Any]:
        """Return plain data; times in seconds."""
        return {
            "period": self.best.found.period,
            "best": self.best.number,
            "stopped_because": self.tuned.stopped_because,
            "rounds": [r.to_json() for r in self.rounds],
        }


def tune(
    model: str | Path,
    stages: int,
    *,
    rounds: int = 5,
    items: int = 80,
    threads_per_stage: int = 1,
    engine: Literal["process", "thread", "ray"] = "process",
    depth: int = 2,
    source: Source | None = None,
    bandwidth: api.Quantity | None = None,
    latency: api.Quantity | None = None,
    link: str | None = None,
    time_limit: float = 10.0,
    seed: int = 0,
    threads: int | None = None,
    catalogue: Any = None,
    measure: Measurer | None = None,
    progress: Callable[[str], None] | None = None,
) -> Tuning:
    """Plan, run, correct the costs by what was measured, plan again, until the plan stops changing.

    Parameters
    ----------
    model
        An ONNX model.
    stages
        Number of stages.
    rounds
        Most plans to measure.
    items, threads_per_stage, engine, depth
        As for running (:class:`~stagewright.runtime.Pipeline`).
    source
        How to read the model, and its costs to begin with; without profile, store or device it is
        profiled first.
    bandwidth, latency, link
        The hops to begin with; memory shared by two processes by default.
    time_limit, seed, threads
        Of each search for a plan; as for :func:`stagewright.plan`.
    measure
        What runs a plan, for other runtimes; by default the pipeline on this machine.
    progress
        Called with what is going on.

    Raises
    ------
    InputError
        If something given cannot be used.
    RunError
        If a stage fails.
    """
    if rounds < 1:
        raise InputError("rounds", "a whole number >= 1", str(rounds))
    source = source or Source(str(model))
    say = progress or (lambda _: None)
    say("costs to begin with")
    start = _first_profile(source, threads_per_stage, seed, catalogue)
    if bandwidth is None and link is None:
        link = _LINK
    with tempfile.TemporaryDirectory(prefix="stagewright-tune-") as scratch:
        costs = Path(scratch) / "profile.json"
        start.save(costs)
        known = replace(source, profile=str(costs), device=None, store=None)
        graph = read_again(known, catalogue=catalogue)

        def plan(graph: CostGraph, machine: Machine, start: Plan | None) -> api.Result:
            say("planning")
            return api.plan(
                graph,
                stages,
                bandwidth=machine.bandwidth,
                latency=f"{machine.latency}ps",
                time_limit=time_limit,
                seed=seed,
                threads=threads,
                start=start,
                source=known,
                granularity=known.granularity,
                constraints=known.constraints,
            )

        def run(result: api.Result) -> Measurement:
            say(f"running {len(result.plan.stages)} stages")
            folder = Path(scratch) / "stages"
            manifest = api.split(source.model, result, folder, overwrite=True)
            return _measured(
                manifest,
                folder,
                batches=items,
                threads_per_stage=threads_per_stage,
                engine=engine,
                depth=depth,
                seed=seed,
            )

        machine = api.machine_for(
            stages, bandwidth=bandwidth, latency=latency, link=link, catalogue=catalogue
        )
        tuned = tune_plans(graph, machine, plan, measure or run, rounds)
    return Tuning(tuned, _corrected_profile(start, tuned.costs))


def _first_profile(source: Source, threads: int, seed: int, catalogue: Any) -> Profile:
    """Return the node times to begin with: given, estimated, or measured now."""
    from ..readers import file_kind

    if file_kind(source.model) != "onnx":
        raise InputError(
            str(source.model), "an ONNX model, whose stages can be run", "another format"
        )
    if source.profile is not None:
        return Profile.load(source.profile)
    if source.device is None and source.store is None:
        return profile_model(
            source.model,
            dims=source.dims,
            shapes=source.shapes,
            settings=source.settings,
            threads=threads,
            seed=seed,
        )
    return _profile_of(read_again(source, catalogue=catalogue), source, threads, seed)


def _profile_of(graph: CostGraph, source: Source, threads: int, seed: int) -> Profile:
    """Return costs from elsewhere as a profile; nothing was run for it."""
    from ..cost.measured import model_sha256
    from ..cost.surroundings import cpu_name

    total = graph.total_work
    groups: dict[int, list[str]] = {}
    for name, group in zip(graph.node_names, graph.group.tolist(), strict=True):
        if group >= 0:
            groups.setdefault(group, []).append(name)
    pairs = zip(graph.node_names, graph.work.tolist(), strict=True)
    return Profile(
        model_sha256=model_sha256(Path(source.model)),
        nodes={name: Time(work, work, work) for name, work in pairs},
        session=Time(total, total, total),
        cpu_time=total,
        traced_session=total,
        trace_overhead=0,
        attributed=1.0,
        shapes={name: tuple(shape) for name, shape in source.shapes.items()},
        threads=threads,
        level="all",
        runtime=f"estimated: {source.device or source.store}",
        warmup=0,
        repetitions=0,
        seed=seed,
        cpu=cpu_name(),
        cores=usable_cores(),
        fused=tuple(tuple(names) for names in groups.values()),
    )


def _corrected_profile(start: Profile, costs: Costs) -> Profile:
    """Return the profile whose node times give the corrected work, with the fitted link."""
    factors = costs.factors()
    nodes = {
        name: Time(*(scaled(ps, factors.get(name, 1.0)) for ps in (t.median, t.p10, t.p90)))
        for name, t in start.nodes.items()
    }
    return replace(
        start,
        nodes=nodes,
        tuned=start.tuned + costs.rounds,
        bandwidth=costs.machine.bandwidth or 0,
        latency=costs.machine.latency,
    )


def _measured(manifest: Manifest, folder: Path, **options: Any) -> Measurement:
    """Run a folder and return what its stages took."""
    from ..runtime import run_directory

    report = run_directory(folder, compare=False, **options)
    if report.period is None or any(s.compute is None for s in report.stages):
        raise InputError("items", "enough for measured times", str(report.items), "Run more.")
    sent = [_sent(manifest, number) for number in range(len(report.stages))]
    return Measurement(
        report.period,
        tuple(
            StageMeasurement(stage.compute or 0.0, stage.send or 0.0, copies, nbytes)
            for stage, (copies, nbytes) in zip(report.stages, sent, strict=True)
        ),
    )


def _sent(manifest: Manifest, number: int) -> tuple[int, int | None]:
    """Return how many tensors a stage hands on, one per receiver, and their bytes if known."""
    sizes = {tensor.name: tensor.nbytes for tensor in manifest.stages[number].outputs}
    copies = [
        sizes.get(tensor.name)
        for tensor in manifest.tensors
        if tensor.source == number
        for _ in tensor.targets
    ]
    known = [nbytes for nbytes in copies if nbytes is not None]
    return len(copies), sum(known) if len(known) == len(copies) else None
