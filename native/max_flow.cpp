// SPDX-License-Identifier: Apache-2.0
#include "max_flow.hpp"

#include <algorithm>

namespace stagewright {

void FlowNetwork::clear(std::int32_t vertices) {
    first_.assign(static_cast<std::size_t>(vertices), -1);
    next_.clear();
    head_.clear();
    residual_.clear();
    terminal_.assign(static_cast<std::size_t>(vertices), 0);
}

std::int32_t FlowNetwork::add_vertex() {
    first_.push_back(-1);
    terminal_.push_back(0);
    return vertices() - 1;
}

void FlowNetwork::add_arc(std::int32_t tail, std::int32_t head, std::int64_t forward,
                          std::int64_t backward) {
    const auto a = static_cast<std::int32_t>(head_.size());
    head_.push_back(head);
    next_.push_back(first_[tail]);
    first_[tail] = a;
    residual_.push_back(forward);
    head_.push_back(tail);
    next_.push_back(first_[head]);
    first_[head] = a + 1;
    residual_.push_back(backward);
}

// A unit of flow from u to v lowers terminal(u) and raises terminal(v), and the residual capacities change
// so that cut(S) - sum of the terminals in S stays the same for every S.  In the end the minimiser cuts
// nothing and holds every positive terminal and no negative one.
std::int64_t FlowNetwork::solve(std::int64_t enough, Stop& stop) {
    std::int64_t spare = 0;
    for (const auto t : terminal_) spare += std::max<std::int64_t>(t, 0);
    while (spare >= enough && !stop.now() && measure()) {
        current_ = first_;
        for (const auto v : sources_) spare -= push(v);
    }
    return spare;
}

/// Distances to the sink in the residual network; false when no source reaches it.
bool FlowNetwork::measure() {
    distance_.assign(first_.size(), 0);
    queue_.clear();
    for (std::int32_t v = 0; v < vertices(); ++v)
        if (terminal_[v] < 0) {
            distance_[v] = 1;
            queue_.push_back(v);
        }
    sources_.clear();
    for (std::size_t i = 0; i < queue_.size(); ++i) {
        const auto v = queue_[i];
        if (terminal_[v] > 0) sources_.push_back(v);
        for (auto a = first_[v]; a >= 0; a = next_[a]) {
            const auto u = head_[a];
            if (residual_[a ^ 1] == 0 || distance_[u] != 0) continue;
            distance_[u] = distance_[v] + 1;
            queue_.push_back(u);
        }
    }
    return !sources_.empty();
}

/// Sends what it can from `source` along shortest paths.
std::int64_t FlowNetwork::push(std::int32_t source) {
    std::int64_t sent = 0;
    path_.clear();
    auto v = source;
    while (terminal_[source] > 0) {
        if (terminal_[v] < 0) {
            auto amount = std::min(terminal_[source], -terminal_[v]);
            for (const auto a : path_) amount = std::min(amount, residual_[a]);
            terminal_[source] -= amount;
            terminal_[v] += amount;
            sent += amount;
            std::size_t keep = path_.size();
            for (std::size_t i = path_.size(); i-- > 0;) {
                residual_[path_[i]] -= amount;
                residual_[path_[i] ^ 1] += amount;
                if (residual_[path_[i]] == 0) keep = i;
            }
            if (keep < path_.size()) {
                v = head_[path_[keep] ^ 1];
                path_.resize(keep);
                continue;
            }
        }
        auto& a = current_[v];
        while (a >= 0 && (residual_[a] == 0 || distance_[head_[a]] != distance_[v] - 1 ||
                          distance_[head_[a]] == 0))
            a = next_[a];
        if (a >= 0) {
            path_.push_back(a);
            v = head_[a];
            continue;
        }
        if (path_.empty()) break;
        v = head_[path_.back() ^ 1];
        path_.pop_back();
        current_[v] = next_[current_[v]];
    }
    return sent;
}

}  // namespace stagewright
