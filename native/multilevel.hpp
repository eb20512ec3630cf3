// SPDX-License-Identifier: Apache-2.0
// Multilevel search: contract along topological orders until few nodes are left, search there by
// orders and windows, and on the way back move nodes at every level.
//
// A further cycle contracts inside the blocks of the best plan only, so that it stays representable
// at every level and no cycle makes it worse; each contracts differently.  Work per cycle is near-linear.
#pragma once

#include <cstdint>
#include <vector>

#include "instance.hpp"
#include "order_search.hpp"
#include "stop.hpp"

namespace stagewright {

struct MultilevelLimits {
    std::int64_t cycles = 10;
    std::int64_t windows = 2'000;      // windows per cycle at the coarsest level
    std::int64_t moves_per_node = 30;  // of the local search at each level
    std::uint64_t seed = 0;
};

/// The best plan found, never worse than `start` (which may be empty); stops early when it reaches
/// `lower`.  `evaluations` counts orders, windows and moves.
Incumbent search_levels(const Instance& instance, std::int32_t k, Picoseconds lower,
                        const std::vector<std::int32_t>& start, const MultilevelLimits& limits,
                        Stop& stop);

}  // namespace stagewright
