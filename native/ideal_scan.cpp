// SPDX-License-Identifier: Apache-2.0
// The decision without memory: pairs of ideals tested directly instead of walked through.
//
// For a threshold T, a plan of at most k blocks can pass through the ideal J only if
//     ceil((work(J) + live(J)) / T) + ceil((work(V \ J) + live(J)) / T) <= k,
// where live(J) is the cost of the tensors made in J and needed outside: each of them is sent by some
// block before J's boundary and received by some block behind it.  Few ideals pass.  Among those,
//     f(J \ I) = work(J) - work(I) + live(I) + live(J) - sum over t live at both of c(t) * (1 + [no
//                consumer of t in J \ I])
// needs the two lists of live tensors only, and is at least work(J) - work(I) + |live(J) - live(I)|.  By
// increasing work, each ideal looks for one that reaches it among those reached by 0, 1, 2, ... blocks; the
// first hit ends its search.
#include <algorithm>
#include <cstdlib>

#include "ideals.hpp"

namespace stagewright {

namespace {

constexpr std::int64_t kPair = 8;  // work per pair of ideals, see Stop::spend

__extension__ using Wide = __int128;

Picoseconds ceil_div(Picoseconds a, Picoseconds b) { return (a + b - 1) / b; }

/// The ideals that a plan may pass through, by increasing work, with what a pair test reads first.
struct Candidates {
    std::vector<std::int32_t> ideal;
    std::vector<Picoseconds> work, live;
};

/// Candidates that so many blocks reach, by increasing work.
struct Layer {
    std::vector<std::int32_t> reached;
    std::size_t low = 0;  // those before have too little work to reach the candidate in turn
};

}  // namespace

struct IdealGraph::Scan {
    Scan(IdealGraph& graph, std::int32_t k, Picoseconds threshold)
        : g(graph),
          k(k),
          threshold(threshold),
          total(graph.work_.back()),
          missing(static_cast<std::size_t>(graph.instance_.tensors()), 0) {}

    bool collect(Stop& stop);
    bool walk(Stop& stop);
    bool reach(std::int32_t j);
    bool reach_from(Layer& layer, std::int32_t j);
    void mark(std::int32_t j, bool on);
    [[nodiscard]] bool contains(const IdealWindow& outer, const IdealWindow& inner) const;
    [[nodiscard]] Picoseconds paid_twice(std::int32_t inner) const;
    void chain_to(std::int32_t last, std::vector<std::int32_t>& chain) const;

    IdealGraph& g;
    std::int32_t k;
    const Picoseconds threshold, total;
    Candidates c;
    std::vector<IdealWindow> windows;  // per candidate
    std::vector<std::int32_t> parent;  // candidate -> candidate one block before
    std::vector<Layer> layers;
    std::size_t first = 0;   // layers before can reach nothing any more
    std::int32_t last = -1;  // the candidate before the last block of the best plan so far
    std::vector<std::int32_t> missing;  // of the tensors live at the candidate in turn
    bool marked = false;
    std::int64_t pairs = 0;
};

bool IdealGraph::Scan::collect(Stop& stop) {
    const auto unit = std::max<Picoseconds>(threshold, 1);
    for (const auto i : g.by_work_) {
        const auto live = g.live_[i];
        if (i > 0) {
            if (static_cast<Wide>(unit) * k < static_cast<Wide>(total) + 2 * live) continue;
            const auto before = ceil_div(g.work_[i] + live, unit);
            if (before + ceil_div(total - g.work_[i] + live, unit) > k) continue;
        }
        if (stop()) return false;
        c.ideal.push_back(i);
        c.work.push_back(g.work_[i]);
        c.live.push_back(live);
        windows.push_back(g.window(i));
        g.lists_->make(i, windows.back());
    }
    parent.assign(c.ideal.size(), -1);
    return true;
}

/// Whether `outer` contains `inner`; only words where inner is neither full nor empty can differ.
bool IdealGraph::Scan::contains(const IdealWindow& outer, const IdealWindow& inner) const {
    if (outer.first < inner.first || outer.end < inner.end) return false;
    for (auto w = inner.end - 1; w >= std::max(inner.first, outer.first); --w)
        if (inner.words[w - inner.first] & ~outer.words[w - outer.first]) return false;
    return true;
}

void IdealGraph::Scan::mark(std::int32_t j, bool on) {
    if (marked == on) return;
    marked = on;
    for (const auto& live : g.lists_->of(c.ideal[j])) missing[live.tensor] = on ? live.missing : 0;
}

/// What the marked candidate and `inner`, which it contains, count together but no block between pays.
Picoseconds IdealGraph::Scan::paid_twice(std::int32_t inner) const {
    Picoseconds twice = 0;
    for (const auto& [tensor, left, cost] : g.lists_->of(c.ideal[inner]))
        if (missing[tensor] > 0) twice += missing[tensor] == left ? 2 * cost : cost;
    return twice;
}

bool IdealGraph::Scan::reach_from(Layer& layer, std::int32_t j) {
    while (layer.low < layer.reached.size() &&
           c.work[j] - c.work[layer.reached[layer.low]] > threshold)
        ++layer.low;
    for (auto s = layer.reached.size(); s > layer.low; --s) {
        const auto i = layer.reached[s - 1];
        ++pairs;
        const auto work = c.work[j] - c.work[i];
        if (work + std::abs(c.live[j] - c.live[i]) > threshold) continue;
        if (!contains(windows[j], windows[i])) continue;
        mark(j, true);
        if (work + c.live[i] + c.live[j] - paid_twice(i) > threshold) continue;
        parent[j] = i;
        return true;
    }
    return false;
}

/// Tries to reach a candidate with as few blocks as can be; whether that ends a plan.
bool IdealGraph::Scan::reach(std::int32_t j) {
    const auto rest = total - c.work[j] + c.live[j];
    const auto before = static_cast<std::int32_t>(layers.size());
    for (auto used = static_cast<std::int32_t>(first); used < before; ++used) {
        // With one block more before it, j needs no more than this many behind it.
        const auto left = k - used - 1;
        if (rest > static_cast<Wide>(threshold) * left) return false;
        if (!reach_from(layers[used], j)) {
            const bool spent = layers[used].low == layers[used].reached.size();
            if (spent && used == static_cast<std::int32_t>(first)) ++first;
            continue;
        }
        if (used + 1 == before) layers.emplace_back();
        layers[used + 1].reached.push_back(j);
        if (rest > threshold) return false;
        k = used + 1;  // from now on only fewer blocks than those used + 2
        last = j;
        return true;
    }
    return false;
}

/// Visits all candidates; false when stopped.
bool IdealGraph::Scan::walk(Stop& stop) {
    layers.push_back({{0}, 0});  // the empty ideal comes first
    for (std::int32_t j = 1; j < static_cast<std::int32_t>(c.ideal.size()); ++j) {
        if (stop()) return false;
        const auto before = pairs;
        reach(j);
        mark(j, false);
        stop.spend(kPair * (pairs - before));
    }
    return true;
}

void IdealGraph::Scan::chain_to(std::int32_t at, std::vector<std::int32_t>& chain) const {
    chain.assign(1, static_cast<std::int32_t>(g.count() - 1));
    for (; at > 0; at = parent[at]) chain.push_back(c.ideal[at]);
    std::reverse(chain.begin(), chain.end());
}

Answer IdealGraph::decide_by_scan(std::int32_t k, Picoseconds threshold,
                                  std::vector<std::int32_t>& block, Stop& stop) {
    if (work_.back() <= threshold) {
        block.assign(static_cast<std::size_t>(instance_.n), 0);
        return Answer::yes;
    }
    Scan scan(*this, k, threshold);
    if (!scan.collect(stop)) return Answer::unknown;
    const bool whole = scan.walk(stop);
    pairs_ += scan.pairs;
    if (scan.last < 0) return whole ? Answer::no : Answer::unknown;
    std::vector<std::int32_t> chain;
    scan.chain_to(scan.last, chain);
    blocks_of_chain(chain, block);
    return Answer::yes;
}

}  // namespace stagewright
