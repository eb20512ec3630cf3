// SPDX-License-Identifier: Apache-2.0
// The average-communication bound: what the blocks on either side of a boundary cost on average, what they send
// across it included.
//
// Let I be the nodes in the first i of k blocks, W all work, live(I) the cost of the tensors made in I and needed
// outside.  Each of them is sent by one of the i blocks and received by one of the k - i others, so with
// x(I) = work(I) + live(I) and y(I) = W - work(I) + live(I) no plan is better than
//
//     T_i = min over ideals I of max(ceil(x(I) / i), ceil(y(I) / (k - i))),
//
// for each i, and for k = 2 it is that.  Blocks that a plan does not use count as empty ones.
//
// T_i is found by branch and bound.  A subproblem forces some nodes in and some out.  For weights a, b >= 0 the
// minimum M of a x(I) + b y(I) is one minimum cut, and a i T + b (k - i) T >= M for each plan of bottleneck T; the
// best weights are where the lower hull of all (x / i, y / (k - i)) meets the diagonal.  With nothing forced that is no
// more than W / k, since the empty ideal and the full one communicate nothing.  A node that cannot be in (out) because
// what precedes (follows) it is too much work is forced out (in).
#pragma once

#include <vector>

#include "instance.hpp"
#include "stop.hpp"

namespace stagewright {

struct AverageBound {
    Picoseconds value = 0;
    std::int32_t boundary = 0;  // its i; 0: none is better than the bound that was given
    std::int64_t looked = 0, cuts = 0;
    /// For k = 2 the best plan that was met: block of each node, 0 or 1.  Otherwise empty.
    std::vector<std::int32_t> plan;
    bool complete = false;  // it is the largest T_i, or the bound that was given, or enough
};

/// Raises `lower`, which is proven, until it is `enough`; needs n * n / 4 bytes.  Overflow is left out.
/// Throws std::invalid_argument when
/// twice work and costs sum to more than 2^61.
AverageBound average_bound(const Instance& instance, std::int32_t k, Picoseconds lower,
                           Picoseconds enough, Stop& stop);

}  // namespace stagewright
