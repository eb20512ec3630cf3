// SPDX-License-Identifier: Apache-2.0
#include "block_search.hpp"

#include <algorithm>
#include <limits>

namespace stagewright {

namespace {

constexpr int kCutsPerLook = 10;
// Work per node of a cut, see Stop::spend.
constexpr std::int64_t kPerCut = 150;
constexpr std::int64_t kPerPair = 250;

}  // namespace

BlockSearch::BlockSearch(const Instance& g, const Closures& closures, BlockCut& cuts)
    : g_(g),
      closures_(closures),
      cuts_(cuts),
      words_(closures.words()),
      conflicts_(words_ * static_cast<std::size_t>(g.n), 0),
      before_(words_),
      after_(words_),
      below_(words_),
      above_(words_) {}

/// Ancestors and descendants of the nodes in the set, with the set itself.
void BlockSearch::between(const Word* in) {
    std::fill(before_.begin(), before_.end(), 0);
    std::fill(after_.begin(), after_.end(), 0);
    for (std::size_t i = 0; i < words_; ++i)
        each_node(in[i], i, [&](Node v) {
            for (std::size_t j = 0; j < words_; ++j) {
                before_[j] |= closures_.ancestors(v)[j];
                after_[j] |= closures_.descendants(v)[j];
            }
        });
}

bool BlockSearch::convex(const Word* set) {
    between(set);
    for (std::size_t i = 0; i < words_; ++i)
        if ((before_[i] & after_[i] & ~set[i]) != 0) return false;
    return true;
}

bool BlockSearch::close(Word* in, Word* out) {
    between(in);
    for (std::size_t i = 0; i < words_; ++i) in[i] |= before_[i] & after_[i];
    for (std::size_t i = 0; i < words_; ++i)
        each_node(in[i], i, [&](Node v) {
            for (std::size_t j = 0; j < words_; ++j) out[j] |= conflicts(v)[j];
        });
    for (std::size_t i = 0; i < words_; ++i) {
        const auto gone = out[i];
        each_node(gone & before_[i], i, [&](Node v) {
            for (std::size_t j = 0; j < words_; ++j) out[j] |= closures_.ancestors(v)[j];
        });
        each_node(gone & after_[i], i, [&](Node v) {
            for (std::size_t j = 0; j < words_; ++j) out[j] |= closures_.descendants(v)[j];
        });
    }
    return !meet(in, out, words_);
}

bool BlockSearch::has_conflict(const Word* set) const {
    for (std::size_t i = 0; i < words_; ++i) {
        bool found = false;
        each_node(set[i], i, [&](Node v) { found = found || meet(set, conflicts(v), words_); });
        if (found) return true;
    }
    return false;
}

/// Is there a set of cost <= T that holds both?  Every pair in the set it finds becomes known.
bool BlockSearch::compatible(Node u, Node v, Stop& stop) {
    std::vector<Word> in(words_, 0), out(words_, 0);
    insert(in.data(), u);
    insert(in.data(), v);
    if (!close(in.data(), out.data()) || has_conflict(in.data())) return false;
    cuts_.prepare(in.data(), out.data());
    const auto before = cuts_.solved();
    const auto minimum = cuts_.solve(0, stop, cuts_.scale() * threshold_);
    stop.spend(kPerPair * g_.n * (cuts_.solved() - before));
    if (!minimum.finished) return minimum.value <= cuts_.scale() * threshold_;
    // Overflow may make the set too dear: then it says nothing of other pairs.
    if (minimum.cost <= threshold_) meet_block(cuts_.set(), minimum.cost);
    return true;
}

void BlockSearch::meet_block(const std::vector<Word>& set, Picoseconds cost) {
    list_pairs();
    const auto n = static_cast<std::size_t>(g_.n);
    for (std::size_t i = 0; i < words_; ++i)
        each_node(set[i], i, [&](Node x) {
            auto* row = met_.data() + n * static_cast<std::size_t>(x);
            for (std::size_t j = 0; j < words_; ++j)
                each_node(set[j], j, [&](Node y) { row[y] = std::min(row[y], cost); });
        });
}

/// Pairs with little between them first: their conflicts settle those further apart.
void BlockSearch::list_pairs() {
    if (!met_.empty()) return;
    const auto n = static_cast<std::size_t>(g_.n);
    met_.assign(n * n, std::numeric_limits<Picoseconds>::max());
    for (Node u = 0; u < g_.n; ++u)
        for (Node v = u; v < g_.n; ++v) {
            std::int32_t between = 0;
            for (std::size_t i = 0; i < words_; ++i)
                between += std::popcount((closures_.ancestors(u)[i] & closures_.descendants(v)[i]) |
                                         (closures_.ancestors(v)[i] & closures_.descendants(u)[i]));
            pairs_.push_back({between, u, v, 0});
        }
    std::stable_sort(pairs_.begin(), pairs_.end(),
                     [](const Pair& a, const Pair& b) { return a.between < b.between; });
}

void BlockSearch::set_threshold(Picoseconds threshold, Stop& stop) {
    list_pairs();
    threshold_ = threshold;
    impossible_ = complete_ = false;
    std::fill(conflicts_.begin(), conflicts_.end(), 0);
    for (const auto& pair : pairs_)
        if (pair.cheapest > threshold) add_conflict(pair.u, pair.v);
    for (auto& pair : pairs_)
        if (pair.u == pair.v && !settle(pair, stop)) return;
}

void BlockSearch::find_conflicts(Stop& stop) {
    if (complete_) return;
    for (auto& pair : pairs_)
        if (!settle(pair, stop)) return;
    complete_ = true;
}

/// Finds out whether the pair is in conflict; false: nothing is left, or it was stopped.
bool BlockSearch::settle(Pair& pair, Stop& stop) {
    if (impossible_ || stop()) return false;
    if (pair.cheapest > threshold_ || met(pair.u, pair.v) <= threshold_) return true;
    // Nothing lies between: the union of a set that holds u and one that holds v will mostly do.
    if (pair.between == 0 && met(pair.u, pair.u) <= threshold_ - met(pair.v, pair.v)) return true;
    if (compatible(pair.u, pair.v, stop)) return true;
    pair.cheapest = threshold_ + 1;
    add_conflict(pair.u, pair.v);
    return true;
}

void BlockSearch::add_conflict(Node u, Node v) {
    if (u == v) impossible_ = true;
    insert(conflicts_.data() + words_ * u, v);
    insert(conflicts_.data() + words_ * v, u);
}

// The lower hull of all (amount, cost) rises through T between two of its points, `below` and `above`:
// cut along their chord until it is an edge of the hull or the bound is no more than the floor.
bool BlockSearch::look(Subproblem& sub, Picoseconds& floor, std::vector<Block>& blocks,
                       Stop& stop) {
    ++looked_;
    has_below_ = has_above_ = false;
    if (!close(sub.in.data(), sub.out.data())) return false;
    if (sub.state) {
        cuts_.restore(*sub.state);
        cuts_.restrict(sub.in.data(), sub.out.data());
    } else {
        cuts_.prepare(sub.in.data(), sub.out.data());
    }
    auto roof = cuts_.most_amount();
    if (roof <= floor) return false;
    const auto q = cuts_.scale();
    Picoseconds below_amount = 0, below_cost = 0, above_amount = 0, above_cost = 0;
    auto p = sub.p;
    for (int i = 0; i < kCutsPerLook; ++i) {
        // M above this says that no more than the floor fits.
        const auto before = cuts_.solved();
        const auto minimum = cuts_.solve(p, stop, q * threshold_ - p * (floor + 1));
        stop.spend(kPerCut * g_.n * (cuts_.solved() - before));
        if (!minimum.finished) return false;
        if (p > 0) roof = std::min(roof, (q * threshold_ - minimum.value) / p);
        sub.p = p;
        if (minimum.cost <= threshold_) {
            const bool known = has_below_ && minimum.amount <= below_amount;
            has_below_ = true;
            below_amount = minimum.amount;
            below_cost = minimum.cost;
            below_ = cuts_.set();
            if (below_amount > floor && convex(below_.data())) {
                floor = below_amount;
                blocks.push_back({below_amount, below_cost, below_});
                if (roof <= floor) return false;
            }
            if (known || p == cuts_.steepest()) break;
        } else {
            const bool known = has_above_ && minimum.amount >= above_amount;
            has_above_ = true;
            above_amount = minimum.amount;
            above_cost = minimum.cost;
            above_ = cuts_.set();
            if (known || p == 0) break;
        }
        auto next = p;
        if (has_below_ && has_above_) {
            if (above_amount <= below_amount) break;
            __extension__ using Wide = __int128;
            const auto slope =
                static_cast<Wide>(q) * (above_cost - below_cost) / (above_amount - below_amount);
            next = static_cast<std::int64_t>(std::clamp<Wide>(slope, 1, cuts_.steepest()));
        } else if (has_below_) {
            next = std::clamp<std::int64_t>(2 * p, 1, cuts_.steepest());
        } else {
            next = p / 4;
        }
        if (next == p) break;
        p = next;
    }
    choose(sub);
    if (node_ < 0) return false;
    sub.state = cuts_.restrictable() ? std::make_shared<BlockCut::State>(cuts_.state()) : nullptr;
    return true;
}

/// The node on which both sets disagree, of large amount and with many conflicts that are still open.
void BlockSearch::choose(const Subproblem& sub) {
    node_ = -1;
    double best = -1;
    std::vector<Word> missing(words_, 0);  // what keeps `below` from being convex
    if (has_below_) {
        between(below_.data());
        for (std::size_t i = 0; i < words_; ++i) missing[i] = before_[i] & after_[i] & ~below_[i];
    }
    for (std::size_t i = 0; i < words_; ++i) {
        auto open = ~(sub.in[i] | sub.out[i]);
        if (i + 1 == words_ && g_.n % 64 != 0) open &= (Word{1} << (g_.n % 64)) - 1;
        each_node(open, i, [&](Node v) {
            const bool in_below = has_below_ && contains(below_.data(), v);
            const bool in_above = has_above_ && contains(above_.data(), v);
            int conflicting = 1;
            for (std::size_t j = 0; j < words_; ++j)
                conflicting += std::popcount(conflicts(v)[j] & ~sub.out[j]);
            auto score = static_cast<double>(cuts_.amounts()[v]) * 0.01;
            if (in_below != in_above || contains(missing.data(), v)) score *= 100;
            score = (score + 1e-3) * conflicting;
            if (score > best) {
                best = score;
                node_ = v;
            }
        });
    }
}

BlockSearch::Result BlockSearch::search(Picoseconds floor, std::int64_t quick, std::int64_t most,
                                        Stop& stop) {
    Result result;
    const auto start = looked_;
    std::vector<Subproblem> open;
    open.push_back({std::vector<Word>(words_, 0), std::vector<Word>(words_, 0),
                    std::min(cuts_.scale() / 2 + 1, cuts_.steepest()), nullptr});
    while (!open.empty()) {
        if (looked_ - start >= (result.blocks.empty() ? most : quick) || stop.now()) return result;
        auto sub = std::move(open.back());
        open.pop_back();
        if (!look(sub, floor, result.blocks, stop)) continue;
        auto without = sub;
        insert(without.out.data(), node_);
        insert(sub.in.data(), node_);
        open.push_back(std::move(without));
        open.push_back(std::move(sub));
    }
    result.complete = !stop.now();
    return result;
}

}  // namespace stagewright
