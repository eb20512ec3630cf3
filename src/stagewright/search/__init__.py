# SPDX-License-Identifier: Apache-2.0
"""Search for good plans: upper bounds on the best bottleneck."""
