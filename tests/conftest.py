# SPDX-License-Identifier: Apache-2.0
"""What holds for every test."""

from __future__ import annotations

import signal

# A shell starts background commands with SIGINT ignored, and children inherit that: the tests that
# interrupt a command would then wait for it to end by itself.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
