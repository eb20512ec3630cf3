# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share, and what they mean to the API."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    from ..api import Source
    from ..cost.catalogue import Catalogue
    from ..graph import CostGraph
    from ..machine import Machine
    from ..readers.settings import ReadSettings
    from ..shaping.constraints import Constraints

Parser = argparse.ArgumentParser


def add_model_options(parser: Parser, *, costs: bool = True, several: bool = False) -> None:
    """Add MODEL, or several, and what it takes to read it."""
    text = "a model, its config.json, a profile or a graph file"
    if several:
        parser.add_argument("models", metavar="MODEL", nargs="+", help=f"{text}; one or more")
    else:
        parser.add_argument("model", metavar="MODEL", help=text)
    group = parser.add_argument_group("reading the model")
    group.add_argument(
        "--shape",
        action="append",
        default=[],
        metavar="INPUT=1x3x224x224",
        help="fix the shape of an input; may be repeated",
    )
    group.add_argument(
        "--dim",
        action="append",
        default=[],
        metavar="NAME=8",
        help="fix a symbolic dimension; may be repeated",
    )
    group.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="choose what the format of MODEL leaves open (docs/formats.md); may be repeated",
    )
    if costs:
        add_settings(parser)
        group.add_argument(
            "--device",
            metavar="NAME",
            help="estimate work for this device: a name, or a file of `stagewright calibrate`",
        )
        group.add_argument("--profile", metavar="FILE", help="take measured work from this file")
        group.add_argument(
            "--store",
            metavar="PATH",
            help="take work from kernels measured one by one; 'default' is your own store",
        )
        add_catalogue_option(group)
        add_shaping_options(parser)


def add_shaping_options(parser: Parser) -> None:
    """Add what may be cut: --fuse, --granularity and the constraints."""
    group = parser.add_argument_group("what may be cut (repeatable: regular expressions for names)")
    group.add_argument(
        "--fuse",
        action=argparse.BooleanOptionalAction,
        help="price nodes that compilers run as one kernel as one (default: where work is estimated)",
    )
    group.add_argument(
        "--granularity", choices=("op", "module", "layer"), help="cut between these only (op)"
    )
    for name, metavar, text in (
        ("--together", "REGEX", "all matching nodes share a stage"),
        ("--never-cut", "A..B", "nodes on paths from A to B share a stage"),
        ("--first", "REGEX", "matching nodes are in the first stage"),
        ("--last", "REGEX", "matching nodes are in the last stage"),
        ("--reserve", "STAGE=BYTES", "memory that is not there for the model; STAGE may be all"),
    ):
        group.add_argument(name, action="append", default=[], metavar=metavar, help=text)
    group.add_argument("--constraints", metavar="FILE.toml", help="the same from a file")


def constraints_of(options: argparse.Namespace) -> Constraints:
    """Return what the options and the file demand together."""
    from ..shaping.constraints import Constraints, Reserve, cut_of

    given = Constraints(
        together=tuple(options.together),
        never_cut=tuple(map(cut_of, options.never_cut)),
        first=tuple(options.first),
        last=tuple(options.last),
        reserve=Reserve.parse(options.reserve),
    )
    return Constraints.of(options.constraints) | given


def add_settings(parser: Parser) -> None:
    """Add what :class:`ReadSettings` holds."""
    group = parser.add_argument_group("reading PyTorch programs and configurations")
    group.add_argument(
        "--batch", type=int, metavar="N", help="inputs at once (1); of an ONNX model too"
    )
    group.add_argument("--sequence", type=int, metavar="N", help="tokens of each (at most 512)")
    group.add_argument(
        "--phase", choices=("prefill", "decode"), help="a whole sequence (default), or one token"
    )
    group.add_argument("--cache", type=int, metavar="N", help="tokens in the cache when decoding")
    group.add_argument(
        "--dtype", metavar="bfloat16", help="element type of the weights (the configuration's)"
    )
    group.add_argument(
        "--no-replicate",
        dest="replicate",
        action="store_false",
        help="charge masks and position tables that stages could recompute from the inputs",
    )
    group.add_argument(
        "--read-limit", type=float, metavar="S", help="give up reading after S seconds (600)"
    )


def settings_of(options: argparse.Namespace, known: Source | None = None) -> ReadSettings:
    """Return how to read a program or configuration: as the options say, else as a plan file says."""
    from ..readers.settings import ReadSettings

    names = ("batch", "sequence", "phase", "cache", "dtype", "replicate", "read_limit")
    given = ReadSettings(**{n: getattr(options, n) for n in names if hasattr(options, n)})
    if given == ReadSettings() and known is not None:
        return known.settings
    return given


def add_catalogue_option(parser: Any) -> None:
    """Add --devices."""
    parser.add_argument(
        "--devices", metavar="FILE", help="a TOML file with further devices and links"
    )


def add_machine_options(
    parser: Parser, *, sweep: bool = False, several: bool = False, kinds: bool = False
) -> None:
    """Add --stages and the numbers of the machine, or of several machines, or a file of kinds of devices."""
    if kinds:
        add_kinds_options(parser)
    group = parser.add_argument_group("the machine")
    if sweep or several:
        default = "1..16" if sweep else "2,4,8"
        text = f"numbers of devices, such as 1..4,8,16 ({default})"
        group.add_argument("--stages", "-k", default=default, metavar=default, help=text)
    else:
        group.add_argument(
            "--stages", "-k", type=int, required=not kinds, metavar="K", help="devices"
        )
    more = ", or several: 5GB/s,25GB/s" if sweep else ""
    group.add_argument("--bandwidth", metavar="25GB/s", help=f"of a link between two devices{more}")
    group.add_argument("--latency", metavar="5us", help="added to each tensor sent")
    group.add_argument(
        "--memory",
        metavar="16GiB",
        help="fast memory of a device; the rest is streamed, for a price",
    )
    group.add_argument(
        "--memory-limit", metavar="16GiB", help="refuse plans with a stage that needs more"
    )
    group.add_argument(
        "--count-graph-io",
        action="store_true",
        help="charge the model's own inputs and outputs as traffic",
    )
    group.add_argument(
        "--link", metavar="NAME", help="take bandwidth and latency from the catalogue"
    )


def add_kinds_options(parser: Parser) -> None:
    """Add --machine, --work and --mode, instead of --stages."""
    group = parser.add_argument_group("devices of several kinds (docs/placement.md)")
    group.add_argument(
        "--machine", metavar="FILE.toml", help="the devices, instead of --stages and its numbers"
    )
    group.add_argument("--work", metavar="FILE.json", help="work per kind of device and node")
    group.add_argument(
        "--mode",
        choices=("inference", "training"),
        help="training plans the backward pass as well",
    )
    group.add_argument(
        "--objective",
        choices=("period", "latency", "makespan", "cost"),
        help="minimise the period (default), the latency of one request through one stage after another, its "
        "makespan with stages side by side, or what the devices cost",
    )
    group.add_argument(
        "--period-limit", metavar="5ms", help="with the objective latency, makespan or cost"
    )
    group.add_argument("--latency-limit", metavar="20ms", help="with the objective period")
    group.add_argument(
        "--share-devices", action="store_true", help="a device may run several stages"
    )
    group = parser.add_argument_group("training (docs/placement.md)")
    group.add_argument(
        "--schedule",
        choices=("gpipe", "1f1b", "interleaved"),
        help="how microbatches pass; counts what stages keep of those in flight",
    )
    group.add_argument("--microbatches", type=int, metavar="M", help="per update (8)")
    group.add_argument(
        "--chunks", type=int, metavar="V", help="of the pipeline per device, with interleaved"
    )
    group.add_argument(
        "--optimizer",
        metavar="adam",
        help="sgd, momentum, adam, adam-mixed, or bytes held per byte of parameters",
    )
    group.add_argument(
        "--recompute",
        choices=("never", "auto", "always"),
        help="whether stages run forward again instead of keeping activations (never)",
    )
    group.add_argument("--replicas", type=int, metavar="R", help="most devices of one stage (1)")
    group.add_argument(
        "--backward-factor",
        metavar="2",
        help="backward work of each node by its forward work, where the model does not say",
    )


def add_search_options(parser: Parser) -> None:
    """Add --time-limit, --seed, --threads."""
    group = parser.add_argument_group("the search")
    group.add_argument("--time-limit", type=float, default=60.0, metavar="S", help="seconds (60)")
    group.add_argument("--seed", type=int, default=0, metavar="N", help="of the random choices (0)")
    group.add_argument("--threads", type=int, metavar="N", help="threads to use (all cores)")


def add_run_options(parser: Parser) -> None:
    """Add how a pipeline runs: --items, --threads-per-stage, --engine, --depth."""
    parser.add_argument("--items", type=int, default=80, metavar="N", help="inferences (80)")
    parser.add_argument(
        "--threads-per-stage", type=int, default=1, metavar="N", help="threads of each stage (1)"
    )
    parser.add_argument(
        "--engine",
        choices=("process", "thread", "ray"),
        default="process",
        help="what a worker is",
    )
    parser.add_argument("--depth", type=int, default=2, metavar="N", help="length of queues (2)")


def add_what_if_option(parser: Parser) -> None:
    """Add --what-if."""
    parser.add_argument(
        "--what-if",
        type=_seconds,
        nargs="?",
        const=20.0,
        default=0.0,
        metavar="S",
        help="let the page show plans for other bandwidths and stages, made within S seconds (20)",
    )


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected seconds >= 0, got {text}")
    return value


def add_json_option(parser: Parser) -> None:
    """Add --json."""
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else to stdout")


def shapes_of(options: argparse.Namespace) -> dict[str, list[int]]:
    """Return --shape as {input: shape}."""
    shapes = {}
    for text in options.shape:
        name, equals, sizes = text.rpartition("=")
        parts = sizes.lower().split("x") if sizes else []
        if not equals or not name or not all(part.isdigit() for part in parts):
            raise InputError("--shape", "INPUT=1x3x224x224", repr(text))
        shapes[name] = [int(part) for part in parts]
    return shapes


def dims_of(options: argparse.Namespace) -> dict[str, int]:
    """Return --dim as {dimension: size}."""
    dims = {}
    for text in options.dim:
        name, equals, size = text.rpartition("=")
        if not equals or not name or not size.isdigit():
            raise InputError("--dim", "NAME=8", repr(text))
        dims[name] = int(size)
    return dims


def format_options_of(options: argparse.Namespace) -> dict[str, str]:
    """Return --option as {name: value}."""
    chosen = {}
    for text in options.option:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InputError("--option", "NAME=VALUE", repr(text))
        chosen[name] = value
    return chosen


def catalogue_of(options: argparse.Namespace) -> Catalogue:
    """Return the catalogue with the user's own entries."""
    from ..cost.catalogue import load_catalogue

    return load_catalogue(options.devices)


def source_of(options: argparse.Namespace, known: Source | None = None) -> Source:
    """Return how to read the model: what the options say, else what a plan file says."""
    from ..api import Source

    shapes, dims, chosen = shapes_of(options), dims_of(options), format_options_of(options)
    given = bool(options.device or options.profile or options.store)
    constraints = constraints_of(options).to_json()
    return Source(
        model=options.model,
        device=options.device if given or known is None else known.device,
        profile=options.profile if given or known is None else known.profile,
        store=options.store if given or known is None else known.store,
        shapes=shapes or (known.shapes if known else {}),
        dims=dims or (known.dims if known else {}),
        options=chosen or (known.options if known else {}),
        count_graph_io=getattr(options, "count_graph_io", False)
        or (known is not None and known.count_graph_io),
        fuse=options.fuse if options.fuse is not None or known is None else known.fuse,
        granularity=options.granularity or (known.granularity if known else "op"),
        constraints=constraints or (known.constraints if known else {}),
        settings=settings_of(options, known),
        backward=known.backward if known else None,
    )


def graph_of(source: Source, options: argparse.Namespace, *, shaped: bool = True) -> CostGraph:
    """Read the model, with its granularity and constraints or without."""
    from ..reading import read_again

    devices = catalogue_of(options) if source.device else None
    graph = read_again(source, catalogue=devices, shaped=shaped)
    copied = int(graph.replicable.sum())
    if copied:
        first = graph.node_names[int(graph.replicable.argmax())]
        note(
            f"replicable: {copied} of {graph.num_nodes} nodes, such as {first}; each stage that needs "
            "them recomputes them, so their tensors are not charged"
        )
    return graph


def machine_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options of the machine as the API names them; the hops of a tuned profile else."""
    bandwidth, latency = options.bandwidth, options.latency
    profile = getattr(options, "profile", None)
    if profile and not (bandwidth or options.link or options.device):
        from ..cost.profile_file import Profile

        known = Profile.load(profile)
        if known.bandwidth:
            bandwidth = known.bandwidth
            latency = latency or f"{known.latency}ps"
    return {
        "bandwidth": bandwidth,
        "latency": latency,
        "memory": options.memory,
        "memory_limit": options.memory_limit,
        "device": options.device,
        "link": options.link,
        "catalogue": catalogue_of(options),
    }


def machine_of(options: argparse.Namespace) -> Machine:
    """Return the machine that the options describe."""
    from ..api import machine_for

    return machine_for(
        options.stages, **machine_options(options), reserve=constraints_of(options).reserve
    )


def require_folder_of(path: str | None) -> None:
    """Refuse, before any work is done, a file that is to be written where there is no folder."""
    from pathlib import Path

    if path and not Path(path).parent.is_dir():
        found = f"no folder '{Path(path).parent}'"
        raise InputError(path, "a file in an existing folder", found)


def show(*renderables: object) -> None:
    """Print to stdout with rich: colours on a terminal, plain text elsewhere."""
    from rich.console import Console

    console = Console(file=sys.stdout)
    for renderable in renderables:
        console.print(renderable)


def note(text: str) -> None:
    """Print a message to stderr."""
    print(text, file=sys.stderr)


def number_list(values: Sequence[str]) -> str:
    """Join names for a message."""
    return ", ".join(values)
