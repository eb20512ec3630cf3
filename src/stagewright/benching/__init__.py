# SPDX-License-Identifier: Apache-2.0
"""Experiments: packs of graphs, grids of runs over them, their results and tables."""
