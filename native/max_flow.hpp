// SPDX-License-Identifier: Apache-2.0
// Maximum flow on small networks that are built, solved a few times and thrown away: Dinic's algorithm
// with both terminals folded into one signed number per vertex.  Nothing is allocated once warm.
#pragma once

#include <cstdint>
#include <vector>

#include "stop.hpp"

namespace stagewright {

class FlowNetwork {
   public:
    /// Above any sum of finite capacities; capacities must sum to less than half of it.
    static constexpr std::int64_t kUnlimited = std::int64_t{1} << 62U;

    void clear(std::int32_t vertices);
    std::int32_t add_vertex();
    void add_arc(std::int32_t tail, std::int32_t head, std::int64_t forward, std::int64_t backward);
    [[nodiscard]] std::int32_t vertices() const { return static_cast<std::int32_t>(first_.size()); }

    /// Lets `amount` more units enter at v, or that many leave there when negative; also between calls of
    /// solve(), which keep the flow: it stays a flow, whatever the terminals are.
    void add_terminal(std::int32_t v, std::int64_t amount) { terminal_[v] += amount; }

    /// Makes the flow maximal and returns by how much S, the largest minimiser, lies below 0 in
    /// { cut(S) - sum of the terminals in S }.  Returns early, with more, once it is below `enough` or when
    /// `stop` says so.
    std::int64_t solve(std::int64_t enough, Stop& stop);

    /// After a solve() that was not cut short: is v in S?
    [[nodiscard]] bool on_source_side(std::int32_t v) const { return distance_[v] == 0; }

   private:
    [[nodiscard]] bool measure();
    std::int64_t push(std::int32_t source);

    std::vector<std::int32_t> first_, next_, head_;  // arcs in pairs: a and a ^ 1 are opposite
    std::vector<std::int64_t> residual_, terminal_;
    std::vector<std::int32_t> distance_;  // to the sink, from 1; 0: cannot reach it
    std::vector<std::int32_t> current_, queue_, path_, sources_;
};

}  // namespace stagewright
