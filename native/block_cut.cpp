// SPDX-License-Identifier: Apache-2.0
#include "block_cut.hpp"

#include <algorithm>

namespace stagewright {

namespace {

constexpr std::int32_t kIn = -2;
constexpr std::int32_t kOut = -1;
constexpr std::int64_t kLargestSum = std::int64_t{1} << 61U;
constexpr std::int32_t kNew = 4;  // of a vertex that came to lie on a side
constexpr int kShares = 5;        // of overflow, that one solve() tries

std::vector<Node> topological(const Instance& g) {
    std::vector<std::int32_t> missing(static_cast<std::size_t>(g.n));
    std::vector<Node> order;
    for (Node v = 0; v < g.n; ++v) {
        missing[v] = static_cast<std::int32_t>(g.predecessors[v].size());
        if (missing[v] == 0) order.push_back(v);
    }
    for (std::size_t i = 0; i < order.size(); ++i)
        for (const auto u : g.successors[order[i]])
            if (--missing[u] == 0) order.push_back(u);
    return order;
}

}  // namespace

Closures::Closures(const Instance& g)
    : words_(words_for(g.n)),
      before_(words_ * static_cast<std::size_t>(g.n)),
      after_(before_.size()) {
    const auto order = topological(g);
    const auto close = [&](std::vector<Word>& rows, Node v, std::span<const Node> neighbours) {
        auto* row = rows.data() + words_ * v;
        insert(row, v);
        for (const auto u : neighbours)
            for (std::size_t i = 0; i < words_; ++i) row[i] |= rows[words_ * u + i];
    };
    for (const auto v : order) close(before_, v, g.predecessors[v]);
    for (std::size_t i = order.size(); i-- > 0;) close(after_, order[i], g.successors[order[i]]);
}

BlockCut::BlockCut(const Instance& g)
    : g_(g),
      spill_(g),
      seen_(static_cast<std::size_t>(g.tensors()), 0),
      amount_(g.work),
      set_(words_for(g.n)),
      found_(set_.size()) {
    __extension__ using Wide = __int128;
    Wide costs = 0;
    for (const auto c : g.cost) costs += c;
    const auto fits = [&](std::int64_t q, std::int64_t p) {
        return static_cast<Wide>(q) * (2 * costs + whole()) + static_cast<Wide>(p) * whole() <=
               kLargestSum;
    };
    if (!fits(1, 1)) spill_.ignore();
    if (!fits(1, 1))
        throw std::invalid_argument("instance: twice work and costs sum to more than 2^61 ps");
    // p / q between 1 / q and 64 where there are digits enough.
    while (scale_ < 1024 && fits(2 * scale_, 64 * scale_)) scale_ *= 2;
    steepest_ = scale_;
    while (steepest_ < 64 * scale_ && fits(scale_, 2 * steepest_)) steepest_ *= 2;
    spill_.set_scale(scale_);
    state_.place.resize(static_cast<std::size_t>(g.n));
    const auto most = static_cast<Wide>(scale_) * (2 * costs + whole()) +
                      static_cast<Wide>(steepest_) * whole() + 1;
    if (!spill_.binds() && most * (g.n + 1) <= kLargestSum)
        force_ = static_cast<std::int64_t>(most);
}

void BlockCut::prepare(const Word* in, const Word* out) {
    state_.in.clear();
    state_.free.clear();
    state_.in_amount = state_.free_amount = constant_ = 0;
    for (Node v = 0; v < g_.n; ++v) {
        if (contains(in, v)) {
            state_.place[v] = kIn;
            state_.in.push_back(v);
            state_.in_amount += amount_[v];
            constant_ += g_.work[v];
        } else if (contains(out, v)) {
            state_.place[v] = kOut;
        } else {
            state_.place[v] = static_cast<std::int32_t>(state_.free.size());
            state_.free.push_back(v);
            state_.free_amount += amount_[v];
        }
    }
    state_.network.clear(static_cast<std::int32_t>(state_.free.size()));
    enter_.assign(state_.free.size(), 0);
    leave_.assign(state_.free.size(), 0);
    ++round_;
    for (const auto* nodes : {&state_.in, &state_.free})
        for (const auto v : *nodes) {
            for (const auto t : g_.writes[v]) add_tensor(t);
            for (const auto t : g_.reads[v]) add_tensor(t);
        }
    add_convexity();
    auto rest = constant_;
    state_.p = 0;
    for (std::int32_t v = 0; v < state_.network.vertices(); ++v) {
        const auto work =
            v < static_cast<std::int32_t>(state_.free.size()) ? g_.work[state_.free[v]] : 0;
        state_.network.add_terminal(v, (enter_[v] - leave_[v] - work) * scale_);
        rest += enter_[v];
    }
    state_.base = rest * scale_;
    state_.forced.assign(state_.free.size(), 0);
    state_.open = state_.free.size();
    spill_.prepare(state_.in, state_.free, state_.place, state_.network);
}

void BlockCut::add_tensor(Tensor t) {
    const auto c = g_.cost[t];
    if (seen_[t] == round_ || c == 0) return;
    seen_[t] = round_;
    bool in = false;
    bool out = false;
    pins_.clear();
    const auto look = [&](Node v) {
        if (state_.place[v] == kIn)
            in = true;
        else if (state_.place[v] == kOut)
            out = true;
        else
            pins_.push_back(state_.place[v]);
    };
    look(g_.producer[t]);
    for (const auto u : g_.consumers[t]) look(u);
    if (in && out) {
        constant_ += c;
        return;
    }
    if (pins_.empty()) return;
    const auto vertex = [&](Picoseconds enter, Picoseconds leave) {
        enter_.push_back(enter);
        leave_.push_back(leave);
        return state_.network.add_vertex();
    };
    constexpr auto kFree = FlowNetwork::kUnlimited;
    if (in || out) {
        const auto hub = pins_.size() == 1 ? pins_[0] : vertex(0, 0);
        (in ? enter_ : leave_)[hub] += c;
        if (pins_.size() == 1) return;
        for (const auto v : pins_) state_.network.add_arc(hub, v, in ? kFree : 0, in ? 0 : kFree);
    } else if (pins_.size() == 2) {
        state_.network.add_arc(pins_[0], pins_[1], c * scale_, c * scale_);
    } else {
        const auto some = vertex(0, 0);
        const auto all = vertex(0, 0);
        state_.network.add_arc(some, all, c * scale_, 0);
        for (const auto v : pins_) {
            state_.network.add_arc(v, some, kFree, 0);
            state_.network.add_arc(all, v, kFree, 0);
        }
    }
}

void BlockCut::restrict(const Word* in, const Word* out) {
    joined_.clear();
    for (std::size_t i = 0; i < state_.free.size(); ++i) {
        if (state_.forced[i] != 0) continue;
        const auto v = state_.free[i];
        const bool joins = contains(in, v);
        if (!joins && !contains(out, v)) continue;
        state_.forced[i] = 1;
        --state_.open;
        state_.network.add_terminal(static_cast<std::int32_t>(i), joins ? force_ : -force_);
        if (joins) {
            state_.base += force_;
            joined_.push_back(v);
        } else {
            state_.free_amount -= amount_[v];
        }
    }
    // Arcs as in add_convexity(), where one of the ends was on no side so far.
    const auto spread = [&](const Ragged& rows, const Ragged& back, std::int32_t side) {
        const auto on = [&](Node v, std::int32_t sides) {
            return state_.place[v] >= 0 && (state_.side[state_.place[v]] & sides) != 0;
        };
        queue_ = joined_;
        for (std::size_t i = 0; i < queue_.size(); ++i)
            for (const auto v : rows[queue_[i]]) {
                if (state_.place[v] < 0 || on(v, side | kNew)) continue;
                state_.side[state_.place[v]] |= kNew;
                queue_.push_back(v);
            }
        for (std::size_t i = joined_.size(); i < queue_.size(); ++i) {
            const auto v = queue_[i];
            for (const auto u : back[v])
                if (on(u, side | kNew))
                    state_.network.add_arc(state_.place[v], state_.place[u],
                                           FlowNetwork::kUnlimited, 0);
            for (const auto u : rows[v])
                if (on(u, side))
                    state_.network.add_arc(state_.place[u], state_.place[v],
                                           FlowNetwork::kUnlimited, 0);
        }
        for (std::size_t i = joined_.size(); i < queue_.size(); ++i)
            state_.side[state_.place[queue_[i]]] ^= kNew | side;
    };
    spread(g_.predecessors, g_.successors, 1);
    spread(g_.successors, g_.predecessors, 2);
}

/// Unlimited arcs from free nodes before In to their successors before In; mirrored behind In.
void BlockCut::add_convexity() {
    state_.side.assign(state_.free.size(), 0);
    const auto spread = [&](const Ragged& rows, const Ragged& back, std::int32_t side) {
        queue_ = state_.in;
        for (std::size_t i = 0; i < queue_.size(); ++i)
            for (const auto v : rows[queue_[i]]) {
                if (state_.place[v] < 0 || (state_.side[state_.place[v]] & side) != 0) continue;
                state_.side[state_.place[v]] |= side;
                queue_.push_back(v);
            }
        for (std::size_t i = state_.in.size(); i < queue_.size(); ++i)
            for (const auto u : back[queue_[i]])
                if (state_.place[u] >= 0 && (state_.side[state_.place[u]] & side) != 0)
                    state_.network.add_arc(state_.place[queue_[i]], state_.place[u],
                                           FlowNetwork::kUnlimited, 0);
    };
    spread(g_.predecessors, g_.successors, 1);
    spread(g_.successors, g_.predecessors, 2);
}

Picoseconds BlockCut::cost(const Word* set) {
    Picoseconds sum = 0;
    for (Node v = 0; v < g_.n; ++v)
        if (contains(set, v)) sum += g_.work[v];
    for (Tensor t = 0; t < g_.tensors(); ++t) {
        const bool in = contains(set, g_.producer[t]);
        for (const auto u : g_.consumers[t])
            if (contains(set, u) != in) {
                sum += g_.cost[t];
                break;
            }
    }
    return spill_.binds() ? sum + spill_.time(spill_.held(set)) : sum;
}

/// The minimum with the share of overflow that is set.
BlockCut::Minimum BlockCut::solve_at_share(std::int64_t p, Stop& stop, std::int64_t enough) {
    ++solved_;
    if (p != state_.p)
        for (std::size_t v = 0; v < state_.free.size(); ++v)
            state_.network.add_terminal(static_cast<std::int32_t>(v),
                                        (p - state_.p) * amount_[state_.free[v]]);
    state_.p = p;
    const auto spilled = spill_.binds() ? spill_.constant() : 0;
    // With S empty all `enter` is paid; each positive terminal in S pays some of it back.
    const auto base = state_.base - p * state_.in_amount + spilled;
    Minimum result;
    result.value = base - state_.network.solve(base - std::min(base, enough), stop);
    result.finished = result.value <= enough && !stop.now();
    if (!result.finished) return result;
    std::fill(found_.begin(), found_.end(), 0);
    result.amount = state_.in_amount;
    for (const auto v : state_.in) insert(found_.data(), v);
    for (std::size_t v = 0; v < state_.free.size(); ++v)
        if (state_.network.on_source_side(static_cast<std::int32_t>(v))) {
            insert(found_.data(), state_.free[v]);
            result.amount += amount_[state_.free[v]];
        }
    const auto paid = spill_.binds() ? spilled + spill_.paid(state_.network) : 0;
    result.cost = (result.value - paid + p * result.amount) / scale_;
    return result;
}

// value(share) is concave, and each set that a cut returns is a line above it.  From a set that spills, less than
// the whole share gives too little; from one with room left, more than nothing gives too much.  Between
// two such sets, cut where their lines meet.  Where the best set's bytes are counted better otherwise, try that too.
BlockCut::Minimum BlockCut::solve(std::int64_t p, Stop& stop, std::int64_t enough) {
    if (!spill_.binds()) {
        const auto minimum = solve_at_share(p, stop, enough);
        if (minimum.finished) std::swap(set_, found_);
        return minimum;
    }
    struct Line {
        std::int64_t share = -1, height = 0, slope = 0;  // height at share 0
    };
    Line rising, falling;
    Minimum best;
    std::int64_t least = 0;  // q f(S) - p amount(S) of the best set
    auto share = share_;
    auto counts = counts_;
    auto better = counts;
    bool changed = false;
    for (int i = 0; i < kShares; ++i) {
        spill_.set_share(share, counts, state_.network);
        auto minimum = solve_at_share(p, stop, enough);
        if (!minimum.finished) {
            if (i > 0) minimum.value = std::max(minimum.value, best.value);
            return minimum;
        }
        const auto held = spill_.held(found_.data());
        const Line line{share, scale_ * minimum.cost - p * minimum.amount,
                        spill_.slope(held, state_.network)};
        minimum.cost += spill_.time(held);
        const auto value = scale_ * minimum.cost - p * minimum.amount;
        if (i == 0 || minimum.value > best.value) {
            best.value = minimum.value;
            share_ = share;
            counts_ = counts;
        }
        if (i == 0 || value < least) {
            least = value;
            better = spill_.better();
            best.amount = minimum.amount;
            best.cost = minimum.cost;
            std::swap(set_, found_);
        }
        if (best.value >= least) break;
        (line.slope > 0 ? rising : falling) = line;
        auto next = line.slope > 0 ? Spill::kWhole : 0;
        if (rising.share >= 0 && falling.share >= 0) {
            __extension__ using Wide = __int128;
            const auto run = static_cast<Wide>(rising.slope) - falling.slope;
            const auto meet =
                (static_cast<Wide>(falling.height) - rising.height) * Spill::kWhole / run;
            next = static_cast<std::int64_t>(std::clamp<Wide>(meet, 0, Spill::kWhole));
        }
        if (next == rising.share || next == falling.share) {
            if (changed || better == counts) break;
            changed = true;
            counts = better;
            next = share_;
            rising = falling = Line{};
        }
        share = next;
    }
    best.finished = true;
    if (state_.free.empty()) best.value = least;
    return best;
}

}  // namespace stagewright
