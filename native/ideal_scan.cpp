// SPDX-License-Identifier: Apache-2.0
// The program without memory: pairs of ideals tested directly instead of walked through.
//
// For a threshold T, a plan of at most k blocks can pass through the ideal J only if
//     ceil((work(J) + live(J)) / T) + ceil((work(V \ J) + live(J)) / T) <= k,
// where live(J) is the cost of the tensors made in J and needed outside: each of them is sent by some
// block before J's boundary and received by some block behind it.  Few ideals pass.  Among those,
//     f(J \ I) = work(J) - work(I) + live(I) + live(J) - sum over t live at both of c(t) * (1 + [no
//                consumer of t in J \ I])
// needs the two lists of live tensors only, and is at least work(J) - work(I) + |live(J) - live(I)|.
//
// A pass visits the candidates from the empty ideal to V by increasing work, or back.  Each looks for one that
// reaches it among those reached by 0, 1, 2, ... blocks; the first hit ends its search, so a pass finds the
// fewest blocks of cost <= T between its start and every candidate.  What it found for one T holds as a
// lower bound for every smaller one: after a pass that found a plan, the next one comes from the other end
// and visits only candidates whose two distances make at most k blocks, which soon are few.
#include <algorithm>
#include <cstdlib>
#include <utility>

#include "ideals.hpp"

namespace stagewright {

namespace {

// Work, see Stop::spend: of each pair of ideals, of those whose sets are compared, of those whose live
// tensors are, and of each of these tensors.  Most pairs need the first only, but on wide graphs of costly
// tensors the last outweighs all others.
constexpr std::int64_t kPair = 3, kCompared = 4, kListed = 6, kTensor = 3;
constexpr Picoseconds kClose = 2000;  // a gap below one in so many is closed from the top
constexpr Picoseconds kFirstStep =
    64;  // from a guess that was too low: by one in so many, then twice that

__extension__ using Wide = __int128;

std::int32_t ceil_div(Picoseconds a, Picoseconds b) {
    return static_cast<std::int32_t>(std::min<Picoseconds>((a + b - 1) / b, 1 << 30));
}

/// An ideal that plans may pass through, with what a pair test reads first.
struct Candidate {
    std::int32_t ideal;
    std::int32_t fewest[2];  // at least so many blocks before and behind it
    Picoseconds work, live;
    IdealWindow window;
};

/// Candidates that so many blocks reach, in the order of the pass.
struct Layer {
    std::vector<std::int32_t> reached;
    std::size_t low = 0;  // those before lie too far from the candidate in turn
};

}  // namespace

class IdealGraph::Scan {
   public:
    Scan(IdealGraph& graph, std::int32_t k)
        : g_(graph),
          k_(k),
          total_(graph.work_.back()),
          missing_(static_cast<std::size_t>(graph.instance_.tensors()), 0) {}

    /// Takes all ideals that a plan of cost <= threshold may pass through; false when stopped.
    bool collect(Picoseconds threshold, Stop& stop);
    /// Looks for a plan of cost <= threshold, from the empty ideal or from V.
    Answer pass(Picoseconds threshold, bool forward, Stop& stop);
    /// After a pass that found a plan: keeps what it found out, and drops what is of no use below `upper`.
    void keep(bool forward, Picoseconds upper);

    /// The ideals of the plan that the last pass found, V the last one, and its cost.
    [[nodiscard]] std::vector<std::int32_t> chain(bool forward) const;
    [[nodiscard]] Picoseconds cost(bool forward);

    std::int64_t pairs = 0;

   private:
    enum Side { kBefore, kBehind };

    [[nodiscard]] std::int32_t end(bool forward) const {
        return forward ? static_cast<std::int32_t>(all_.size()) - 1 : 0;
    }
    void reach(std::int32_t j, bool forward);
    bool reach_from(Layer& layer, std::int32_t j, bool forward);
    void mark(std::int32_t j, bool on);
    [[nodiscard]] Picoseconds paid_twice(std::int32_t i) const;

    IdealGraph& g_;
    const std::int32_t k_;
    const Picoseconds total_;
    Picoseconds threshold_ = 0;
    std::vector<Candidate> all_;          // by increasing work; the empty ideal first, V last
    std::vector<std::int32_t> parent_;    // the candidate one block nearer to the start
    std::vector<std::int32_t> distance_;  // blocks from the start; k + 1 where it is not reached
    std::vector<Layer> layers_;
    std::size_t first_ = 0;              // layers before can reach nothing any more
    std::vector<std::int32_t> missing_;  // of the tensors live at the candidate in turn
    bool marked_ = false;
    std::int64_t work_ = 0;  // not spent yet
};

bool IdealGraph::Scan::collect(Picoseconds threshold, Stop& stop) {
    const auto unit = std::max<Picoseconds>(threshold, 1);
    const auto whole = static_cast<Wide>(unit) * k_;
    all_.clear();
    const auto add = [&](std::int32_t ideal, std::int32_t before, std::int32_t behind) {
        const auto window = g_.window(ideal);
        g_.lists_->make(ideal, window);
        all_.push_back({ideal, {before, behind}, g_.work_[ideal], g_.live_[ideal], window});
    };
    add(0, 0, 1);
    for (const auto i : g_.by_work_) {
        const auto live = g_.live_[i];
        if (i == 0 || whole < static_cast<Wide>(total_) + 2 * live) continue;
        const auto before = ceil_div(g_.work_[i] + live, unit);
        const auto behind = ceil_div(total_ - g_.work_[i] + live, unit);
        if (before + behind > k_) continue;
        if (stop()) return false;
        add(i, before, behind);
    }
    add(static_cast<std::int32_t>(g_.count() - 1), 1, 0);
    return true;
}

namespace {

/// Whether `outer` contains `inner`; only words where inner is neither full nor empty can differ.
bool contains(const IdealWindow& outer, const IdealWindow& inner) {
    if (outer.first < inner.first || outer.end < inner.end) return false;
    for (auto w = inner.end - 1; w >= std::max(inner.first, outer.first); --w)
        if (inner.words[w - inner.first] & ~outer.words[w - outer.first]) return false;
    return true;
}

}  // namespace

void IdealGraph::Scan::mark(std::int32_t j, bool on) {
    if (marked_ == on) return;
    marked_ = on;
    for (const auto& live : g_.lists_->of(all_[j].ideal))
        missing_[live.tensor] = on ? live.missing : 0;
}

/// What the marked candidate and i, one within the other, count together but no block between pays.
Picoseconds IdealGraph::Scan::paid_twice(std::int32_t i) const {
    Picoseconds twice = 0;
    for (const auto& [tensor, left, cost] : g_.lists_->of(all_[i].ideal))
        if (missing_[tensor] > 0) twice += missing_[tensor] == left ? 2 * cost : cost;
    return twice;
}

bool IdealGraph::Scan::reach_from(Layer& layer, std::int32_t j, bool forward) {
    const auto& to = all_[j];
    while (layer.low < layer.reached.size() &&
           std::abs(to.work - all_[layer.reached[layer.low]].work) > threshold_)
        ++layer.low;
    for (auto s = layer.reached.size(); s > layer.low; --s) {
        const auto i = layer.reached[s - 1];
        const auto& from = all_[i];
        ++pairs;
        work_ += kPair;
        const auto work = std::abs(to.work - from.work);
        if (work + std::abs(to.live - from.live) > threshold_) continue;
        work_ += kCompared;
        if (!(forward ? contains(to.window, from.window) : contains(from.window, to.window)))
            continue;
        mark(j, true);
        work_ += kListed + kTensor * static_cast<std::int64_t>(g_.lists_->of(all_[i].ideal).size());
        if (work + from.live + to.live - paid_twice(i) > threshold_) continue;
        parent_[j] = i;
        return true;
    }
    return false;
}

/// Tries to reach a candidate with as few blocks as can be.
void IdealGraph::Scan::reach(std::int32_t j, bool forward) {
    const auto& to = all_[j];
    const auto beyond =
        forward ? std::max(to.fewest[kBehind], ceil_div(total_ - to.work + to.live, threshold_))
                : std::max(to.fewest[kBefore], ceil_div(to.work + to.live, threshold_));
    const auto reached = static_cast<std::int32_t>(layers_.size());
    for (auto used = static_cast<std::int32_t>(first_); used < reached; ++used) {
        if (used + 1 + beyond > k_) return;
        auto& layer = layers_[used];
        if (!reach_from(layer, j, forward)) {
            // Layers grow from those before them only.
            if (used == static_cast<std::int32_t>(first_) && layer.low == layer.reached.size())
                ++first_;
            continue;
        }
        distance_[j] = used + 1;
        if (used + 1 == reached) layers_.emplace_back();
        layers_[used + 1].reached.push_back(j);
        return;
    }
}

Answer IdealGraph::Scan::pass(Picoseconds threshold, bool forward, Stop& stop) {
    threshold_ = std::max<Picoseconds>(threshold, 1);
    const auto candidates = static_cast<std::int32_t>(all_.size());
    const auto start = end(!forward);
    parent_.assign(all_.size(), -1);
    distance_.assign(all_.size(), k_ + 1);
    distance_[start] = 0;
    layers_.assign(1, {{start}, 0});
    first_ = 0;
    if (threshold < 1) return Answer::no;
    for (std::int32_t step = 1; step < candidates; ++step) {
        if (stop()) return Answer::unknown;
        const auto j = forward ? step : candidates - 1 - step;
        reach(j, forward);
        mark(j, false);
        stop.spend(std::exchange(work_, 0));
    }
    return parent_[end(forward)] >= 0 ? Answer::yes : Answer::no;
}

void IdealGraph::Scan::keep(bool forward, Picoseconds upper) {
    const auto near = forward ? kBefore : kBehind;
    const auto unit = std::max<Picoseconds>(upper - 1, 1);
    std::vector<Candidate> useful;
    for (std::size_t j = 0; j < all_.size(); ++j) {
        auto one = all_[j];
        one.fewest[near] = std::max(one.fewest[near], distance_[j]);
        auto before = one.fewest[kBefore], behind = one.fewest[kBehind];
        if (before > 0) before = std::max(before, ceil_div(one.work + one.live, unit));
        if (behind > 0) behind = std::max(behind, ceil_div(total_ - one.work + one.live, unit));
        const bool last = j == 0 || j + 1 == all_.size();
        if (last || before + behind <= k_) useful.push_back(one);
    }
    all_ = std::move(useful);
}

std::vector<std::int32_t> IdealGraph::Scan::chain(bool forward) const {
    std::vector<std::int32_t> chain;
    for (auto at = end(forward); at >= 0; at = parent_[at]) chain.push_back(all_[at].ideal);
    if (forward) std::reverse(chain.begin(), chain.end());
    chain.erase(chain.begin());  // the empty ideal
    return chain;
}

Picoseconds IdealGraph::Scan::cost(bool forward) {
    Picoseconds most = 0;
    for (auto at = end(forward); parent_[at] >= 0; at = parent_[at]) {
        const auto& [to, from] = std::pair(all_[at], all_[parent_[at]]);
        mark(at, true);
        const auto work = std::abs(to.work - from.work);
        most = std::max(most, work + to.live + from.live - paid_twice(parent_[at]));
        mark(at, false);
    }
    return most;
}

Answer IdealGraph::decide_by_scan(std::int32_t k, Picoseconds threshold,
                                  std::vector<std::int32_t>& block, Stop& stop) {
    if (work_.back() <= threshold) {
        block.assign(static_cast<std::size_t>(instance_.n), 0);
        return Answer::yes;
    }
    Scan scan(*this, k);
    if (!scan.collect(threshold, stop)) return Answer::unknown;
    const auto answer = scan.pass(threshold, true, stop);
    pairs_ += scan.pairs;
    if (answer == Answer::yes) blocks_of_chain(scan.chain(true), block);
    return answer;
}

IdealGraph::Optimum IdealGraph::optimum(std::int32_t k, Picoseconds lower, Picoseconds guess,
                                        Picoseconds upper, Stop& stop) {
    prepare_questions();
    Optimum best{lower, upper, {}};
    if (work_.back() < upper) {
        best.upper = work_.back();
        best.block.assign(static_cast<std::size_t>(instance_.n), 0);
    }
    Scan scan(*this, k);
    std::vector<std::int32_t> chain;
    bool found = false, forward = true, from_top = guess >= best.upper - 1;
    auto step = std::max<Picoseconds>(1, guess / kFirstStep);
    while (best.lower < best.upper) {
        // Most often the incumbent is optimal, so ask just below it; halve when it was not.
        auto threshold = best.upper - 1;
        if (!found && !from_top) {
            threshold = std::min(threshold, std::max(guess, best.lower));
            guess = threshold + step;
            step *= 2;
        } else if (!from_top) {
            threshold = best.lower + (best.upper - best.lower) / 2;
        }
        if (!found && !scan.collect(threshold, stop)) break;
        const auto answer = scan.pass(threshold, forward, stop);
        if (answer == Answer::unknown) break;
        if (answer == Answer::no) {
            best.lower = threshold + 1;
            from_top = best.upper - best.lower < best.upper / kClose;
            continue;
        }
        best.upper = scan.cost(forward);
        chain = scan.chain(forward);
        found = true;
        from_top = false;
        scan.keep(forward, best.upper);
        forward = !forward;
    }
    pairs_ += scan.pairs;
    if (!chain.empty()) blocks_of_chain(chain, best.block);
    return best;
}

}  // namespace stagewright
