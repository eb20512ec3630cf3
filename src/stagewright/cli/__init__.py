# SPDX-License-Identifier: Apache-2.0
"""The command ``stagewright``.

Results go to stdout (with ``--json`` only JSON), progress and messages to stderr.  Exit codes: 0 done,
1 the answer is no, 2 wrong use or bad input, 3 a limit was reached before any answer, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence

from .. import __version__
from ..errors import StagewrightError

__all__ = ["main"]

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if not hasattr(options, "command"):
        parser.print_help()
        return 0
    warnings.showwarning = _show_warning
    try:
        code: int = options.command(options)
        sys.stdout.flush()
        return code
    except StagewrightError as error:
        print(f"stagewright: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stagewright: interrupted", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; point stdout elsewhere so that exit does not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    from . import (
        benching,
        exporting,
        measuring,
        planning,
        reporting,
        robust,
        running,
        simulating,
        sweeping,
        tuning,
    )

    parser = argparse.ArgumentParser(
        prog="stagewright",
        description="Cut a neural network into pipeline stages, prove the cut, and run it.",
    )
    parser.add_argument("--version", action="version", version=f"stagewright {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    planning.add_commands(commands)
    sweeping.add_commands(commands)
    benching.add_commands(commands)
    robust.add_commands(commands)
    running.add_commands(commands)
    reporting.add_commands(commands)
    exporting.add_commands(commands)
    simulating.add_commands(commands)
    measuring.add_commands(commands)
    tuning.add_commands(commands)
    return parser


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"stagewright: warning: {message}", file=sys.stderr)
