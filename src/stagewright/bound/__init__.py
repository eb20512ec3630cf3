# SPDX-License-Identifier: Apache-2.0
"""Lower bounds on the bottleneck of every plan."""
