# SPDX-License-Identifier: Apache-2.0
"""Stagewright cuts neural networks into pipeline stages, proves the cut, and runs it."""

__version__ = "0.1.0"
