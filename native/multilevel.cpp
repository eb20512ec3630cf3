// SPDX-License-Identifier: Apache-2.0
#include "multilevel.hpp"

#include <algorithm>
#include <memory>
#include <utility>

#include "contraction.hpp"
#include "local_search.hpp"
#include "random.hpp"
#include "window_search.hpp"

namespace stagewright {

namespace {

// Found by trial on wide and large instances.
constexpr std::int32_t kNodesPerBlock = 24;  // at the coarsest level, times 1, 2 or 4
constexpr std::int32_t kFewestNodes = 160;
constexpr std::int32_t kClustersPerBlock = 8;  // no cluster is heavier than a block by so many
constexpr std::int64_t kPatience = 3;          // cycles of a run without success
constexpr std::int64_t kFewestMoves = 40'000;  // of the local search on a level
constexpr double kHeat = 8;                    // of the local search
constexpr double kStuck = 0.95;                // a level must be this much smaller than the last
constexpr std::int64_t kWindowNodes = 600;     // nodes of a block up to which windows pay
constexpr std::int64_t kPerPin = 500;          // work of contraction, see Stop::spend

struct Level {
    Instance instance;
    std::vector<std::int32_t> cluster;  // node of the finer level -> node of this one
};

class Multilevel {
   public:
    Multilevel(const Instance& instance, std::int32_t k, Picoseconds lower,
               const MultilevelLimits& limits, Stop& stop)
        : finest_(instance),
          k_(k),
          lower_(lower),
          limits_(limits),
          random_(limits.seed),
          stop_(stop) {}

    void cycle(Incumbent& best) {
        auto plan = best.block;
        levels_.clear();
        coarsen(plan);
        plan = solve_coarsest(plan, best.evaluations);
        refine(plan, best.evaluations);
        const auto value = bottleneck(finest_, plan);
        if (!best.block.empty() && value > best.bottleneck) return;
        best.bottleneck = value;
        best.block = std::move(plan);
    }

   private:
    [[nodiscard]] const Instance& instance(std::size_t level) const {
        return level == 0 ? finest_ : levels_[level - 1]->instance;
    }

    Picoseconds bottleneck(const Instance& g, const std::vector<std::int32_t>& block) const {
        const auto costs = block_costs(g, block, k_);
        return *std::max_element(costs.begin(), costs.end());
    }

    /// Builds the levels; `plan`, if there is one, follows to the coarsest.
    void coarsen(std::vector<std::int32_t>& plan) {
        const auto per_block = kNodesPerBlock << random_.below(3);
        const auto target = static_cast<std::int32_t>(
            std::max<std::int64_t>(kFewestNodes, std::int64_t{k_} * per_block));
        const auto most = std::max<Picoseconds>(1, finest_.total_work / k_ / kClustersPerBlock);
        bool unrelated = false;
        while (instance(levels_.size()).n > target && !stop_.now()) {
            const auto& fine = instance(levels_.size());
            stop_.spend(kPerPin *
                        (fine.n + static_cast<std::int64_t>(fine.consumers.values.size())));
            std::vector<std::int32_t> cluster;
            const auto count =
                Coarsener::pair_up(fine, plan, most, target, unrelated, random_, cluster);
            if (count > kStuck * fine.n) {
                if (unrelated) break;
                unrelated = true;
                continue;
            }
            auto level = std::make_unique<Level>();
            level->instance = contract(fine, cluster, count);
            if (!plan.empty()) {
                std::vector<std::int32_t> coarse(static_cast<std::size_t>(count));
                for (std::size_t v = 0; v < plan.size(); ++v) coarse[cluster[v]] = plan[v];
                plan = std::move(coarse);
            }
            level->cluster = std::move(cluster);
            levels_.push_back(std::move(level));
        }
    }

    std::vector<std::int32_t> solve_coarsest(std::vector<std::int32_t> plan,
                                             std::int64_t& evaluations) {
        const auto& g = instance(levels_.size());
        if (plan.empty()) {
            const OrderSearchLimits orders{30, 300, random_.next()};
            auto found = search_orders(g, k_, lower_, {}, orders, stop_);
            evaluations += found.evaluations;
            plan = std::move(found.block);
        }
        if (stop_.now()) return plan;
        auto found = search_windows(g, k_, lower_, plan, {limits_.windows, random_.next()}, stop_);
        evaluations += found.evaluations;
        return std::move(found.block);
    }

    /// Carries the plan from the coarsest level to the finest and improves it on each.
    void refine(std::vector<std::int32_t>& plan, std::int64_t& evaluations) {
        for (auto level = levels_.size() + 1; level-- > 0;) {
            if (level < levels_.size()) {
                const auto& cluster = levels_[level]->cluster;
                std::vector<std::int32_t> fine(cluster.size());
                for (std::size_t v = 0; v < fine.size(); ++v) fine[v] = plan[cluster[v]];
                plan = std::move(fine);
            }
            if (stop_.now()) continue;
            const auto& g = instance(level);
            LocalSearchLimits limits;
            limits.moves = std::max(kFewestMoves, limits_.moves_per_node * g.n);
            limits.heat = kHeat;
            limits.seed = random_.next();
            auto found = search_locally(g, k_, lower_, plan, limits, stop_);
            evaluations += found.evaluations;
            plan = std::move(found.block);
            if (level == levels_.size() || g.n > kWindowNodes * k_ || stop_.now()) continue;
            const WindowSearchLimits windows{limits_.windows / 8, random_.next()};
            found = search_windows(g, k_, lower_, plan, windows, stop_);
            evaluations += found.evaluations;
            plan = std::move(found.block);
        }
    }

    const Instance& finest_;
    std::int32_t k_;
    Picoseconds lower_;
    MultilevelLimits limits_;
    Random random_;
    Stop& stop_;
    std::vector<std::unique_ptr<Level>> levels_;  // from fine to coarse, without the finest
};

}  // namespace

Incumbent search_levels(const Instance& instance, std::int32_t k, Picoseconds lower,
                        const std::vector<std::int32_t>& start, const MultilevelLimits& limits,
                        Stop& stop) {
    Incumbent best{0, start, 0};
    if (start.empty()) {
        // Something valid to fall back on when time runs out at once.
        best = search_orders(instance, k, lower, {}, {1, 0, limits.seed}, stop);
    } else {
        const auto costs = block_costs(instance, start, k);
        best.bottleneck = *std::max_element(costs.begin(), costs.end());
    }
    if (k == 1 || instance.n < 2) return best;
    Multilevel search(instance, std::min(k, instance.n), lower, limits, stop);
    // A run goes on from its own plan as long as that pays; the next starts afresh or from the best.
    Incumbent run = best;
    if (start.empty()) run.block.clear();
    bool fresh = !start.empty();
    for (std::int64_t i = 0, quiet = 0; i < limits.cycles && best.bottleneck > lower && !stop.now();
         ++i) {
        const bool first = run.block.empty();
        const auto before = run.bottleneck;
        search.cycle(run);
        quiet = first || run.bottleneck < before ? 0 : quiet + 1;
        best.evaluations += std::exchange(run.evaluations, 0);
        if (run.bottleneck < best.bottleneck) {
            best.bottleneck = run.bottleneck;
            best.block = run.block;
        }
        if (quiet < kPatience) continue;
        quiet = 0;
        run = {best.bottleneck, fresh ? std::vector<std::int32_t>{} : best.block, 0};
        fresh = !fresh;
    }
    return best;
}

}  // namespace stagewright
