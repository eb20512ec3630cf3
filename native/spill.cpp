// SPDX-License-Identifier: Apache-2.0
#include "spill.hpp"

#include <algorithm>
#include <numeric>

namespace stagewright {

namespace {

__extension__ using Wide = __int128;
constexpr Wide kPerSecond = 1'000'000'000'000;
constexpr std::int32_t kIn = -2;  // as BlockCut marks the nodes forced in
constexpr Wide kMostTime = Wide{1} << 58U;

}  // namespace

Spill::Spill(const Instance& g)
    : g_(g), binds_(g.has_memory && g.memory.capacity < std::numeric_limits<Bytes>::max()) {
    if (!binds_) return;
    const auto& m = g.memory;
    users_ = m.params_of.transposed(static_cast<std::int32_t>(m.param_bytes.size()));
    met_.assign(m.param_bytes.size(), 0);
    sizes_ = m.working_set;
    if (g.alive)
        for (Node v = 0; v < g.n; ++v)
            for (const auto& moment : g.alive->of[v]) sizes_[v] = std::max(sizes_[v], moment.least);
    inside_.assign(sizes_.size(), 0);
    by_set_.resize(static_cast<std::size_t>(g.n));
    std::iota(by_set_.begin(), by_set_.end(), 0);
    std::stable_sort(by_set_.begin(), by_set_.end(),
                     [&](Node a, Node b) { return sizes_[a] > sizes_[b]; });
    all_ = g.n == 0 ? 0 : sizes_[by_set_.front()];
    if (g.alive)
        for (const auto& moments : g.alive->of)
            for (const auto& moment : moments) all_ = std::max(all_, moment.most);
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
    moment_ = nullptr;
    if (!binds_) return;
    ++round_;
    choose_moment(in);
    forced_ = price(forced_set_);
    add_params(in, free, place, network);
    add_largest(place, network);
    add_moment(place, network);
}

/// The node forced in while which most is surely alive; of several, the one with most besides.
void Spill::choose_moment(const std::vector<Node>& in) {
    for (const auto v : in) forced_set_ = std::max(forced_set_, sizes_[v]);
    if (!g_.alive) return;
    for (const auto v : in) inside_[v] = 1;
    for (const auto v : in)
        for (const auto& moment : g_.alive->of[v]) {
            if (moment.most <= forced_set_) continue;
            const auto surely = alive(moment);
            const auto more = moment_ == nullptr || moment.most > moment_->most;
            if (surely < forced_set_ || (surely == forced_set_ && !more)) continue;
            forced_set_ = surely;
            moment_ = &moment;
        }
    for (const auto v : in) inside_[v] = 0;
}

/// Bytes that are alive then in the set that `inside_` marks.
Bytes Spill::alive(const Alive::Moment& moment) const {
    auto nbytes = moment.least;
    for (const auto& term : moment.terms)
        for (const auto c : term.classes)
            if (inside_[c]) {
                nbytes += term.nbytes;
                break;
            }
    return nbytes;
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
            pay(users, price(m.param_bytes[p]), true, Counts::largest, place, network);
        }
        if (own > 0) payers_.push_back({place[v], own, true, Counts::largest});
    }
}

/// Lets each set pay that holds some of the nodes.
void Spill::pay(std::span<const Node> nodes, std::int64_t price, bool always, Counts counts,
                const std::vector<std::int32_t>& place, FlowNetwork& network) {
    const auto hub = network.add_vertex();
    for (const auto u : nodes)
        if (place[u] >= 0) network.add_arc(place[u], hub, FlowNetwork::kUnlimited, 0);
    payers_.push_back({hub, price, always, counts});
}

/// A vertex per distinct size above what is held anyway; each reaches the next smaller one.
void Spill::add_largest(const std::vector<std::int32_t>& place, FlowNetwork& network) {
    std::int32_t level = -1;
    Bytes size = 0;
    const auto close = [&](Bytes next) {
        if (level >= 0)
            payers_.push_back({level, price(size) - price(next), false, Counts::largest});
    };
    for (const auto v : by_set_) {
        if (sizes_[v] <= forced_set_) break;
        if (place[v] < 0) continue;
        if (level < 0 || sizes_[v] < size) {
            const auto next = network.add_vertex();
            close(sizes_[v]);
            if (level >= 0) network.add_arc(level, next, FlowNetwork::kUnlimited, 0);
            level = next;
            size = sizes_[v];
        }
        network.add_arc(place[v], level, FlowNetwork::kUnlimited, 0);
    }
    close(forced_set_);
}

/// A vertex per term that the nodes forced in do not pay already.
void Spill::add_moment(const std::vector<std::int32_t>& place, FlowNetwork& network) {
    if (moment_ == nullptr) return;
    for (const auto& term : moment_->terms) {
        const auto& c = term.classes;
        const auto forced =
            std::any_of(c.begin(), c.end(), [&](Node u) { return place[u] == kIn; });
        const auto some = std::any_of(c.begin(), c.end(), [&](Node u) { return place[u] >= 0; });
        if (some && !forced) pay(c, price(term.nbytes), false, Counts::moment, place, network);
    }
}

void Spill::set_share(std::int64_t share, Counts counts, FlowNetwork& network) {
    const auto before = share_;
    const auto counted = counts_;
    for (const auto& payer : payers_) {
        share_ = before;
        counts_ = counted;
        const auto paid = part(payer);
        share_ = share;
        counts_ = counts;
        network.add_terminal(payer.vertex, paid - part(payer));
    }
    share_ = share;
    counts_ = counts;
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
    for (const auto& payer : payers_)
        if (network.on_source_side(payer.vertex)) total += part(payer);
    return total;
}

Bytes Spill::held(const Word* set) {
    const auto& m = g_.memory;
    Bytes params = 0;
    Bytes largest = 0;
    ++round_;
    const auto each = [&](auto&& visit) {
        for (std::size_t i = 0; i < words_for(g_.n); ++i) each_node(set[i], i, visit);
    };
    each([&](Node v) {
        inside_[v] = 1;
        largest = std::max(largest, sizes_[v]);
        for (const auto p : m.params_of[v]) {
            if (met_[p] == round_) continue;
            met_[p] = round_;
            params += m.param_bytes[p];
        }
    });
    better_ = Counts::largest;
    if (moment_ != nullptr && alive(*moment_) >= largest) {
        largest = alive(*moment_);
        better_ = Counts::moment;
    }
    if (g_.alive)
        each([&](Node v) {
            for (const auto& moment : g_.alive->of[v])
                if (moment.most > largest) largest = std::max(largest, alive(moment));
        });
    each([&](Node v) { inside_[v] = 0; });
    return params + largest;
}

Picoseconds Spill::time(Bytes held) const {
    const auto& m = g_.memory;
    return held <= m.capacity
               ? 0
               : static_cast<Picoseconds>((Wide{held - m.capacity} * kPerSecond + m.bandwidth - 1) /
                                          m.bandwidth);
}

// At share 0 nobody pays, so the source side does not tell who would.
std::int64_t Spill::slope(Bytes held, const FlowNetwork& network) const {
    if (share_ == 0) return price(held) - room(kWhole);
    auto total = forced_ - room(kWhole);
    for (const auto& payer : payers_)
        if (part(payer) > 0 && network.on_source_side(payer.vertex)) total += payer.price;
    return total;
}

}  // namespace stagewright
