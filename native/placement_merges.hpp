// SPDX-License-Identifier: Apache-2.0
// Merges of nodes that cost no block more on any type of device, and so never lose the optimum; the proof stands
// with compile_task in Python (placement/task.py).
#pragma once

#include <cstdint>
#include <vector>

#include "placement.hpp"

namespace stagewright {

/// Merges a node into the successor from which all its other successors can be reached, or mirrored into a
/// predecessor, wherever that is safe on every type, until nothing is.  `after` has per node those whose block is the
/// same or a later one; nodes are in topological order of it.  Returns for each node a number that is
/// the same for all nodes of a merged one.
std::vector<std::int32_t> merge_placement(const Placement& placement, const Ragged& after);

}  // namespace stagewright
