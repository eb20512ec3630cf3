// SPDX-License-Identifier: Apache-2.0
#include "corridor.hpp"

#include <algorithm>
#include <numeric>

#include "contraction.hpp"
#include "ideals.hpp"
#include "local_search.hpp"
#include "orders.hpp"
#include "partition.hpp"
#include "random.hpp"

namespace stagewright {

namespace {

constexpr std::size_t kMostFree = 64;     // nodes set free at one boundary
constexpr std::size_t kLargestMove = 32;  // nodes that one of them may carry along
constexpr std::size_t kSmallBlock = 64;   // of such a block every node is a candidate
constexpr int kDrawn = 96;                // of a larger one so many drawn at random
constexpr std::int64_t kMaxBytes = std::int64_t{1} << 28U;
constexpr int kMostQuestions = 10;
// Work, see Stop::spend.
constexpr std::int64_t kPerPin = 400, kPerNode = 500, kPerIdeal = 15;

/// Counts the ideals of at most 64 nodes, numbered topologically, up to a limit.
class SmallPoset {
   public:
    explicit SmallPoset(std::vector<std::uint64_t> before) : before_(std::move(before)) {}

    std::int64_t count(std::int64_t limit) {
        left_ = limit;
        extend(0, 0);
        return limit - left_;
    }

   private:
    void extend(std::uint64_t ideal, std::size_t from) {
        if (--left_ <= 0) return;
        for (auto v = from; v < before_.size() && left_ > 0; ++v)
            if ((before_[v] & ~ideal) == 0) extend(ideal | (std::uint64_t{1} << v), v + 1);
    }

    std::vector<std::uint64_t> before_;
    std::int64_t left_ = 0;
};

/// Where nodes may go: from block lo to block hi.
struct Range {
    std::int32_t lo, hi;
};

class CorridorSearch {
   public:
    CorridorSearch(const Instance& instance, std::int32_t k, Picoseconds lower,
                   const CorridorLimits& limits, Stop& stop)
        : g_(instance),
          k_(k),
          lower_(lower),
          limits_(limits),
          random_(limits.seed),
          stop_(stop),
          local_(static_cast<std::size_t>(instance.n), -1),
          position_(static_cast<std::size_t>(instance.n)) {
        std::vector<Node> order;
        OrderMaker(instance).make(OrderKind::depth_first, random_, order);
        for (std::size_t i = 0; i < order.size(); ++i)
            position_[order[i]] = static_cast<std::int32_t>(i);
    }

    CorridorFound run(const std::vector<std::int32_t>& start) {
        best_.block = start;
        close_gaps(best_.block);
        best_.bottleneck = value_of(best_.block);
        best_.width = std::min(limits_.first_width, limits_.last_width);
        std::int64_t failures = 0;
        for (std::int64_t i = 0; i < limits_.rounds && !done(); ++i) {
            if (divide_corridor()) {
                failures = 0;
            } else if (++failures >= limits_.patience) {
                if (best_.width >= limits_.last_width) break;
                best_.width = std::min(2 * best_.width, limits_.last_width);
                failures = 0;
            }
        }
        return std::move(best_);
    }

   private:
    [[nodiscard]] bool done() {
        return best_.exhaustive || best_.bottleneck <= lower_ || stop_.now();
    }

    [[nodiscard]] Picoseconds value_of(const std::vector<std::int32_t>& block) const {
        const auto costs = block_costs(g_, block, k_);
        return *std::max_element(costs.begin(), costs.end());
    }

    /// One corridor around the best plan; true when it held a better one.
    bool divide_corridor() {
        set_free();
        stop_.spend(kPerPin * (g_.n + static_cast<std::int64_t>(g_.consumers.values.size())));
        if (stop_.now()) return false;
        const auto clusters = number();
        const auto small = contract(g_, cluster_, clusters, corridor_edges());
        IdealGraph ideals(small, limits_.max_ideals, kMaxBytes, stop_);
        best_.evaluations += ideals.count();
        if (!ideals.complete()) return false;
        // Asks first just below the incumbent, then in growing steps.
        const auto before = best_.bottleneck;
        auto step = std::max<Picoseconds>(1, (best_.bottleneck - lower_) / 64);
        auto threshold = best_.bottleneck - 1;
        for (int question = 0; question < kMostQuestions && threshold >= lower_; ++question) {
            const auto answer = ideals.decide(k_, threshold, coarse_, stop_);
            if (answer == Answer::unknown) break;
            if (answer == Answer::no) {
                best_.exhaustive = everything_ && threshold == best_.bottleneck - 1;
                if (threshold >= best_.bottleneck - 1) break;
                step = std::max<Picoseconds>(1, step / 4);
            } else {
                take(coarse_);
                step *= 2;
            }
            threshold = best_.bottleneck - (answer == Answer::yes ? step : 1);
        }
        return best_.bottleneck < before;
    }

    void take(const std::vector<std::int32_t>& coarse) {
        for (Node v = 0; v < g_.n; ++v) best_.block[v] = coarse[cluster_[v]];
        close_gaps(best_.block);
        best_.bottleneck = value_of(best_.block);
    }

    /// Chooses the free nodes of every boundary.
    void set_free() {
        const auto blocks = *std::max_element(best_.block.begin(), best_.block.end()) + 1;
        range_.clear();
        for (const auto b : best_.block) range_.push_back({b, b});
        Partition plan(g_, std::max(blocks, 1));
        plan.assign(best_.block);
        nodes_.assign(static_cast<std::size_t>(blocks), {});
        for (Node v = 0; v < g_.n; ++v) nodes_[best_.block[v]].push_back(v);
        for (std::int32_t b = 0; b + 1 < blocks && !stop_(); ++b) free_boundary(plan, b);
        everything_ =
            std::all_of(range_.begin(), range_.end(), [](const Range& r) { return r.lo < r.hi; }) ||
            blocks == 1;
        if (everything_)
            for (auto& r : range_) r = {0, k_ - 1};
    }

    struct Candidate {
        double key;
        std::vector<Node> nodes;
    };

    /// Sets nodes between blocks b and b + 1 free until their ideals fill the width.
    void free_boundary(Partition& plan, std::int32_t b) {
        candidates_.clear();
        for (const auto side : {Partition::kUp, Partition::kDown})
            propose(plan, side == Partition::kUp ? b : b + 1, side);
        std::sort(candidates_.begin(), candidates_.end(), [](const auto& x, const auto& y) {
            return x.key < y.key || (x.key == y.key && x.nodes < y.nodes);
        });
        std::vector<Node> chosen;
        for (const auto& candidate : candidates_) {
            auto more = chosen;
            for (const auto v : candidate.nodes)
                if (std::find(more.begin(), more.end(), v) == more.end()) more.push_back(v);
            if (more.size() == chosen.size() || more.size() > kMostFree) continue;
            if (ideals_of(more) <= best_.width) chosen = std::move(more);
        }
        for (const auto v : chosen) {
            if (best_.block[v] == b)
                range_[v].hi = b + 1;
            else
                range_[v].lo = b;
        }
    }

    /// Candidates of one block: a node with all that must follow it across the boundary, judged by
    /// what carrying them over does to both blocks' costs, blurred at random.
    void propose(Partition& plan, std::int32_t b, Partition::Side side) {
        const auto& nodes = nodes_[b];
        const bool all = nodes.size() <= kSmallBlock;
        const auto& border = plan.border(b, side);
        const auto draws = all ? static_cast<int>(nodes.size()) : kDrawn;
        const auto other = side == Partition::kUp ? b + 1 : b - 1;
        for (int i = 0; i < draws; ++i) {
            auto v =
                all ? nodes[i] : border[random_.below(static_cast<std::uint32_t>(border.size()))];
            if (!all)
                for (auto steps = random_.below(3); steps > 0; --steps) {
                    const auto row = side == Partition::kUp ? g_.predecessors[v] : g_.successors[v];
                    if (row.empty()) break;
                    const auto u = row[random_.below(static_cast<std::uint32_t>(row.size()))];
                    if (plan.block(u) != b) break;
                    v = u;
                }
            Candidate candidate{0, {}};
            if (!gather(plan, v, side, candidate.nodes)) continue;
            const auto before = plan.cost(b) + plan.cost(other);
            Picoseconds work = 0;
            for (const auto u : candidate.nodes) {
                plan.move(u, other);
                work += g_.work[u];
            }
            const auto rise = plan.cost(b) + plan.cost(other) - before;
            for (const auto u : candidate.nodes) plan.move(u, b);
            stop_.spend(kPerNode * static_cast<std::int64_t>(candidate.nodes.size()));
            const auto blur = static_cast<double>(random_.below(1024)) / 1024;
            candidate.key = static_cast<double>(rise) / static_cast<double>(work + 1 + scale()) +
                            blur * static_cast<double>(random_.below(3));
            candidates_.push_back(std::move(candidate));
        }
    }

    [[nodiscard]] Picoseconds scale() const { return g_.total_work / g_.n; }

    bool gather(const Partition& plan, Node v, Partition::Side side, std::vector<Node>& nodes) {
        nodes.assign(1, v);
        for (std::size_t i = 0; i < nodes.size(); ++i)
            for (const auto u :
                 side == Partition::kUp ? g_.successors[nodes[i]] : g_.predecessors[nodes[i]]) {
                if (plan.block(u) != plan.block(v) ||
                    std::find(nodes.begin(), nodes.end(), u) != nodes.end())
                    continue;
                if (nodes.size() == kLargestMove) return false;
                nodes.push_back(u);
            }
        return true;
    }

    /// Ideals of the order induced on the nodes, or width + 1 if there are more.
    std::int64_t ideals_of(std::vector<Node> nodes) {
        std::sort(nodes.begin(), nodes.end(),
                  [&](Node a, Node b) { return position_[a] < position_[b]; });
        for (std::size_t i = 0; i < nodes.size(); ++i)
            local_[nodes[i]] = static_cast<std::int32_t>(i);
        std::vector<std::uint64_t> before(nodes.size(), 0);
        for (std::size_t i = 0; i < nodes.size(); ++i)
            for (const auto u : g_.predecessors[nodes[i]])
                if (local_[u] >= 0) before[i] |= std::uint64_t{1} << local_[u];
        for (const auto v : nodes) local_[v] = -1;
        const auto ideals = SmallPoset(std::move(before)).count(best_.width + 1);
        stop_.spend(kPerIdeal * ideals);
        return ideals;
    }

    /// One cluster per free node and one per block for the rest, numbered topologically.
    ///
    /// Along every edge lo and hi do not fall, and where both stay the edge is one of the graph
    /// (or within a block's rest); so sorting by lo + hi and position is topological.
    std::int32_t number() {
        core_.assign(static_cast<std::size_t>(k_), -1);
        std::vector<Node> first;  // of each cluster
        for (Node v = 0; v < g_.n; ++v) {
            const auto r = range_[v];
            if (r.lo < r.hi) {
                first.push_back(v);
            } else if (core_[r.lo] < 0) {
                core_[r.lo] = v;
                first.push_back(v);
            }
        }
        std::sort(first.begin(), first.end(), [&](Node a, Node b) {
            const auto x = range_[a].lo + range_[a].hi;
            const auto y = range_[b].lo + range_[b].hi;
            return x < y || (x == y && position_[a] < position_[b]);
        });
        cluster_.assign(static_cast<std::size_t>(g_.n), -1);
        for (std::size_t c = 0; c < first.size(); ++c)
            cluster_[first[c]] = static_cast<std::int32_t>(c);
        for (Node v = 0; v < g_.n; ++v)
            if (cluster_[v] < 0) cluster_[v] = cluster_[core_[range_[v].lo]];
        for (auto& v : core_)
            if (v >= 0) v = cluster_[v];  // from here on clusters
        free_.clear();
        for (const auto v : first)
            if (range_[v].lo < range_[v].hi) free_.push_back(v);
        return static_cast<std::int32_t>(first.size());
    }

    /// x before y wherever hi(x) <= lo(y): no boundary's corridor has y inside and x outside.  Written
    /// through the blocks' rests where there are any in between.
    std::vector<std::pair<std::int32_t, std::int32_t>> corridor_edges() {
        std::vector<std::pair<std::int32_t, std::int32_t>> edges;
        if (everything_) return edges;
        std::vector<std::vector<std::int32_t>> starting(static_cast<std::size_t>(k_));
        for (const auto v : free_) starting[range_[v].lo].push_back(cluster_[v]);
        std::int32_t last = -1;
        for (std::int32_t b = 0; b < k_; ++b) {
            if (core_[b] >= 0) {
                if (last >= 0) edges.push_back({last, core_[b]});
                last = core_[b];
            }
            if (last >= 0)
                for (const auto y : starting[b]) edges.push_back({last, y});
        }
        for (const auto v : free_) {
            auto b = range_[v].hi;
            for (; b < k_ && core_[b] < 0; ++b)
                for (const auto y : starting[b]) edges.push_back({cluster_[v], y});
            if (b < k_) edges.push_back({cluster_[v], core_[b]});
        }
        return edges;
    }

    const Instance& g_;
    std::int32_t k_;
    Picoseconds lower_;
    CorridorLimits limits_;
    Random random_;
    Stop& stop_;
    CorridorFound best_;
    std::vector<std::int32_t> local_, position_;
    std::vector<Range> range_;
    std::vector<std::vector<Node>> nodes_;  // per block
    std::vector<Candidate> candidates_;
    std::vector<std::int32_t> core_;  // per block: the cluster of its rest, or -1
    std::vector<std::int32_t> cluster_, coarse_;
    std::vector<Node> free_;
    bool everything_ = false;
};

}  // namespace

CorridorFound search_corridor(const Instance& instance, std::int32_t k, Picoseconds lower,
                              const std::vector<std::int32_t>& start, const CorridorLimits& limits,
                              Stop& stop) {
    return CorridorSearch(instance, std::min(k, instance.n), lower, limits, stop).run(start);
}

}  // namespace stagewright
