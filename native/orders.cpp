// SPDX-License-Identifier: Apache-2.0
#include "orders.hpp"

#include <algorithm>

namespace stagewright {

OrderMaker::OrderMaker(const Instance& instance)
    : instance_(instance), missing_(static_cast<std::size_t>(instance.n), 0) {}

void OrderMaker::make(OrderKind kind, Random& random, std::vector<Node>& order) {
    const auto& g = instance_;
    if (kind == OrderKind::reversed_depth_first) {
        kahn(g.predecessors, g.successors, true, random, order);
        std::reverse(order.begin(), order.end());
    } else {
        kahn(g.successors, g.predecessors, kind == OrderKind::depth_first, random, order);
    }
}

void OrderMaker::kahn(const Ragged& successors, const Ragged& predecessors, bool depth_first,
                      Random& random, std::vector<Node>& order) {
    order.clear();
    ready_.clear();
    for (Node v = 0; v < instance_.n; ++v) {
        missing_[v] = static_cast<std::int32_t>(predecessors[v].size());
        if (missing_[v] == 0) ready_.push_back(v);
    }
    // Depth first takes from the end; roots are shuffled so that each run differs.
    for (std::size_t i = ready_.size(); i > 1; --i)
        std::swap(ready_[i - 1], ready_[random.below(static_cast<std::uint32_t>(i))]);
    while (!ready_.empty()) {
        if (!depth_first)
            std::swap(ready_.back(),
                      ready_[random.below(static_cast<std::uint32_t>(ready_.size()))]);
        const Node v = ready_.back();
        ready_.pop_back();
        order.push_back(v);
        const auto first_new = ready_.size();
        for (const auto u : successors[v])
            if (--missing_[u] == 0) ready_.push_back(u);
        for (std::size_t i = ready_.size(); i > first_new + 1; --i)
            std::swap(ready_[i - 1],
                      ready_[first_new + random.below(static_cast<std::uint32_t>(i - first_new))]);
    }
}

void OrderMaker::reshuffle(std::vector<Node>& order, std::size_t begin, std::size_t end,
                           Random& random) {
    // missing_ counts predecessors inside the segment; -1 marks nodes outside it.
    std::fill(missing_.begin(), missing_.end(), -1);
    for (std::size_t i = begin; i < end; ++i) missing_[order[i]] = 0;
    for (std::size_t i = begin; i < end; ++i)
        for (const auto u : instance_.successors[order[i]])
            if (missing_[u] >= 0) ++missing_[u];
    ready_.clear();
    for (std::size_t i = begin; i < end; ++i)
        if (missing_[order[i]] == 0) ready_.push_back(order[i]);
    for (std::size_t i = begin; i < end; ++i) {
        const auto pick = random.below(static_cast<std::uint32_t>(ready_.size()));
        const Node v = ready_[pick];
        ready_[pick] = ready_.back();
        ready_.pop_back();
        order[i] = v;
        for (const auto u : instance_.successors[v])
            if (missing_[u] > 0 && --missing_[u] == 0) ready_.push_back(u);
    }
}

}  // namespace stagewright
