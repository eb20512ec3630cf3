# SPDX-License-Identifier: Apache-2.0
"""Plan files: written here, and checked by files that share no code with the rest."""
