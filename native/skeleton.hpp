// SPDX-License-Identifier: Apache-2.0
// The skeleton bound: a lower bound on the bottleneck for graphs with too many ideals to list.
//
// The lattice of ideals is covered by a few intervals; the program over ideals becomes a program over
// intervals in which the work of an ideal is a fluid (fluid_program.hpp) and a minimum cut bounds the
// blocks between two intervals (state_space.hpp).  If even this relaxed program finds no chain of k
// blocks of cost <= T that does all the work, T + 1 is a lower bound.  Otherwise the interval where the
// relaxed chain contradicts itself most is split at a node, and the question is asked again.  In
// the end every interval is one ideal and the answer is exact.  docs/method_skeleton.md has the proofs.
#pragma once

#include <vector>

#include "block_cut.hpp"
#include "instance.hpp"
#include "stop.hpp"

namespace stagewright {

struct SkeletonBound {
    Picoseconds value = 0;  // no plan of at most k blocks has a smaller bottleneck
    bool closed = false;    // value = upper: the incumbent is optimal
    std::int64_t states = 0, arcs = 0, cuts = 0, splits = 0;
    /// A plan below `upper` (by the largest working sets) met on the way, or empty: block of each node.
    std::vector<std::int32_t> plan;
};

class Skeleton {
   public:
    /// Needs n * n / 4 bytes.
    explicit Skeleton(const Instance& instance);

    /// Raises `lower`, a proven bound, towards `upper`, the bottleneck of some plan, until they meet,
    /// `stop` says so, or what is kept would exceed `max_bytes`.
    SkeletonBound bound(std::int32_t k, Picoseconds lower, Picoseconds upper,
                        std::int64_t max_bytes, Stop& stop);

   private:
    const Instance& g_;
    Closures closures_;
    BlockCut cuts_;
};

}  // namespace stagewright
