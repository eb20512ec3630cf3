// SPDX-License-Identifier: Apache-2.0
// The decision without memory: pairs of ideals tested directly instead of walked through.
//
// For a threshold T, a plan of at most k blocks can pass through the ideal J only if
//     ceil((work(J) + live(J)) / T) + ceil((work(V \ J) + live(J)) / T) <= k,
// where live(J) is the cost of the tensors made in J and needed outside: each of them is sent by some
// block before J's boundary and received by some block behind it.  Few ideals pass.  Among those,
//     f(J \ I) = work(J) - work(I) + live(I) + live(J) - sum over t live at both of c(t) * (1 + [no
//                consumer of t in J \ I])
// needs the two lists of live tensors only.  Layer by layer (ideals reached by 1, 2, ... blocks), each
// ideal not yet reached looks for one ideal of the layer that reaches it; a hit ends its search.
#include <algorithm>
#include <numeric>

#include "ideals.hpp"

namespace stagewright {

namespace {

constexpr std::int64_t kPair = 8;  // work per pair of ideals, see Stop::spend

/// A tensor made inside an ideal and needed outside, with the number of consumers still missing.
/// For I within J, equal numbers mean that no consumer lies in J \ I.
struct Live {
    Tensor tensor;
    std::int32_t missing;
    Picoseconds cost;
};

/// The ideals that a plan may pass through, by increasing work, with all that a pair test reads.
struct Candidates {
    std::vector<std::int32_t> ideal;
    std::vector<Picoseconds> work, live;
    std::vector<std::int64_t> live_start;
    std::vector<Live> live_list;
};

Picoseconds ceil_div(Picoseconds a, Picoseconds b) { return (a + b - 1) / b; }

/// Per word w of a bit set: tensors made before word w and used in it or behind it.
std::vector<std::vector<Tensor>> spanning_tensors(const Instance& g, std::int32_t words) {
    std::vector<std::vector<Tensor>> rows(static_cast<std::size_t>(words) + 1);
    for (Tensor t = 0; t < g.tensors(); ++t) {
        const auto users = g.consumers[t];
        const auto last = *std::max_element(users.begin(), users.end());
        for (auto w = (g.producer[t] >> 6) + 1; w <= last >> 6; ++w) rows[w].push_back(t);
    }
    return rows;
}

}  // namespace

struct IdealGraph::Scan {
    Scan(const IdealGraph& graph, std::int32_t k, Picoseconds threshold)
        : g(graph), k(k), threshold(threshold) {}

    bool collect(Stop& stop);
    void collect_live(const Window& window, const std::vector<std::vector<Tensor>>& spanning);
    [[nodiscard]] bool contains(std::int32_t outer, std::int32_t inner) const;
    [[nodiscard]] bool fits(std::int32_t inner, std::int32_t outer) const;
    bool reach_next_layer(const std::vector<std::int32_t>& layer, std::int32_t used,
                          std::vector<std::int32_t>& next, Stop& stop);

    const IdealGraph& g;
    const std::int32_t k;
    const Picoseconds threshold;
    Candidates c;
    std::vector<Window> windows;        // per candidate
    std::vector<std::int32_t> parent;   // candidate -> candidate one block before
    std::vector<std::int32_t> waiting;  // candidates not reached yet, by increasing work
    std::int64_t pairs = 0;
};

bool IdealGraph::Scan::collect(Stop& stop) {
    const auto& in = g.instance_;
    const auto all = g.count() - 1;
    const auto total = g.work_[all];
    const auto unit = std::max<Picoseconds>(threshold, 1);
    for (std::int64_t i = 0; i < all; ++i) {
        const auto before = ceil_div(g.work_[i] + g.live_[i], unit);
        const auto behind = ceil_div(total - g.work_[i] + g.live_[i], unit);
        if (i == 0 || before + behind <= k) c.ideal.push_back(static_cast<std::int32_t>(i));
    }
    std::stable_sort(c.ideal.begin(), c.ideal.end(),
                     [&](auto a, auto b) { return g.work_[a] < g.work_[b]; });
    c.live_start.push_back(0);
    const auto spanning = spanning_tensors(in, static_cast<std::int32_t>(g.words_));
    for (const auto i : c.ideal) {
        if (stop()) return false;
        c.work.push_back(g.work_[i]);
        c.live.push_back(g.live_[i]);
        windows.push_back(g.window(i));
        collect_live(windows.back(), spanning);
    }
    parent.assign(c.ideal.size(), -1);
    waiting.resize(c.ideal.size() - 1);
    return true;
}

/// Appends the tensors made inside an ideal and needed outside.  Those made in its full words and
/// used up there cannot be among them.
void IdealGraph::Scan::collect_live(const Window& w,
                                    const std::vector<std::vector<Tensor>>& spanning) {
    const auto& in = g.instance_;
    const auto inside = [&](Node v) {
        const auto word = v >> 6;
        if (word < w.first) return true;
        return word < w.end && ((w.words[word - w.first] >> (v & 63)) & 1U) != 0;
    };
    const auto begin = c.live_list.size();
    const auto consider = [&](Tensor t) {
        std::int32_t missing = 0;
        for (const auto u : in.consumers[t]) missing += inside(u) ? 0 : 1;
        if (missing > 0) c.live_list.push_back({t, missing, in.cost[t]});
    };
    for (const auto t : spanning[w.first]) consider(t);
    for (Node v = w.first << 6; v < std::min(in.n, w.end << 6); ++v)
        if (inside(v))
            for (const auto t : in.writes[v]) consider(t);
    std::sort(c.live_list.begin() + static_cast<std::ptrdiff_t>(begin), c.live_list.end(),
              [](const Live& a, const Live& b) { return a.tensor < b.tensor; });
    c.live_start.push_back(static_cast<std::int64_t>(c.live_list.size()));
}

/// Whether `outer` contains `inner`; only words where inner is neither full nor empty can differ.
bool IdealGraph::Scan::contains(std::int32_t outer, std::int32_t inner) const {
    const auto& a = windows[inner];
    const auto& b = windows[outer];
    if (b.first < a.first || b.end < a.end) return false;
    for (auto w = a.end - 1; w >= std::max(a.first, b.first); --w)
        if (a.words[w - a.first] & ~b.words[w - b.first]) return false;
    return true;
}

bool IdealGraph::Scan::fits(std::int32_t inner, std::int32_t outer) const {
    auto cost = c.work[outer] - c.work[inner] + c.live[inner] + c.live[outer];
    auto i = c.live_start[inner];
    auto j = c.live_start[outer];
    const auto i_end = c.live_start[inner + 1];
    const auto j_end = c.live_start[outer + 1];
    while (i < i_end && j < j_end) {
        const auto& a = c.live_list[i];
        const auto& b = c.live_list[j];
        if (a.tensor == b.tensor) {
            cost -= a.missing == b.missing ? 2 * a.cost : a.cost;
            ++i;
            ++j;
        } else if (a.tensor < b.tensor) {
            ++i;
        } else {
            ++j;
        }
    }
    return cost <= threshold;
}

/// Tries to reach every waiting candidate from the layer; those that no later layer can use are
/// dropped.  Returns false when stopped.
bool IdealGraph::Scan::reach_next_layer(const std::vector<std::int32_t>& layer, std::int32_t used,
                                        std::vector<std::int32_t>& next, Stop& stop) {
    const auto total = g.work_[g.count() - 1];
    const auto left = k - used - 1;  // blocks behind a candidate that is reached now
    std::size_t kept = 0;
    std::size_t low = 0,
                high = 0;  // layer[low .. high - 1] has work within T below the candidate's
    for (std::size_t w = 0; w < waiting.size(); ++w) {
        if (stop()) return false;
        const auto j = waiting[w];
        __extension__ using Wide = __int128;
        if (total - c.work[j] + c.live[j] > static_cast<Wide>(threshold) * left) continue;
        while (high < layer.size() && c.work[layer[high]] <= c.work[j]) ++high;
        while (low < high && c.work[j] - c.work[layer[low]] > threshold) ++low;
        bool reached = false;
        const auto before = pairs;
        for (auto s = high; s > low && !reached; --s) {
            const auto i = layer[s - 1];
            ++pairs;
            if (i == j || !contains(j, i) || !fits(i, j)) continue;
            parent[j] = i;
            next.push_back(j);
            reached = true;
        }
        if (!reached) waiting[kept++] = j;
        stop.spend(kPair * (pairs - before));
    }
    waiting.resize(kept);
    return true;
}

Answer IdealGraph::decide_by_scan(std::int32_t k, Picoseconds threshold,
                                  std::vector<std::int32_t>& block, Stop& stop) {
    const auto all = count() - 1;
    if (work_[all] <= threshold) {
        block.assign(static_cast<std::size_t>(instance_.n), 0);
        return Answer::yes;
    }
    Scan scan(*this, k, threshold);
    if (!scan.collect(stop)) return Answer::unknown;
    // Candidate of the empty ideal: the first of work 0, since sorting was stable.
    std::iota(scan.waiting.begin(), scan.waiting.end(), 1);
    std::vector<std::int32_t> layer{0}, next;
    for (std::int32_t used = 0; used < k && !layer.empty(); ++used) {
        for (const auto i : layer) {
            if (work_[all] - scan.c.work[i] + scan.c.live[i] > threshold) continue;
            std::vector<std::int32_t> chain{static_cast<std::int32_t>(all)};
            for (auto at = i; at > 0; at = scan.parent[at]) chain.push_back(scan.c.ideal[at]);
            std::reverse(chain.begin(), chain.end());
            blocks_of_chain(chain, block);
            pairs_ += scan.pairs;
            return Answer::yes;
        }
        if (used == k - 1) break;
        next.clear();
        if (!scan.reach_next_layer(layer, used, next, stop)) {
            pairs_ += scan.pairs;
            return Answer::unknown;
        }
        std::swap(layer, next);
    }
    pairs_ += scan.pairs;
    return Answer::no;
}

}  // namespace stagewright
