# SPDX-License-Identifier: Apache-2.0
"""The commands profile and calibrate: what this machine takes."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from . import options as opt

if TYPE_CHECKING:
    from ..cost.fill import Setting
    from ..cost.steady import Patience


def add_commands(commands: Any) -> None:
    """Add this module's commands to the parser."""
    _add_profile(commands.add_parser("profile", help="measure node times on this machine"))
    _add_calibrate(
        commands.add_parser("calibrate", help="measure this machine for the roofline estimate")
    )


def _add_setting(parser: opt.Parser) -> None:
    """Add how kernels run and how long to measure."""
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads (1)")
    parser.add_argument(
        "--provider", choices=("cpu", "cuda"), default="cpu", help="where the runtime runs (cpu)"
    )
    parser.add_argument(
        "--pin", metavar="CORES", help="hold this process to cores such as 0 or 0-3"
    )
    parser.add_argument(
        "--precision",
        type=float,
        metavar="F",
        help="repeat until a median is known to this fraction (0.02)",
    )
    parser.add_argument(
        "--seconds", type=float, metavar="S", help="... but at most this long for a kernel (0.5)"
    )


def _setting_of(options: argparse.Namespace) -> Setting:
    from ..cost.fill import Setting

    level = getattr(options, "level", "all")
    return Setting(threads=options.threads, level=level, provider=options.provider)


def _patience_of(options: argparse.Namespace) -> Patience:
    from ..cost.steady import Patience

    given = {"precision": options.precision, "seconds": options.seconds}
    return Patience(**{key: value for key, value in given.items() if value is not None})


def _add_profile(parser: opt.Parser) -> None:
    opt.add_model_options(parser, costs=False)
    opt.add_settings(parser)
    parser.add_argument("-o", "--output", metavar="PROFILE.json", help="profile to write")
    _add_setting(parser)
    parser.add_argument("--warmup", type=int, default=3, metavar="N", help="unmeasured runs (3)")
    parser.add_argument("--repetitions", type=int, default=20, metavar="N", help="runs (20)")
    parser.add_argument(
        "--level",
        choices=("all", "basic", "disabled"),
        default="all",
        help="onnxruntime's graph optimisations",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the inputs (0)")
    parser.add_argument(
        "--fill",
        action="store_true",
        help="measure the kernels that the store lacks, each alone, instead of the model as a whole",
    )
    parser.add_argument(
        "--store", metavar="PATH", default="default", help="with --fill: the store (the user's own)"
    )
    opt.add_json_option(parser)
    parser.set_defaults(command=profile)


def profile(options: argparse.Namespace) -> int:
    """Measure the model's nodes, as a whole or kernel by kernel."""
    from ..errors import InputError

    if options.fill == bool(options.output):
        raise InputError(
            "profile",
            "either --fill, which writes into the store, or -o PROFILE.json",
            "both" if options.fill else "neither",
        )
    return _fill(options) if options.fill else _profile(options)


def _profile(options: argparse.Namespace) -> int:
    from ..cost.surroundings import pinned
    from ..reading import profile as measure
    from ..units import format_time

    with pinned(options.pin):
        found = measure(
            options.model,
            threads=options.threads,
            level=options.level,
            provider=options.provider,
            warmup=options.warmup,
            repetitions=options.repetitions,
            precision=options.precision,
            shapes=opt.shapes_of(options),
            dims=opt.dims_of(options),
            settings=opt.settings_of(options),
            seed=options.seed,
        )
    found.save(options.output)
    if options.json:
        summary = {
            "nodes": len(found.nodes),
            "session": asdict(found.session),
            "attributed": found.attributed,
            "repetitions": found.repetitions,
            "pinned": found.pinned,
            "others": found.others,
            "disturbed": found.disturbed,
        }
        print(json.dumps(summary, indent=1))
    else:
        print(
            f"{len(found.nodes)} nodes, {format_time(found.session.median)} per run, "
            f"{100 * found.attributed:.1f} % of it attributed to nodes"
        )
    if found.disturbed:
        opt.note("the measurement had to share its core with other programs: better measure again")
    opt.note(f"written: {options.output}")
    return 0


def _fill(options: argparse.Namespace) -> int:
    from ..cost.fill import fill_store
    from ..cost.store import Store, store_path
    from ..reading import with_batch
    from ..units import format_time

    settings, shapes = opt.settings_of(options), opt.shapes_of(options)
    settings.refuse_model_options(options.model, "the model", but=("batch",))
    dims = with_batch(options.model, settings.batch, shapes, opt.dims_of(options))
    path = store_path(options.store)
    with Store(path) as store:
        found = fill_store(
            options.model,
            store,
            _setting_of(options),
            shapes=shapes,
            dims=dims,
            patience=_patience_of(options),
            pin=options.pin,
            progress=_progress if sys.stderr.isatty() and not options.json else None,
        )
    if options.json:
        print(json.dumps({"store": str(path), **asdict(found)}, indent=1))
        return 0
    print(
        f"{found.kernels} kernels, {found.distinct} different: {found.known} known, "
        f"{found.measured} measured now; together {format_time(found.predicted)} per inference"
    )
    if found.unsteady:
        opt.note(
            f"{found.unsteady} of them stayed less certain than asked for, with "
            f"{found.others:.1f} cores busy with other programs"
        )
    opt.note(f"store: {path}")
    return 0


def _add_calibrate(parser: opt.Parser) -> None:
    parser.add_argument(
        "-o", "--output", required=True, metavar="CPU.toml", help="the calibration file to write"
    )
    parser.add_argument("--name", default="calibrated", metavar="NAME", help="of the device")
    _add_setting(parser)
    opt.add_json_option(parser)
    parser.set_defaults(command=calibrate)


def calibrate(options: argparse.Namespace) -> int:
    """Measure this machine and write what the roofline needs of it."""
    from ..cost.calibrate import calibrate as measure
    from ..cost.calibration_file import save_device
    from ..units import format_time

    found = measure(
        options.name,
        _setting_of(options),
        patience=_patience_of(options),
        pin=options.pin,
        progress=_progress if sys.stderr.isatty() and not options.json else None,
    )
    save_device(found.device, options.output)
    if options.json:
        print(
            json.dumps(
                {
                    "device": found.device.name,
                    "samples": len(found.samples),
                    "errors": {k: round(v, 4) for k, v in found.errors.items()},
                    "calibration": dict(found.device.calibration),
                },
                indent=1,
            )
        )
    else:
        for name, error in found.errors.items():
            print(f"{name}: within {100 * error:.1f} % of the measurements (median)")
        print(
            f"{len(found.samples)} operators in {format_time(round(found.filling.seconds * 1e12))}"
        )
    opt.note(f"written: {options.output}")
    return 0


def _progress(done: int, todo: int) -> None:
    end = "\r\x1b[K" if done == todo else ""
    sys.stderr.write(f"\r\x1b[Kkernel {done} of {todo}{end}")
    sys.stderr.flush()
