// SPDX-License-Identifier: Apache-2.0
// Search over topological orders, each sliced optimally: random restarts, then a local search that
// redraws short segments of the best order.
#pragma once

#include <cstdint>
#include <vector>

#include "instance.hpp"
#include "stop.hpp"

namespace stagewright {

struct OrderSearchLimits {
    std::int64_t restarts = 64;       // orders drawn from scratch
    std::int64_t local_moves = 4000;  // segments redrawn on the best order
    std::uint64_t seed = 0;
};

struct Incumbent {
    Picoseconds bottleneck = 0;  // in the relaxed form of block_costs()
    std::vector<std::int32_t> block;
    std::int64_t evaluations = 0;
};

/// The best plan found; stops early when it reaches `lower`.  `start` may be empty or hold block
/// numbers of a valid plan to improve on; `own` may be empty or hold a topological order to slice after the first one.
Incumbent search_orders(const Instance& instance, std::int32_t k, Picoseconds lower,
                        const std::vector<std::int32_t>& start, const OrderSearchLimits& limits,
                        Stop& stop, const std::vector<Node>& own = {});

}  // namespace stagewright
