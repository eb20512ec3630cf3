// SPDX-License-Identifier: Apache-2.0
#include "ideal_cut.hpp"

#include <algorithm>

namespace stagewright {

namespace {

constexpr std::int32_t kIn = -2;
constexpr std::int32_t kOut = -1;
constexpr std::int64_t kLargestSum = std::int64_t{1} << 61U;
constexpr std::int64_t kFinest = 4096;
constexpr auto kFree = FlowNetwork::kUnlimited;

}  // namespace

IdealCut::IdealCut(const Instance& g)
    : g_(g), place_(static_cast<std::size_t>(g.n)), set_(words_for(g.n)) {
    __extension__ using Wide = __int128;
    Wide sum = 2 * static_cast<Wide>(g.total_work);
    for (const auto c : g.cost) sum += 2 * static_cast<Wide>(c);
    if (sum > kLargestSum)
        throw std::invalid_argument("instance: twice work and costs sum to more than 2^61 ps");
    while (scale_ < kFinest && 2 * scale_ * sum <= kLargestSum) scale_ *= 2;
}

void IdealCut::prepare(const Word* in, const Word* out) {
    in_.clear();
    free_.clear();
    in_work_ = 0;
    constant_ = arcs_ = 0;
    for (Node v = 0; v < g_.n; ++v) {
        if (contains(in, v)) {
            place_[v] = kIn;
            in_.push_back(v);
            in_work_ += g_.work[v];
        } else if (contains(out, v)) {
            place_[v] = kOut;
        } else {
            place_[v] = static_cast<std::int32_t>(free_.size());
            free_.push_back(v);
        }
    }
    network_.clear(static_cast<std::int32_t>(free_.size()));
    for (const auto* nodes : {&in_, &free_})
        for (const auto v : *nodes)
            for (const auto t : g_.writes[v]) add_tensor(t);
    for (const auto v : free_)
        for (const auto u : g_.successors[v])
            if (place_[u] >= 0) add_arc(place_[u], place_[v], kFree, 0);
    // With a = 0 a node in I saves its work in y.
    for (std::size_t v = 0; v < free_.size(); ++v)
        network_.add_terminal(static_cast<std::int32_t>(v), scale_ * g_.work[free_[v]]);
    a_ = 0;
}

/// A tensor costs scale times c where its producer is in I and some consumer is not.
void IdealCut::add_tensor(Tensor t) {
    const auto c = scale_ * g_.cost[t];
    if (c == 0) return;
    const auto producer = place_[g_.producer[t]];
    bool leaves = false;
    pins_.clear();
    for (const auto u : g_.consumers[t]) {
        leaves = leaves || place_[u] == kOut;
        if (place_[u] >= 0) pins_.push_back(place_[u]);
    }
    if (leaves) {
        if (producer == kIn)
            constant_ += c;
        else
            network_.add_terminal(producer, -c);
        return;
    }
    if (pins_.empty()) return;
    // The hub may be in only if all consumers are: it is what the tensor is paid for.
    const auto hub = pins_.size() == 1 ? pins_[0] : network_.add_vertex();
    if (producer == kIn) {
        constant_ += c;
        network_.add_terminal(hub, c);
    } else {
        add_arc(producer, hub, c, 0);
    }
    if (pins_.size() > 1)
        for (const auto u : pins_) add_arc(hub, u, kFree, 0);
}

void IdealCut::add_arc(std::int32_t tail, std::int32_t head, std::int64_t forward,
                       std::int64_t backward) {
    network_.add_arc(tail, head, forward, backward);
    ++arcs_;
}

IdealCut::Minimum IdealCut::solve(std::int64_t a, Stop& stop, std::int64_t enough) {
    ++solved_;
    // The work of I counts a times in x and -(scale - a) times in y.
    if (a != a_)
        for (std::size_t v = 0; v < free_.size(); ++v)
            network_.add_terminal(static_cast<std::int32_t>(v), -2 * (a - a_) * g_.work[free_[v]]);
    a_ = a;
    const auto base = constant_ + (2 * a - scale_) * in_work_ + (scale_ - a) * g_.total_work;
    Minimum result;
    result.value = base - network_.solve(base - std::min(base, enough), stop);
    result.finished = result.value <= enough && !stop.now();
    if (!result.finished) return result;
    std::fill(set_.begin(), set_.end(), 0);
    auto work = in_work_;
    for (const auto v : in_) insert(set_.data(), v);
    for (std::size_t v = 0; v < free_.size(); ++v)
        if (network_.on_source_side(static_cast<std::int32_t>(v))) {
            insert(set_.data(), free_[v]);
            work += g_.work[free_[v]];
        }
    const auto live =
        (result.value - (2 * a - scale_) * work - (scale_ - a) * g_.total_work) / scale_;
    result.x = work + live;
    result.y = g_.total_work - work + live;
    return result;
}

}  // namespace stagewright
