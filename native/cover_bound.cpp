// SPDX-License-Identifier: Apache-2.0
#include "cover_bound.hpp"

#include <algorithm>

namespace stagewright {

namespace {

constexpr std::int64_t kQuick = 1000;       // subproblems of a look for more blocks
constexpr std::int64_t kFirstProof = 2000;  // subproblems; doubled where they do not suffice
// Subproblems of all proofs at a threshold, and what part of the incumbent the steps are at least: in the first pass over
// the thresholds, three times and half as much in each further one; and the part in the last.
constexpr std::int64_t kFirstPatience = 3000;
constexpr Picoseconds kFirstParts = 64, kFinest = 2048;
constexpr std::int64_t kNear = 20;
constexpr std::size_t kMostBlocks = 20'000;
constexpr std::size_t kKeptBlocks = 2'000;  // from one call to the next
constexpr std::size_t kUseful = 30;         // blocks from climbs before the program is solved again
constexpr int kPatience = 12;
constexpr double kClimbPrice = 0.5;
constexpr double kRounding = 1e-6;
constexpr double kTrust = 0.5;   // share of the newest prices in the amounts
constexpr double kFollow = 0.3;  // how fast the centre follows the amounts

}  // namespace

Cover::Cover(const Instance& g)
    : g_(g), closures_(g), cuts_(g), search_(g, closures_, cuts_), climb_(g, closures_) {
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

std::vector<BlockSearch::Block> Cover::climb(const CoverMaster& master, Picoseconds threshold,
                                             Picoseconds enough, Stop& stop) {
    std::vector<BlockSearch::Block> found;
    const auto n = static_cast<std::size_t>(g_.n);
    const auto price = static_cast<double>(enough) / static_cast<double>(threshold);
    climb_.set(cuts_.amounts(), threshold, kClimbPrice * price);
    std::vector<Word> from(closures_.words());
    std::size_t useful = 0;
    for (std::size_t i = 0; i < 2 * n && useful < kUseful && !stop.now(); ++i) {
        const auto turn = turn_++ % (2 * n);
        const auto* block = turn % 2 == 0 ? nullptr : master.basic(turn / 2);
        std::fill(from.begin(), from.end(), 0);
        Node keep = -1;
        if (block == nullptr)
            insert(from.data(), keep = static_cast<Node>(turn / 2));
        else
            for (const auto v : *block) insert(from.data(), v);
        ++quiet_;
        if (!climb_.climb(from.data(), keep, 0, kPatience, stop)) continue;
        const auto& set = climb_.best();
        if (climb_.best_amount() > enough) quiet_ = 0;
        if (master.price_of(set) <= 1 + kRounding) continue;
        const auto cost = cuts_.cost(set.data());
        if (cost > threshold) continue;
        ++useful;
        found.push_back({climb_.best_amount(), cost, set});
    }
    return found;
}

Cover::Answer Cover::ask(std::int32_t k, Picoseconds threshold, std::int64_t most, Stop& stop) {
    search_.set_threshold(threshold, stop);
    if (search_.impossible()) return Answer::refuted;
    CoverMaster master(g_.n);
    for (const auto& block : known_)
        if (block.cost <= threshold) master.add(block.set);
    quiet_ = 0;
    auto trust = kTrust;
    auto patience = kFirstProof;  // subproblems that the next proof may look at
    auto next_proof = search_.looked();
    const auto last_look = search_.looked() + most;
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
        BlockSearch::Result found;
        found.blocks = climb(master, threshold, enough, stop);
        const bool quiet = quiet_ >= 2 * centre_.size();
        if (found.blocks.empty() || quiet) search_.find_conflicts(stop);
        if (found.blocks.empty()) {
            found = search_.search(std::min(fair, enough), kQuick, kQuick, stop);
            if (found.complete && (found.blocks.empty() || found.blocks.back().amount <= enough))
                return Answer::refuted;
        }
        if (quiet && search_.looked() >= next_proof) {
            const auto left = last_look - search_.looked();
            auto proof = search_.search(enough, kQuick, std::min(patience, left), stop);
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
            search_.meet_block(block.set, block.cost);
            known_.push_back(std::move(block));
        }
        if (!useful && trust >= 1) {
            // The prices are the best there are, but for rounding.
            if (large) return Answer::possible;
            next_proof = 0;
        }
        if (!useful && search_.looked() >= last_look) return Answer::unknown;
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
    // First in large steps with short proofs, then finer ones with longer proofs, up to what is possible.
    auto possible = upper;  // at possible - 1 there is nothing to refute
    auto patience = kFirstPatience;
    auto parts = kFirstParts;
    const auto part = [](Picoseconds whole) { return std::max<Picoseconds>(1, whole / 2); };
    while (!stop.now()) {
        const auto finest = std::max<Picoseconds>(1, upper / parts);
        auto end = possible;  // at end - 1 it could not refute
        auto step = part(end - result.value);
        while (result.value < end && step >= finest && !stop.now()) {
            const auto threshold = std::min(end - 1, result.value + step - 1);
            const auto answer = ask(k, threshold, patience, stop);
            if (answer == Answer::refuted) {
                result.value = threshold + 1;
                stop.tell(result.value);
                result.amounts = cuts_.amounts();
                // The incumbent itself is asked for where it is near.
                if (end - result.value > upper / kNear)
                    step = std::min(step, part(end - result.value));
                continue;
            }
            end = threshold;
            step = std::min(step / 2, part(end - result.value));
            if (answer == Answer::possible) possible = end;
        }
        result.exhausted = possible < upper && possible - result.value <= 2 * (upper / kFinest);
        if (result.value >= possible || (parts >= kFinest && end == possible)) break;
        parts = std::min(2 * parts, kFinest);
        patience *= 3;
    }
    result.looked = search_.looked() - first_look;
    result.cuts = cuts_.solved() - first_cut;
    result.blocks = static_cast<std::int64_t>(known_.size());
    return result;
}

}  // namespace stagewright
