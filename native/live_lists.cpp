// SPDX-License-Identifier: Apache-2.0
#include "live_lists.hpp"

#include <algorithm>

namespace stagewright {

LiveLists::LiveLists(const Instance& instance) : instance_(instance) {
    spanning_.resize(static_cast<std::size_t>((instance.n + 63) / 64) + 1);
    for (Tensor t = 0; t < instance.tensors(); ++t) {
        if (instance.cost[t] == 0) continue;
        const auto users = instance.consumers[t];
        const auto last = *std::max_element(users.begin(), users.end());
        for (auto w = (instance.producer[t] >> 6) + 1; w <= last >> 6; ++w)
            spanning_[w].push_back(t);
    }
}

// Tensors made in full words and used up there cannot be live.
void LiveLists::make(std::int64_t ideal, const IdealWindow& window) {
    const auto place = static_cast<std::size_t>(ideal);
    if (rows_.size() <= place) rows_.resize(place + 1);
    auto& row = rows_[place];
    if (row.size >= 0) return;
    row.begin = static_cast<std::int64_t>(all_.size());
    const auto consider = [&](Tensor t) {
        std::int32_t missing = 0;
        for (const auto u : instance_.consumers[t]) missing += window.has(u) ? 0 : 1;
        if (missing > 0) all_.push_back({t, missing, instance_.cost[t]});
    };
    for (const auto t : spanning_[window.first]) consider(t);
    for (Node v = window.first << 6; v < std::min(instance_.n, window.end << 6); ++v)
        if (window.has(v))
            for (const auto t : instance_.writes[v])
                if (instance_.cost[t] > 0) consider(t);
    std::sort(all_.begin() + row.begin, all_.end(),
              [](const LiveTensor& a, const LiveTensor& b) { return a.tensor < b.tensor; });
    row.size = static_cast<std::int32_t>(static_cast<std::int64_t>(all_.size()) - row.begin);
}

}  // namespace stagewright
