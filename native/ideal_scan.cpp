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

#include "ideal_tree.hpp"
#include "ideals.hpp"

namespace stagewright {

namespace {

// Work, see Stop::spend: of each pair of ideals, of those whose sets are compared, of those whose live
// tensors are, and of each of these tensors.  Most pairs need the first only, but on wide graphs of costly
// tensors the last outweighs all others.
constexpr std::int64_t kPair = 3, kCompared = 4, kListed = 6, kTensor = 3, kLook = 6;
constexpr std::int64_t kCandidate = 300;     // work per ideal whose tensors are listed
constexpr std::int64_t kPlanted = 2000;      // work per ideal in a tree
constexpr std::int64_t kLong = 200'000'000;  // work of a pass from which on a tree pays
constexpr std::size_t kMostListed = std::size_t{1} << 25U;  // tensors in lists: 512 MiB
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
    Scan(IdealGraph& graph, std::int32_t k, std::int64_t tree_after = -1)
        : g_(graph),
          k_(k),
          tree_after_(tree_after),
          lists_(graph.lists_),
          total_(graph.work_.back()),
          missing_(static_cast<std::size_t>(graph.instance_.tensors()), 0) {}

    /// Takes all ideals that a plan of cost <= threshold may pass through; false when stopped, or when
    /// their tensors need too much memory.
    bool collect(Picoseconds threshold, Stop& stop);
    [[nodiscard]] bool too_large() const { return lists_->size() > kMostListed; }
    /// Begins to look for a plan, from the empty ideal or from V.
    void begin(bool forward);
    /// Goes on to look for one of cost <= threshold, which must not exceed those before.
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
    [[nodiscard]] std::int32_t beyond(const Candidate& from, bool forward) const;
    Answer sweep(bool forward, Stop& stop);
    bool reaches(std::int32_t i, std::int32_t j, bool forward);
    void plant(bool forward, Stop& stop);
    bool reach_from(Layer& layer, std::int32_t j, bool forward);
    void mark(std::int32_t j, bool on);
    [[nodiscard]] Picoseconds paid_twice(std::int32_t i) const;

    IdealGraph& g_;
    const std::int32_t k_;
    const std::int64_t tree_after_;
    const std::shared_ptr<LiveLists> lists_;
    const Picoseconds total_;
    Picoseconds threshold_ = 0;
    std::vector<Candidate> all_;          // by increasing work; the empty ideal first, V last
    std::vector<std::int32_t> parent_;    // the candidate one block nearer to the start
    std::vector<std::int32_t> distance_;  // blocks from the start; k + 1 where it is not reached
    std::vector<Layer> layers_;
    std::unique_ptr<IdealTree> tree_;    // of all_, once the pass has taken long
    std::int64_t spent_ = 0;             // work of the pass without it
    std::int32_t step_ = 1;              // the candidate in turn, from the start
    std::int32_t layer_ = 0, unit_ = 0;  // in turn, of the tree
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
        lists_->make(ideal, window);
        all_.push_back({ideal, {before, behind}, g_.work_[ideal], g_.live_[ideal], window});
    };
    add(0, 0, 1);
    for (const auto i : g_.by_work_) {
        const auto live = g_.live_[i];
        if (i == 0 || whole < static_cast<Wide>(total_) + 2 * live) continue;
        const auto before = ceil_div(g_.work_[i] + live, unit);
        const auto behind = ceil_div(total_ - g_.work_[i] + live, unit);
        if (before + behind > k_) continue;
        stop.spend(kCandidate);
        if (too_large() || stop()) return false;
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
    for (const auto& live : lists_->of(all_[j].ideal))
        missing_[live.tensor] = on ? live.missing : 0;
}

/// What the marked candidate and i, one within the other, count together but no block between pays.
Picoseconds IdealGraph::Scan::paid_twice(std::int32_t i) const {
    Picoseconds twice = 0;
    for (const auto& [tensor, left, cost] : lists_->of(all_[i].ideal))
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
        work_ += kListed + kTensor * static_cast<std::int64_t>(lists_->of(all_[i].ideal).size());
        if (work + from.live + to.live - paid_twice(i) > threshold_) continue;
        parent_[j] = i;
        return true;
    }
    return false;
}

/// At least so many blocks are beyond a candidate.
std::int32_t IdealGraph::Scan::beyond(const Candidate& from, bool forward) const {
    const auto rest = forward ? total_ - from.work : from.work;
    return std::max(from.fewest[forward ? kBehind : kBefore],
                    ceil_div(rest + from.live, threshold_));
}

/// From now on looks for what is not reached yet by sweeps over a tree of all candidates.
void IdealGraph::Scan::plant(bool forward, Stop& stop) {
    std::vector<IdealTree::Item> items;
    items.reserve(all_.size());
    for (const auto& one : all_) items.push_back({one.window, one.work, lists_->of(one.ideal)});
    tree_ = std::make_unique<IdealTree>(g_.instance_, items, stop);
    if (!tree_->whole()) {
        tree_.reset();
        return;
    }
    const auto candidates = static_cast<std::int32_t>(all_.size());
    for (std::int32_t step = 0; step < candidates; ++step) {
        const auto j = forward ? step : candidates - 1 - step;
        if (distance_[j] <= k_)
            tree_->reach(j, distance_[j]);
        else if (step <= step_)
            tree_->close(j);
    }
    work_ += kPlanted * candidates;
    layer_ = unit_ = 0;
}

/// Whether a block of cost <= threshold leads from i to j.
bool IdealGraph::Scan::reaches(std::int32_t i, std::int32_t j, bool forward) {
    const auto &from = all_[i], &to = all_[j];
    ++pairs;
    mark(j, true);
    const auto cost = std::abs(to.work - from.work) + from.live + to.live - paid_twice(i);
    mark(j, false);
    return cost <= threshold_ &&
           (forward ? contains(to.window, from.window) : contains(from.window, to.window));
}

Answer IdealGraph::Scan::sweep(bool forward, Stop& stop) {
    const auto goal = end(forward);
    for (; layer_ < k_ && distance_[goal] > k_; ++layer_, unit_ = 0) {
        if (unit_ == 0)
            for (std::size_t j = 0; j < all_.size(); ++j)
                if (const auto item = static_cast<std::int32_t>(j);
                    tree_->is_open(item) && layer_ + 1 + beyond(all_[j], forward) > k_)
                    tree_->close(item);
        for (; unit_ < tree_->units(); ++unit_) {
            if (stop()) return Answer::unknown;
            const auto looks = tree_->looks;
            tree_->sweep(unit_, layer_, threshold_, forward, [&](std::int32_t j, std::int32_t i) {
                if (!reaches(i, j, forward)) return false;
                parent_[j] = i;
                distance_[j] = layer_ + 1;
                return true;
            });
            stop.spend(kLook * (tree_->looks - looks));
        }
    }
    if (distance_[goal] > k_) return Answer::no;
    // What no sweep reached is further away than all that were made.
    for (std::size_t j = 0; j < all_.size(); ++j)
        if (tree_->is_open(static_cast<std::int32_t>(j))) distance_[j] = layer_ + 1;
    return Answer::yes;
}

/// Tries to reach a candidate with as few blocks as can be.
void IdealGraph::Scan::reach(std::int32_t j, bool forward) {
    const auto least = beyond(all_[j], forward);
    const auto reached = static_cast<std::int32_t>(layers_.size());
    for (auto used = static_cast<std::int32_t>(first_); used < reached; ++used) {
        if (used + 1 + least > k_) return;
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

void IdealGraph::Scan::begin(bool forward) {
    const auto start = end(!forward);
    parent_.assign(all_.size(), -1);
    distance_.assign(all_.size(), k_ + 1);
    distance_[start] = 0;
    layers_.assign(1, {{start}, 0});
    first_ = 0;
    tree_.reset();
    spent_ = 0;
    step_ = 1;
}

Answer IdealGraph::Scan::pass(Picoseconds threshold, bool forward, Stop& stop) {
    threshold_ = std::max<Picoseconds>(threshold, 1);
    const auto candidates = static_cast<std::int32_t>(all_.size());
    if (threshold < 1) return Answer::no;
    const auto tree_after = tree_after_ >= 0 ? tree_after_ : std::max(kLong, kPlanted * candidates);
    for (; !tree_ && step_ < candidates; ++step_) {
        if (stop()) return Answer::unknown;
        const auto j = forward ? step_ : candidates - 1 - step_;
        reach(j, forward);
        mark(j, false);
        spent_ += work_;
        if (spent_ >= tree_after) plant(forward, stop);
        stop.spend(std::exchange(work_, 0));
    }
    if (tree_) return sweep(forward, stop);
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
    scan.begin(true);
    const auto answer = scan.pass(threshold, true, stop);
    pairs_ += scan.pairs;
    if (answer == Answer::yes) blocks_of_chain(scan.chain(true), block);
    return answer;
}

IdealGraph::Optimum IdealGraph::optimum(std::int32_t k, Picoseconds lower, Picoseconds guess,
                                        Picoseconds upper, Stop& stop) {
    return IdealPursuit(*this, k).go_on(lower, guess, upper, stop);
}

IdealPursuit::IdealPursuit(IdealGraph& graph, std::int32_t k, std::int64_t tree_after)
    : graph_(graph), k_(k), tree_after_(tree_after) {}
IdealPursuit::~IdealPursuit() = default;

/// Most often the incumbent is optimal, so it asks just below it, and halves when it was not.
Picoseconds IdealPursuit::next_threshold() {
    if (from_top_) return upper_ - 1;
    if (found_) return lower_ + (upper_ - lower_) / 2;
    const auto threshold = std::min(upper_ - 1, std::max(guess_, lower_));
    guess_ = threshold + step_;
    step_ *= 2;
    return threshold;
}

IdealGraph::Optimum IdealPursuit::go_on(Picoseconds lower, Picoseconds guess, Picoseconds upper,
                                        Stop& stop) {
    IdealGraph::Optimum best{lower, upper, {}};
    if (graph_.work_.back() < upper) {
        best.upper = graph_.work_.back();
        best.block.assign(static_cast<std::size_t>(graph_.instance_.n), 0);
    }
    if (!started_) {
        started_ = true;
        graph_.prepare_questions();
        scan_ = std::make_unique<IdealGraph::Scan>(graph_, k_, tree_after_);
        guess_ = guess;
        from_top_ = guess >= best.upper - 1;
        step_ = std::max<Picoseconds>(1, guess / kFirstStep);
    }
    lower_ = std::max(lower_, lower);
    upper_ = best.upper;
    std::vector<std::int32_t> chain;
    while (lower_ < upper_) {
        if (!asking_) {
            threshold_ = next_threshold();
            collected_ = collected_ && found_;
            asking_ = true;
            if (collected_) scan_->begin(forward_);
        }
        threshold_ = std::min(threshold_, upper_ - 1);
        if (!collected_) {
            if (!scan_->collect(threshold_, stop)) {
                too_large_ = scan_->too_large();
                break;
            }
            collected_ = true;
            scan_->begin(forward_);
        }
        const auto answer = scan_->pass(threshold_, forward_, stop);
        if (answer == Answer::unknown) break;
        asking_ = false;
        if (answer == Answer::no) {
            lower_ = std::max(lower_, threshold_ + 1);
            from_top_ = upper_ - lower_ < upper_ / kClose;
            continue;
        }
        // Thresholds may have sunk while it looked, so the plan need not be better.
        const auto cost = scan_->cost(forward_);
        if (cost < upper_) {
            upper_ = cost;
            chain = scan_->chain(forward_);
        }
        found_ = true;
        from_top_ = false;
        scan_->keep(forward_, upper_);
        forward_ = !forward_;
    }
    graph_.pairs_ += std::exchange(scan_->pairs, 0);
    best.lower = std::min(lower_, upper_);
    best.upper = upper_;
    if (!chain.empty()) graph_.blocks_of_chain(chain, best.block);
    return best;
}

}  // namespace stagewright
