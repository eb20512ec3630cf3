// SPDX-License-Identifier: Apache-2.0
#include "spill.hpp"

#include <algorithm>
#include <numeric>

namespace stagewright {

namespace {

__extension__ using Wide = __int128;
constexpr Wide kPerSecond = 1'000'000'000'000;
constexpr Wide kMostTime = Wide{1} << 58U;

}  // namespace

Spill::Spill(const Instance& g)
    : g_(g), binds_(g.has_memory && g.memory.capacity < std::numeric_limits<Bytes>::max()) {
    if (!binds_) return;
    const auto& m = g.memory;
    users_ = m.params_of.transposed(static_cast<std::int32_t>(m.param_bytes.size()));
    met_.assign(m.param_bytes.size(), 0);
    by_set_.resize(static_cast<std::size_t>(g.n));
    std::iota(by_set_.begin(), by_set_.end(), 0);
    std::stable_sort(by_set_.begin(), by_set_.end(),
                     [&](Node a, Node b) { return m.working_set[a] > m.working_set[b]; });
    all_ = g.n == 0 ? 0 : m.working_set[by_set_.front()];
    for (std::int32_t p = 0; p < users_.size(); ++p)
        if (!users_[p].empty()) params_ += m.param_bytes[p];
    all_ += params_;
    binds_ = all_ > m.capacity && Wide{all_} * kPerSecond / m.bandwidth < kMostTime;
}

Picoseconds Spill::whole() const {
    if (!binds_) return 0;
    return static_cast<Picoseconds>(Wide{all_} * kPerSecond / g_.memory.bandwidth) + 1;
}

std::vector<Picoseconds> Spill::weights(std::int32_t k) const {
    auto result = g_.work;
    if (!binds_) return result;
    const auto& m = g_.memory;
    const auto devices = Wide{m.capacity} * k;
    for (std::int32_t p = 0; p < users_.size(); ++p) {
        auto nbytes = Wide{m.param_bytes[p]};
        if (params_ < devices) nbytes = nbytes * params_ / devices;
        for (const auto v : users_[p])
            result[v] += static_cast<Picoseconds>(nbytes * kPerSecond / m.bandwidth /
                                                  static_cast<Wide>(users_[p].size()));
    }
    return result;
}

std::int64_t Spill::price(Bytes nbytes) const {
    return static_cast<std::int64_t>(Wide{scale_} * nbytes * kPerSecond / g_.memory.bandwidth);
}

std::int64_t Spill::part(std::int64_t price, std::int64_t share) {
    return static_cast<std::int64_t>(Wide{price} * share / kWhole);
}

void Spill::prepare(const std::vector<Node>& in, const std::vector<Node>& free,
                    const std::vector<std::int32_t>& place, FlowNetwork& network) {
    payers_.clear();
    forced_ = 0;
    forced_set_ = 0;
    share_ = 0;
    if (!binds_) return;
    ++round_;
    for (const auto v : in) forced_set_ = std::max(forced_set_, g_.memory.working_set[v]);
    forced_ = price(forced_set_);
    add_params(in, free, place, network);
    add_working_sets(place, network);
}

void Spill::add_params(const std::vector<Node>& in, const std::vector<Node>& free,
                       const std::vector<std::int32_t>& place, FlowNetwork& network) {
    const auto& m = g_.memory;
    for (const auto v : in)
        for (const auto p : m.params_of[v]) {
            if (met_[p] == round_) continue;
            met_[p] = round_;
            forced_ += price(m.param_bytes[p]);
        }
    for (const auto v : free) {
        std::int64_t own = 0;
        for (const auto p : m.params_of[v]) {
            if (met_[p] == round_) continue;
            met_[p] = round_;
            const auto users = users_[p];
            const auto some =
                std::count_if(users.begin(), users.end(), [&](Node u) { return place[u] >= 0; });
            if (some == 1) {
                own += price(m.param_bytes[p]);
                continue;
            }
            const auto hub = network.add_vertex();
            for (const auto u : users)
                if (place[u] >= 0) network.add_arc(place[u], hub, FlowNetwork::kUnlimited, 0);
            payers_.push_back({hub, price(m.param_bytes[p])});
        }
        if (own > 0) payers_.push_back({place[v], own});
    }
}

/// A vertex per distinct working set above what is held anyway; each reaches the next smaller one.
void Spill::add_working_sets(const std::vector<std::int32_t>& place, FlowNetwork& network) {
    const auto& sizes = g_.memory.working_set;
    std::int32_t level = -1;
    Bytes size = 0;
    const auto close = [&](Bytes next) {
        if (level >= 0) payers_.push_back({level, price(size) - price(next)});
    };
    for (const auto v : by_set_) {
        if (sizes[v] <= forced_set_) break;
        if (place[v] < 0) continue;
        if (level < 0 || sizes[v] < size) {
            const auto next = network.add_vertex();
            close(sizes[v]);
            if (level >= 0) network.add_arc(level, next, FlowNetwork::kUnlimited, 0);
            level = next;
            size = sizes[v];
        }
        network.add_arc(place[v], level, FlowNetwork::kUnlimited, 0);
    }
    close(forced_set_);
}

void Spill::set_share(std::int64_t share, FlowNetwork& network) {
    for (const auto [vertex, price] : payers_)
        network.add_terminal(vertex, part(price, share_) - part(price, share));
    share_ = share;
}

/// The memory of a device as time, rounded up.
std::int64_t Spill::room(std::int64_t share) const {
    const auto& m = g_.memory;
    const auto unit = Wide{m.bandwidth} * kWhole;
    return static_cast<std::int64_t>((Wide{scale_} * m.capacity * kPerSecond * share + unit - 1) /
                                     unit);
}

std::int64_t Spill::constant() const { return part(forced_, share_) - room(share_); }

std::int64_t Spill::paid(const FlowNetwork& network) const {
    std::int64_t total = 0;
    for (const auto [vertex, price] : payers_)
        if (network.on_source_side(vertex)) total += part(price, share_);
    return total;
}

Bytes Spill::held(const Word* set) {
    const auto& m = g_.memory;
    Bytes params = 0;
    Bytes largest = 0;
    ++round_;
    for (std::size_t i = 0; i < words_for(g_.n); ++i)
        each_node(set[i], i, [&](Node v) {
            largest = std::max(largest, m.working_set[v]);
            for (const auto p : m.params_of[v]) {
                if (met_[p] == round_) continue;
                met_[p] = round_;
                params += m.param_bytes[p];
            }
        });
    return params + largest;
}

Picoseconds Spill::time(Bytes held) const {
    const auto& m = g_.memory;
    return held <= m.capacity
               ? 0
               : static_cast<Picoseconds>((Wide{held - m.capacity} * kPerSecond + m.bandwidth - 1) /
                                          m.bandwidth);
}

std::int64_t Spill::slope(Bytes held) const { return price(held) - room(kWhole); }

}  // namespace stagewright
