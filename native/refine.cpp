// SPDX-License-Identifier: Apache-2.0
#include "refine.hpp"

#include <algorithm>

namespace stagewright {

namespace {

constexpr std::int64_t kMostLooks = std::int64_t{1} << 22U;  // pairs of undecided nodes per state

}  // namespace

Refiner::Refiner(const Instance& g, const Closures& closures,
                 const std::vector<Picoseconds>& weights)
    : g_(g),
      closures_(closures),
      weight_(static_cast<std::size_t>(g.n)),
      into_left_(weight_.size()),
      into_right_(weight_.size()),
      covered_(weight_.size(), 0) {
    double whole = 1;
    Picoseconds total = 1;
    for (const auto w : weights) total += w;
    const auto floor = 1e-6 * static_cast<double>(total);
    for (Node v = 0; v < g.n; ++v) {
        auto weight = weights[v];
        for (const auto t : g.writes[v]) weight += g.cost[t];
        weight_[v] = static_cast<double>(weight) + floor;
        whole += weight_[v];
    }
    for (auto& w : weight_) w /= whole;
}

/// Adds how much of each node the blocks of the arc hold.
void Refiner::cover(const StateSpace& space, std::int32_t arc, std::vector<double>& covered) const {
    const auto fluid = space.fluid(arc);
    const auto add = [&](const Word* set, double share) {
        if (set == nullptr || share <= 0) return;
        for (std::size_t i = 0; i < closures_.words(); ++i)
            each_node(set[i], i, [&](Node v) { covered[v] += share; });
    };
    add(fluid.below, 1 - fluid.share);
    add(fluid.above, fluid.share);
}

// Before the state lie blocks that hold a share `left` of a node, behind it blocks that hold `right`.
// The child with v in its ideals demands that all ancestors of v are done before it: each that is not
// contradicts the path by 1 - left where it is missing and by right where it comes later.  The child
// without v mirrors that.  A good split makes both children contradict the path.
Split Refiner::best(const StateSpace& space, std::int32_t state, const std::vector<double>& left,
                    const std::vector<double>& all) {
    const auto* inside = space.inside(state);
    const auto* outside = space.outside(state);
    const auto words = closures_.words();
    std::vector<Word> open(words);
    std::int64_t undecided = 0;
    for (std::size_t i = 0; i < words; ++i) {
        open[i] = ~(inside[i] | outside[i]);
        if (i + 1 == words && g_.n % 64 != 0) open[i] &= (Word{1} << (g_.n % 64)) - 1;
        each_node(open[i], i, [&](Node v) {
            const auto right = all[v] - left[v];
            into_left_[v] = weight_[v] * (std::max(0.0, 1 - left[v]) + std::min(1.0, right));
            into_right_[v] = weight_[v] * (std::max(0.0, 1 - right) + std::min(1.0, left[v]));
            ++undecided;
        });
    }
    // In large intervals any good split will do: look at every stride-th node only.
    const auto stride = 1 + undecided * undecided / kMostLooks;
    std::int64_t number = 0;
    Split split;
    split.state = state;
    for (std::size_t i = 0; i < words; ++i)
        each_node(open[i], i, [&](Node v) {
            if (number++ % stride != 0) return;
            double with = 0;
            double without = 0;
            for (std::size_t j = 0; j < words; ++j) {
                each_node(closures_.ancestors(v)[j] & open[j], j,
                          [&](Node u) { with += into_left_[u]; });
                each_node(closures_.descendants(v)[j] & open[j], j,
                          [&](Node u) { without += into_right_[u]; });
            }
            const auto score = std::min(with, without) + 0.05 * std::max(with, without);
            if (score > split.score) {
                split.score = score;
                split.node = v;
            }
        });
    return split;
}

std::vector<double> Refiner::coverage() const {
    auto result = covered_;
    for (auto& c : result) c = paths_ > 0 ? c / paths_ : 1;
    return result;
}

std::vector<Split> Refiner::splits(const StateSpace& space, const std::vector<std::int32_t>& path,
                                   Stop& stop) {
    std::vector<double> left(weight_.size(), 0);
    std::vector<double> all(weight_.size(), 0);
    for (const auto a : path) cover(space, a, all);
    // Later paths weigh more: the first ones know little of the graph.
    constexpr double kMemory = 0.98;
    for (std::size_t v = 0; v < all.size(); ++v) covered_[v] = kMemory * covered_[v] + all[v];
    paths_ = kMemory * paths_ + 1;
    std::vector<Split> found;
    for (std::size_t i = 0; i + 1 < path.size(); ++i) {
        if (stop.now()) break;
        cover(space, path[i], left);
        const auto split = best(space, space.arc(path[i]).to, left, all);
        if (split.node < 0) continue;
        const auto same = std::find_if(found.begin(), found.end(),
                                       [&](const Split& s) { return s.state == split.state; });
        if (same == found.end())
            found.push_back(split);
        else if (split.score > same->score)
            *same = split;
    }
    std::stable_sort(found.begin(), found.end(),
                     [](const Split& a, const Split& b) { return a.score > b.score; });
    return found;
}

}  // namespace stagewright
