# SPDX-License-Identifier: Apache-2.0
"""Plans for devices of several kinds, for training, and for objectives beyond the period (docs/placement.md)."""
