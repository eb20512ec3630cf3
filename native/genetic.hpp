// SPDX-License-Identifier: Apache-2.0
// The search of Archer et al. (ICML 2024): a biased random-key genetic algorithm (Goncalves and
// Resende 2011) over node priorities, each member decoded by "sort and slice", and random orders as
// its yardstick.  Islands evolve apart and exchange their best on a fixed schedule, so that the
// result depends on the seed alone, not on the number of threads.
//
// Only who is in the elite matters to the next generation, so a member is first asked, with one pass
// over its order, whether it beats the worst of the elite so far.  Only then is its optimum computed.
// The outcome is that of evaluating every member in full.
#pragma once

#include <cstdint>
#include <vector>

#include "instance.hpp"
#include "order_search.hpp"
#include "stop.hpp"

namespace stagewright {

struct GeneticSettings {
    std::int32_t population = 100;   // members per island
    std::int32_t generations = 100;  // the first one is drawn
    std::int32_t elites = 20;        // survive as they are
    std::int32_t mutants = 10;       // drawn afresh in each generation
    std::uint32_t bias = 45875;      // in 65536: chance that a key comes from the elite parent
    std::int32_t islands = 1;
    std::int32_t migration = 10;  // generations between exchanges
    std::int32_t migrants = 2;    // best members that each island sends to the next
    bool guided = false;          // start the islands from the guided orders too
    std::uint64_t seed = 0;
    std::int32_t threads = 1;
};

/// `evaluations` counts members over all generations, as the paper does: population * generations.
struct Evolved : Incumbent {
    std::int64_t decoded =
        0;  // of these, orders made and judged; surviving elites are not made again
    std::int64_t optima = 0;  // of these, orders whose optimum was computed
};

/// The best plan found, at least as good as `start` (block numbers of a valid plan, or empty), whose
/// order joins the first generation, as do `orders` (topological, at most population - 1).
Evolved evolve(const Instance& instance, std::int32_t k, Picoseconds lower,
               const std::vector<std::int32_t>& start, const std::vector<std::vector<Node>>& orders,
               const GeneticSettings& settings, Stop& stop);

/// The best of `count` random Kahn orders, each sliced optimally.
Evolved random_orders(const Instance& instance, std::int32_t k, Picoseconds lower,
                      std::int64_t count, std::uint64_t seed, Stop& stop);

}  // namespace stagewright
