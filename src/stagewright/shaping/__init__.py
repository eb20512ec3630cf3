# SPDX-License-Identifier: Apache-2.0
"""Steps from a cost graph to the cost graph that is planned: fusion, granularity, constraints."""
