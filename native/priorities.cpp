// SPDX-License-Identifier: Apache-2.0
#include "priorities.hpp"

#include <algorithm>
#include <functional>
#include <numeric>

namespace stagewright {

PriorityDecoder::PriorityDecoder(const Instance& instance)
    : instance_(instance), indegree_(static_cast<std::size_t>(instance.n)), missing_(indegree_) {
    for (Node v = 0; v < instance.n; ++v) {
        indegree_[v] = static_cast<std::int32_t>(instance.predecessors[v].size());
        if (indegree_[v] == 0) sources_.push_back(v);
    }
}

void PriorityDecoder::decode(std::span<const Key> keys, std::vector<Node>& order) {
    const auto entry = [&](Node v) {
        return std::uint64_t{keys[v]} << 32U | static_cast<std::uint32_t>(v);
    };
    std::copy(indegree_.begin(), indegree_.end(), missing_.begin());
    order.resize(indegree_.size());
    heap_.clear();
    for (const auto v : sources_) heap_.push_back(entry(v));
    std::make_heap(heap_.begin(), heap_.end(), std::greater<>{});
    for (auto& place : order) {
        const auto v = static_cast<Node>(heap_.front() & 0xFFFFFFFFU);
        std::pop_heap(heap_.begin(), heap_.end(), std::greater<>{});
        heap_.pop_back();
        place = v;
        for (const auto u : instance_.successors[v]) {
            if (--missing_[u] != 0) continue;
            heap_.push_back(entry(u));
            std::push_heap(heap_.begin(), heap_.end(), std::greater<>{});
        }
    }
}

void keys_of_order(std::span<const Node> order, std::span<Key> keys) {
    const auto step = (std::uint64_t{1} << 32U) / std::max<std::size_t>(order.size(), 1);
    for (std::size_t i = 0; i < order.size(); ++i)
        keys[order[i]] = static_cast<Key>(i * step + step / 2);
}

namespace {

void first_or_last_ready(const Instance& g, bool last, std::vector<Node>& order) {
    std::vector<std::int32_t> missing(static_cast<std::size_t>(g.n));
    std::vector<Node> ready;
    for (Node v = g.n; v-- > 0;) {
        missing[v] = static_cast<std::int32_t>(g.predecessors[v].size());
        if (missing[v] == 0) ready.push_back(v);
    }
    if (!last) std::reverse(ready.begin(), ready.end());
    order.clear();
    for (std::size_t head = 0; order.size() < missing.size();) {
        const Node v = last ? ready.back() : ready[head++];
        if (last) ready.pop_back();
        order.push_back(v);
        for (const auto u : g.successors[v])
            if (--missing[u] == 0) ready.push_back(u);
    }
}

/// Most work on a path that ends (or, backwards, starts) at each node; `order` is topological.
std::vector<Picoseconds> path_work(const Instance& g, std::span<const Node> order, bool backwards) {
    std::vector<Picoseconds> length(g.work);
    const auto& behind = backwards ? g.successors : g.predecessors;
    const auto visit = [&](Node v) {
        Picoseconds longest = 0;
        for (const auto u : behind[v]) longest = std::max(longest, length[u]);
        length[v] += longest;
    };
    if (backwards)
        std::for_each(order.rbegin(), order.rend(), visit);
    else
        std::for_each(order.begin(), order.end(), visit);
    return length;
}

}  // namespace

void guided_order(const Instance& g, Guide guide, std::vector<Node>& order) {
    first_or_last_ready(g, guide == Guide::depth_first, order);
    if (guide == Guide::depth_first || guide == Guide::breadth_first) return;
    const bool heaviest = guide == Guide::heaviest_path;
    const auto length = path_work(g, order, heaviest);
    std::vector<Node> ranked(static_cast<std::size_t>(g.n));
    std::iota(ranked.begin(), ranked.end(), 0);
    std::stable_sort(ranked.begin(), ranked.end(), [&](Node a, Node b) {
        return heaviest ? length[a] > length[b] : length[a] < length[b];
    });
    std::vector<Key> keys(ranked.size());
    keys_of_order(ranked, keys);
    PriorityDecoder(g).decode(keys, order);
}

}  // namespace stagewright
