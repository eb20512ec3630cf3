// SPDX-License-Identifier: Apache-2.0
// Partition local search: nodes move between blocks while the quotient graph stays acyclic.
//
// Four moves: one node to a block in its range; two nodes of two blocks change places; a node goes to
// the neighbour block with all its descendants (or ancestors) in its own; a chain, in which a block
// that is too dear hands a node to the next, that one hands another on, until a block has room.
#pragma once

#include <cstdint>
#include <vector>

#include "instance.hpp"
#include "order_search.hpp"
#include "stop.hpp"

namespace stagewright {

enum class Objective {
    smoothed,  // least sum of powers of the block costs; worse moves pass at random, ever fewer
    lexicographic,  // the block costs in decreasing order; no move makes them worse
};

struct LocalSearchLimits {
    std::int64_t moves = 1'000'000;  // moves judged
    Objective objective = Objective::smoothed;
    double heat = 32;  // how much worse a move may be at the start of the hottest rounds
    std::uint64_t seed = 0;
};

/// The best plan found from `start` (block numbers of a valid plan of at most k blocks, never made
/// worse); stops early when it reaches `lower`.  `evaluations` counts the moves judged.
Incumbent search_locally(const Instance& instance, std::int32_t k, Picoseconds lower,
                         const std::vector<std::int32_t>& start, const LocalSearchLimits& limits,
                         Stop& stop);

/// Renumbers blocks so that none is empty; the order stays.
void close_gaps(std::vector<std::int32_t>& block);

}  // namespace stagewright
