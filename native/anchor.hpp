// SPDX-License-Identifier: Apache-2.0
// The anchor bound: for a node a, min { work(S) + cut(S) : a in S } is one minimum cut, and the block
// that holds a costs at least that much.  The maximum over a is a lower bound on the bottleneck, and
// a maximum flow is its proof.
#pragma once

#include <vector>

#include "instance.hpp"
#include "stop.hpp"

namespace stagewright {

struct FlowEntry {
    Tensor tensor;
    Node node;
    Picoseconds amount;  // > 0: the node sends into the tensor's hyperedge, < 0: it receives
};

struct AnchorBound {
    Picoseconds value = 0;
    Node anchor = -1;
    std::vector<FlowEntry> flow;
    std::int64_t flows = 0;  // minimum cuts computed
    bool complete = false;   // every anchor was solved or excluded
};

/// `ceiling[v]` is any known cost of a set that contains v (the block of an incumbent): anchors that
/// cannot beat the best value are skipped.  Stops at the first value >= `enough`.
AnchorBound anchor_bound(const Instance& instance, std::vector<Picoseconds> ceiling,
                         Picoseconds enough, Stop& stop);

}  // namespace stagewright
