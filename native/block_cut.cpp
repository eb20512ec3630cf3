// SPDX-License-Identifier: Apache-2.0
#include "block_cut.hpp"

#include <algorithm>

namespace stagewright {

namespace {

constexpr std::int32_t kIn = -2;
constexpr std::int32_t kOut = -1;
constexpr std::int64_t kLargestSum = std::int64_t{1} << 61U;
constexpr int kShares = 5;  // of overflow, that one solve() tries

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
      place_(static_cast<std::size_t>(g.n)),
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
}

void BlockCut::prepare(const Word* in, const Word* out) {
    in_.clear();
    free_.clear();
    in_amount_ = free_amount_ = constant_ = 0;
    for (Node v = 0; v < g_.n; ++v) {
        if (contains(in, v)) {
            place_[v] = kIn;
            in_.push_back(v);
            in_amount_ += amount_[v];
            constant_ += g_.work[v];
        } else if (contains(out, v)) {
            place_[v] = kOut;
        } else {
            place_[v] = static_cast<std::int32_t>(free_.size());
            free_.push_back(v);
            free_amount_ += amount_[v];
        }
    }
    network_.clear(static_cast<std::int32_t>(free_.size()));
    enter_.assign(free_.size(), 0);
    leave_.assign(free_.size(), 0);
    ++round_;
    for (const auto* nodes : {&in_, &free_})
        for (const auto v : *nodes) {
            for (const auto t : g_.writes[v]) add_tensor(t);
            for (const auto t : g_.reads[v]) add_tensor(t);
        }
    add_convexity();
    rest_ = constant_;
    p_ = 0;
    for (std::int32_t v = 0; v < network_.vertices(); ++v) {
        const auto work = v < static_cast<std::int32_t>(free_.size()) ? g_.work[free_[v]] : 0;
        network_.add_terminal(v, (enter_[v] - leave_[v] - work) * scale_);
        rest_ += enter_[v];
    }
    spill_.prepare(in_, free_, place_, network_);
}

void BlockCut::add_tensor(Tensor t) {
    const auto c = g_.cost[t];
    if (seen_[t] == round_ || c == 0) return;
    seen_[t] = round_;
    bool in = false;
    bool out = false;
    pins_.clear();
    const auto look = [&](Node v) {
        if (place_[v] == kIn)
            in = true;
        else if (place_[v] == kOut)
            out = true;
        else
            pins_.push_back(place_[v]);
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
        return network_.add_vertex();
    };
    constexpr auto kFree = FlowNetwork::kUnlimited;
    if (in || out) {
        const auto hub = pins_.size() == 1 ? pins_[0] : vertex(0, 0);
        (in ? enter_ : leave_)[hub] += c;
        if (pins_.size() == 1) return;
        for (const auto v : pins_) network_.add_arc(hub, v, in ? kFree : 0, in ? 0 : kFree);
    } else if (pins_.size() == 2) {
        network_.add_arc(pins_[0], pins_[1], c * scale_, c * scale_);
    } else {
        const auto some = vertex(0, 0);
        const auto all = vertex(0, 0);
        network_.add_arc(some, all, c * scale_, 0);
        for (const auto v : pins_) {
            network_.add_arc(v, some, kFree, 0);
            network_.add_arc(all, v, kFree, 0);
        }
    }
}

/// Unlimited arcs from free nodes before In to their successors before In; mirrored behind In.
void BlockCut::add_convexity() {
    side_.assign(free_.size(), 0);
    const auto spread = [&](const Ragged& rows, const Ragged& back, std::int32_t side) {
        queue_ = in_;
        for (std::size_t i = 0; i < queue_.size(); ++i)
            for (const auto v : rows[queue_[i]]) {
                if (place_[v] < 0 || (side_[place_[v]] & side) != 0) continue;
                side_[place_[v]] |= side;
                queue_.push_back(v);
            }
        for (std::size_t i = in_.size(); i < queue_.size(); ++i)
            for (const auto u : back[queue_[i]])
                if (place_[u] >= 0 && (side_[place_[u]] & side) != 0)
                    network_.add_arc(place_[queue_[i]], place_[u], FlowNetwork::kUnlimited, 0);
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
    if (p != p_)
        for (std::size_t v = 0; v < free_.size(); ++v)
            network_.add_terminal(static_cast<std::int32_t>(v), (p - p_) * amount_[free_[v]]);
    p_ = p;
    const auto spilled = spill_.binds() ? spill_.constant() : 0;
    // With S empty all `enter` is paid; each positive terminal in S pays some of it back.
    const auto base = rest_ * scale_ - p * in_amount_ + spilled;
    Minimum result;
    result.value = base - network_.solve(base - std::min(base, enough), stop);
    result.finished = result.value <= enough && !stop.now();
    if (!result.finished) return result;
    std::fill(found_.begin(), found_.end(), 0);
    result.amount = in_amount_;
    for (const auto v : in_) insert(found_.data(), v);
    for (std::size_t v = 0; v < free_.size(); ++v)
        if (network_.on_source_side(static_cast<std::int32_t>(v))) {
            insert(found_.data(), free_[v]);
            result.amount += amount_[free_[v]];
        }
    const auto paid = spill_.binds() ? spilled + spill_.paid(network_) : 0;
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
        spill_.set_share(share, counts, network_);
        auto minimum = solve_at_share(p, stop, enough);
        if (!minimum.finished) {
            if (i > 0) minimum.value = std::max(minimum.value, best.value);
            return minimum;
        }
        const auto held = spill_.held(found_.data());
        const Line line{share, scale_ * minimum.cost - p * minimum.amount,
                        spill_.slope(held, network_)};
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
    if (free_.empty()) best.value = least;
    return best;
}

}  // namespace stagewright
