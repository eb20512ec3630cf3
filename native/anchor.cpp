// SPDX-License-Identifier: Apache-2.0
#include "anchor.hpp"

#include <algorithm>
#include <limits>

namespace stagewright {

namespace {

constexpr std::int64_t kPerArc = 60;  // work per node, tensor and flow, see Stop::spend

constexpr Picoseconds kUnlimited = std::numeric_limits<Picoseconds>::max() / 4;

/// Dinic's algorithm on the network of an instance; built once, capacities restored per anchor.
class Network {
   public:
    explicit Network(const Instance& g) : g_(g) {
        sink_ = g.n;
        std::int32_t vertices = g.n + 1;
        for (Node v = 0; v < g.n; ++v) arc(v, sink_, g.work[v], 0);
        for (Tensor t = 0; t < g.tensors(); ++t) {
            first_arc_.push_back(static_cast<std::int32_t>(head_.size()));
            const auto c = g.cost[t];
            if (c == 0) continue;
            if (g.consumers[t].size() == 1) {
                // Two pins: the cut is paid in either direction, one arc pair suffices.
                arc(g.producer[t], g.consumers[t][0], c, c);
                continue;
            }
            const auto in = vertices++;
            const auto out = vertices++;
            arc(in, out, c, 0);
            const auto pin = [&](Node v) {
                arc(v, in, kUnlimited, 0);
                arc(out, v, kUnlimited, 0);
            };
            pin(g.producer[t]);
            for (const auto u : g.consumers[t]) pin(u);
        }
        first_arc_.push_back(static_cast<std::int32_t>(head_.size()));
        capacity_ = residual_;
        out_.resize(static_cast<std::size_t>(vertices));
        for (std::size_t a = 0; a < head_.size(); ++a)
            out_[static_cast<std::size_t>(head_[a ^ 1U])].push_back(static_cast<std::int32_t>(a));
        level_.resize(out_.size());
        next_.resize(out_.size());
    }

    /// Returns the maximum flow out of `source`, or some flow when stopped.
    Picoseconds solve(Node source, Stop& stop) {
        residual_ = capacity_;
        residual_[static_cast<std::size_t>(2 * source)] = 0;  // its own work is a constant
        Picoseconds flow = 0;
        while (!stop.now() && label(source)) {
            std::fill(next_.begin(), next_.end(), 0);
            while (const auto pushed = augment(source)) {
                flow += pushed;
                if (stop()) break;
            }
        }
        return flow;
    }

    /// After solve(): is the graph node on the source side of the minimum cut?
    [[nodiscard]] bool on_source_side(Node v) const { return level_[v] >= 0; }

    [[nodiscard]] std::vector<FlowEntry> flow_of_tensors() const {
        std::vector<FlowEntry> entries;
        const auto amount = [&](std::int32_t a) { return capacity_[a] - residual_[a]; };
        const auto add = [&](Tensor t, Node v, Picoseconds x) {
            if (x != 0) entries.push_back({t, v, x});
        };
        for (Tensor t = 0; t < g_.tensors(); ++t) {
            auto a = first_arc_[t];
            if (a == first_arc_[t + 1]) continue;
            if (g_.consumers[t].size() == 1) {
                add(t, g_.producer[t], amount(a));
                add(t, g_.consumers[t][0], -amount(a));
                continue;
            }
            a += 2;
            const auto pin = [&](Node v) {
                add(t, v, amount(a) - amount(a + 2));
                a += 4;
            };
            pin(g_.producer[t]);
            for (const auto u : g_.consumers[t]) pin(u);
        }
        return entries;
    }

   private:
    void arc(std::int32_t tail, std::int32_t head, Picoseconds forward, Picoseconds backward) {
        head_.push_back(head);
        residual_.push_back(forward);
        head_.push_back(tail);
        residual_.push_back(backward);
    }

    bool label(Node source) {
        std::fill(level_.begin(), level_.end(), -1);
        queue_.assign(1, source);
        level_[source] = 0;
        bool reached = false;
        for (std::size_t i = 0; i < queue_.size(); ++i) {
            const auto v = queue_[i];
            if (reached && level_[v] >= level_[sink_]) continue;
            for (const auto a : out_[v]) {
                const auto u = head_[a];
                if (residual_[a] == 0 || level_[u] >= 0) continue;
                level_[u] = level_[v] + 1;
                if (u == sink_) reached = true;
                queue_.push_back(u);
            }
        }
        return reached;
    }

    /// One augmenting path in the level graph, walked with an explicit stack.
    Picoseconds augment(Node source) {
        path_.clear();
        std::int32_t v = source;
        while (v != sink_) {
            auto& i = next_[v];
            bool stepped = false;
            for (; i < static_cast<std::int32_t>(out_[v].size()); ++i) {
                const auto a = out_[v][i];
                if (residual_[a] > 0 && level_[head_[a]] == level_[v] + 1) {
                    path_.push_back(a);
                    v = head_[a];
                    stepped = true;
                    break;
                }
            }
            if (stepped) continue;
            if (path_.empty()) return 0;
            v = head_[path_.back() ^ 1];
            path_.pop_back();
            ++next_[v];
        }
        Picoseconds amount = kUnlimited;
        for (const auto a : path_) amount = std::min(amount, residual_[a]);
        for (const auto a : path_) {
            residual_[a] -= amount;
            residual_[a ^ 1] += amount;
        }
        return amount;
    }

    const Instance& g_;
    std::int32_t sink_ = 0;
    std::vector<std::int32_t> head_;  // arcs in pairs: a and a ^ 1 are opposite
    std::vector<Picoseconds> residual_, capacity_;
    std::vector<std::int32_t> first_arc_;  // per tensor
    std::vector<std::vector<std::int32_t>> out_;
    std::vector<std::int32_t> level_, next_, queue_, path_;
};

}  // namespace

AnchorBound anchor_bound(const Instance& g, std::vector<Picoseconds> ceiling, Picoseconds enough,
                         Stop& stop) {
    AnchorBound best;
    for (Node v = 0; v < g.n; ++v) {
        auto alone = g.work[v];
        for (const auto t : g.writes[v]) alone += g.cost[t];
        for (const auto t : g.reads[v]) alone += g.cost[t];
        ceiling[v] = std::min(ceiling[v], alone);
    }
    Network network(g);
    std::vector<Node> order(static_cast<std::size_t>(g.n));
    for (Node v = 0; v < g.n; ++v) order[v] = v;
    std::stable_sort(order.begin(), order.end(),
                     [&](Node a, Node b) { return ceiling[a] > ceiling[b]; });
    for (const auto v : order) {
        if (ceiling[v] <= best.value) continue;
        if (best.value >= enough) break;
        if (stop.now()) return best;
        ++best.flows;
        stop.spend(kPerArc * static_cast<std::int64_t>(g.n + g.reads.values.size()));
        const auto value = g.work[v] + network.solve(v, stop);
        if (stop.now()) return best;  // what flows so far may not be all
        for (Node u = 0; u < g.n; ++u)
            if (network.on_source_side(u)) ceiling[u] = std::min(ceiling[u], value);
        if (value <= best.value && best.anchor >= 0) continue;
        best.value = value;
        stop.tell(value);
        best.anchor = v;
        best.flow = network.flow_of_tensors();
    }
    best.complete = true;
    return best;
}

}  // namespace stagewright
