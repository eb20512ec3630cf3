// SPDX-License-Identifier: Apache-2.0
// Improves a plan window by window: contract a few consecutive blocks at random, divide them anew
// exactly.  One step moves many nodes at once, in all parallel branches, and none makes the plan worse.
#pragma once

#include <cstdint>
#include <vector>

#include "instance.hpp"
#include "order_search.hpp"
#include "stop.hpp"

namespace stagewright {

struct WindowSearchLimits {
    std::int64_t rounds = 1'000'000'000;  // windows looked at
    std::uint64_t seed = 0;
};

/// The best plan found from `start` (block numbers of a valid plan of at most k blocks, never made
/// worse); stops early when it reaches `lower`.  `evaluations` counts the windows.
Incumbent search_windows(const Instance& instance, std::int32_t k, Picoseconds lower,
                         const std::vector<std::int32_t>& start, const WindowSearchLimits& limits,
                         Stop& stop);

}  // namespace stagewright
