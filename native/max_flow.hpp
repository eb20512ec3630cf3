// SPDX-License-Identifier: Apache-2.0
// Maximum flow on small networks that are built, solved a few times and thrown away: Dinic's algorithm
// with both terminals folded into one signed number per vertex.  Nothing is allocated once warm.
#pragma once

#include <cstdint>
#include <vector>

namespace stagewright {

class FlowNetwork {
   public:
    /// Above any sum of finite capacities; capacities must sum to less than half of it.
    static constexpr std::int64_t kUnlimited = std::int64_t{1} << 62U;

    void clear(std::int32_t vertices);
    std::int32_t add_vertex();
    void add_arc(std::int32_t tail, std::int32_t head, std::int64_t forward, std::int64_t backward);
    [[nodiscard]] std::int32_t vertices() const { return static_cast<std::int32_t>(first_.size()); }

    /// Maximum flow when `terminal[v]` units may enter at v (> 0) or leave there (< 0).  Returns early,
    /// with less, once the flow exceeds `enough`.
    std::int64_t solve(const std::vector<std::int64_t>& terminal, std::int64_t enough);

    /// After a solve() that was not cut short: is v on the source side of the largest minimum cut?
    [[nodiscard]] bool on_source_side(std::int32_t v) const { return distance_[v] == 0; }

   private:
    [[nodiscard]] bool measure();
    std::int64_t push(std::int32_t source);

    std::vector<std::int32_t> first_, next_, head_;  // arcs in pairs: a and a ^ 1 are opposite
    std::vector<std::int64_t> capacity_, residual_, terminal_;
    std::vector<std::int32_t> distance_;  // to the sink, from 1; 0: cannot reach it
    std::vector<std::int32_t> current_, queue_, path_, sources_;
};

}  // namespace stagewright
