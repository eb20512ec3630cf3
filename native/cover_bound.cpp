// SPDX-License-Identifier: Apache-2.0
#include "cover_bound.hpp"

#include <algorithm>

#include "cover_master.hpp"

namespace stagewright {

namespace {

constexpr std::int64_t kQuick = 3000;   // subproblems per question once a block is found
constexpr std::int64_t kFinest = 2048;  // the last steps are one part in so many of the incumbent
constexpr std::size_t kMostBlocks = 20'000;
constexpr double kTrust = 0.5;   // share of the newest prices in the amounts
constexpr double kFollow = 0.3;  // how fast the centre follows the amounts

}  // namespace

Cover::Cover(const Instance& g) : g_(g), closures_(g), cuts_(g), search_(g, closures_, cuts_) {
    centre_.resize(static_cast<std::size_t>(g.n));
    for (Node v = 0; v < g.n; ++v)
        centre_[v] = static_cast<double>(g.work[v]) /
                     static_cast<double>(std::max<Picoseconds>(1, g.total_work));
}

/// Whole numbers in proportion, of sum at most the work of the instance.
std::vector<Picoseconds> Cover::scaled(const std::vector<double>& wish) const {
    double total = 0;
    for (const auto w : wish) total += std::max(w, 0.0);
    std::vector<Picoseconds> result(wish.size(), 0);
    if (!(total > 0)) return result;
    const auto scale = static_cast<double>(g_.total_work) * (1 - 1e-9) / total;
    for (std::size_t v = 0; v < wish.size(); ++v)
        result[v] = static_cast<Picoseconds>(std::max(wish[v], 0.0) * scale);
    return result;
}

Cover::Answer Cover::ask(std::int32_t k, Picoseconds threshold, Stop& stop) {
    search_.set_threshold(threshold, stop);
    if (search_.impossible()) return Answer::refuted;
    CoverMaster master(g_.n);
    for (const auto& block : known_)
        if (block.cost <= threshold) master.add(block.set);
    auto trust = kTrust;
    std::vector<double> wish(centre_.size());
    while (known_.size() < kMostBlocks && master.solve(stop)) {
        const auto fewest = master.value();
        if (fewest <= k) return Answer::possible;
        const auto& prices = master.prices();
        for (std::size_t v = 0; v < wish.size(); ++v)
            wish[v] = trust * std::max(prices[v], 0.0) / fewest + (1 - trust) * centre_[v];
        cuts_.set_amounts(scaled(wish));
        Picoseconds whole = 0;
        for (const auto a : cuts_.amounts()) whole += a;
        if (whole == 0) return Answer::unknown;
        const auto found = search_.search((whole - 1) / k, kQuick, stop);
        if (found.blocks.empty()) return found.complete ? Answer::refuted : Answer::unknown;
        bool useful = false;  // to the master: else the amounts are too far from its prices
        for (const auto& block : found.blocks) {
            useful = useful || master.price_of(block.set) > 1 + 1e-7;
            master.add(block.set);
            known_.push_back(block);
        }
        trust = useful ? kTrust : std::min(1.0, (1 + trust) / 2 + 0.01);
        double total = 0;
        for (const auto w : wish) total += w;
        for (std::size_t v = 0; v < wish.size(); ++v)
            centre_[v] += kFollow * (wish[v] / total - centre_[v]);
    }
    return Answer::unknown;
}

CoverBound Cover::bound(std::int32_t k, Picoseconds lower, Picoseconds upper, Stop& stop) {
    CoverBound result;
    result.value = std::min(lower, upper);
    k = std::min(k, g_.n);
    if (result.value >= upper || g_.total_work == 0) return result;
    const auto first_cut = cuts_.solved();
    const auto first_look = search_.looked();
    const auto finest = std::max<Picoseconds>(1, upper / kFinest);
    auto end = upper;  // at end - 1 it could not refute
    auto step = std::max<Picoseconds>(1, (upper - result.value) / 2);
    while (result.value < end && step >= finest && !stop.now()) {
        const auto threshold = std::min(end - 1, result.value + step - 1);
        const auto answer = ask(k, threshold, stop);
        if (answer == Answer::refuted) {
            result.value = threshold + 1;
            result.amounts = cuts_.amounts();
            continue;
        }
        end = threshold;
        step = std::min(step / 2, std::max<Picoseconds>(1, (end - result.value) / 2));
        if (answer == Answer::possible) result.exhausted = true;
    }
    result.looked = search_.looked() - first_look;
    result.cuts = cuts_.solved() - first_cut;
    result.blocks = static_cast<std::int64_t>(known_.size());
    return result;
}

}  // namespace stagewright
