// SPDX-License-Identifier: Apache-2.0
#include "cover_bound.hpp"

#include <algorithm>

#include "cover_master.hpp"

namespace stagewright {

namespace {

constexpr std::int64_t kQuick = 1000;       // subproblems of a look for more blocks
constexpr std::int64_t kFirstProof = 2000;  // subproblems; doubled where they do not suffice
constexpr std::int64_t kFinest = 2048;  // the last steps are one part in so many of the incumbent
constexpr std::size_t kMostBlocks = 20'000;
constexpr std::size_t kKeptBlocks = 2'000;  // from one call to the next
constexpr double kRounding = 1e-6;
constexpr double kTrust = 0.5;   // share of the newest prices in the amounts
constexpr double kFollow = 0.3;  // how fast the centre follows the amounts

}  // namespace

Cover::Cover(const Instance& g) : g_(g), closures_(g), cuts_(g), search_(g, closures_, cuts_) {
    centre_.assign(static_cast<std::size_t>(g.n), 0);
}

/// What nodes are worth before anything is known, of sum 1.
void Cover::start(std::int32_t k) {
    started_ = true;
    const auto weights = cuts_.weights(k);
    Picoseconds total = 0;
    for (const auto w : weights) total += w;
    for (std::size_t v = 0; v < weights.size(); ++v)
        centre_[v] =
            static_cast<double>(weights[v]) / static_cast<double>(std::max<Picoseconds>(1, total));
}

/// Whole numbers in proportion, of sum at most what amounts may have.
std::vector<Picoseconds> Cover::scaled(const std::vector<double>& wish) const {
    double total = 0;
    for (const auto w : wish) total += std::max(w, 0.0);
    std::vector<Picoseconds> result(wish.size(), 0);
    if (!(total > 0)) return result;
    const auto scale = static_cast<double>(cuts_.whole()) * (1 - 1e-9) / total;
    for (std::size_t v = 0; v < wish.size(); ++v)
        result[v] = static_cast<Picoseconds>(std::max(wish[v], 0.0) * scale);
    return result;
}

/// Keeps the blocks that hold most of what did well: many blocks make the program slow.
void Cover::forget() {
    if (known_.size() <= kKeptBlocks) return;
    std::vector<std::pair<double, std::size_t>> ranked;
    for (std::size_t b = 0; b < known_.size(); ++b) {
        double amount = 0;
        for (std::size_t i = 0; i < known_[b].set.size(); ++i)
            each_node(known_[b].set[i], i, [&](Node v) { amount += centre_[v]; });
        ranked.emplace_back(-amount, b);
    }
    std::sort(ranked.begin(), ranked.end());
    std::vector<BlockSearch::Block> kept;
    seen_.clear();
    for (std::size_t i = 0; i < kKeptBlocks; ++i) {
        kept.push_back(std::move(known_[ranked[i].second]));
        seen_.insert(kept.back().set);
    }
    known_ = std::move(kept);
}

Cover::Answer Cover::ask(std::int32_t k, Picoseconds threshold, Stop& stop) {
    search_.set_threshold(threshold, stop);
    if (search_.impossible()) return Answer::refuted;
    CoverMaster master(g_.n);
    for (const auto& block : known_)
        if (block.cost <= threshold) master.add(block.set);
    auto trust = kTrust;
    auto patience = kFirstProof;  // subproblems that the next proof may look at
    auto next_proof = search_.looked();
    std::vector<double> wish(centre_.size());
    while (known_.size() < kMostBlocks && master.solve(stop)) {
        const auto fewest = master.value();
        if (fewest <= k + kRounding) return Answer::possible;
        const auto& prices = master.prices();
        for (std::size_t v = 0; v < wish.size(); ++v)
            wish[v] = trust * std::max(prices[v], 0.0) / fewest + (1 - trust) * centre_[v];
        cuts_.set_amounts(scaled(wish));
        Picoseconds whole = 0;
        for (const auto a : cuts_.amounts()) whole += a;
        if (whole == 0) return Answer::unknown;
        // A look for any block that the program would use; the proof needs larger ones.
        const auto enough = (whole - 1) / k;
        const auto fair = static_cast<Picoseconds>(static_cast<double>(whole) / fewest);
        auto found = search_.search(std::min(fair, enough), kQuick, kQuick, stop);
        if (found.complete && (found.blocks.empty() || found.blocks.back().amount <= enough))
            return Answer::refuted;
        if ((found.blocks.empty() || found.blocks.back().amount <= enough) &&
            search_.looked() >= next_proof) {
            auto proof = search_.search(enough, kQuick, patience, stop);
            if (proof.complete && proof.blocks.empty()) return Answer::refuted;
            if (proof.blocks.empty()) {
                next_proof = search_.looked() + patience;
                patience *= 2;
            }
            for (auto& block : proof.blocks) found.blocks.push_back(std::move(block));
        }
        bool useful = false;  // to the master: else the amounts are too far from its prices
        bool large = false;
        for (auto& block : found.blocks) {
            useful = useful || master.price_of(block.set) > 1 + kRounding;
            large = large || block.amount > enough;
            if (!seen_.insert(block.set).second) continue;
            master.add(block.set);
            known_.push_back(std::move(block));
        }
        if (!useful && trust >= 1) {
            // The prices are the best there are, but for rounding.
            if (large) return Answer::possible;
            next_proof = 0;
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
    if (result.value >= upper || cuts_.whole() == 0) return result;
    if (!started_) start(k);
    forget();
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
            stop.tell(result.value);
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
