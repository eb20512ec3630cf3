// SPDX-License-Identifier: Apache-2.0
// Which neighbours share a block in every plan of bottleneck <= T, by minimum cuts.
//
// For an edge a -> b let S be a convex block with a and without b: no descendant d of b is in S, for S
// would hold b, which lies on a path from a to d.  If min { f(S) : a in S, no descendant of b in S } > T,
// the block of a holds b.  Mirrored, with the ancestors of a forced out, for blocks with b and without a.
// And if min { f(S) : v in S } > T for some node v, there is no such plan at all.  Overflow counts
// parameters and the largest working set (spill.hpp).
#pragma once

#include <utility>
#include <vector>

#include "instance.hpp"
#include "stop.hpp"

namespace stagewright {

struct MustLink {
    std::vector<std::pair<Node, Node>> pairs;  // together in every plan of bottleneck <= T
    bool impossible = false;                   // there is no such plan
    bool complete = false;                     // every question was answered
    std::int64_t cuts = 0;
};

/// When stopped early, what was found so far; it holds.
MustLink must_link(const Instance& instance, Picoseconds threshold, Stop& stop);

}  // namespace stagewright
