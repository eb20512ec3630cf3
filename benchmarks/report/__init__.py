# SPDX-License-Identifier: Apache-2.0
"""The paper's experiments as a page: tables and pictures from results of grids."""
