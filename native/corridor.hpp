// SPDX-License-Identifier: Apache-2.0
// Corridor search: the exact program over ideals, restricted to those near the plan's boundaries.
//
// Around every boundary a few nodes are set free: nodes that a change of few nodes can carry across it,
// with all that must follow.  The corridor of a boundary is the set of ideals that differ from it in
// free nodes only.  What is free nowhere is contracted, one node per block, and precedences between
// the corridors make sure that only their ideals are left, so that the exact program divides all
// blocks at once.  The corridors widen while that pays; if they come to hold everything, so does the proof.
#pragma once

#include <cstdint>
#include <vector>

#include "instance.hpp"
#include "order_search.hpp"
#include "stop.hpp"

namespace stagewright {

struct CorridorLimits {
    std::int64_t first_width = 32;     // ideals per boundary to start with ...
    std::int64_t last_width = 2'000;   // ... and at most
    std::int64_t max_ideals = 30'000;  // of all corridors together
    std::int64_t patience = 3;         // corridors of one width without success
    std::int64_t rounds = 1'000;       // corridors looked at
    std::uint64_t seed = 0;
};

struct CorridorFound : Incumbent {  // `evaluations` counts the ideals listed
    std::int64_t width = 0;         // of the last corridor
    bool exhaustive = false;        // it held every plan: the result is optimal
};

/// The best plan found from `start` (block numbers of a valid plan of at most k blocks, never made
/// worse); stops early when it reaches `lower`.
CorridorFound search_corridor(const Instance& instance, std::int32_t k, Picoseconds lower,
                              const std::vector<std::int32_t>& start, const CorridorLimits& limits,
                              Stop& stop);

}  // namespace stagewright
