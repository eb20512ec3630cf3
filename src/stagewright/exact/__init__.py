# SPDX-License-Identifier: Apache-2.0
"""Exact methods: proofs that no better plan exists."""
