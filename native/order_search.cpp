// SPDX-License-Identifier: Apache-2.0
#include "order_search.hpp"

#include <algorithm>
#include <numeric>

#include "orders.hpp"
#include "slicing.hpp"

namespace stagewright {

namespace {

constexpr Picoseconds kForever = std::numeric_limits<Picoseconds>::max();
// Work per node and tensor used, see Stop::spend.
constexpr std::int64_t kPerOrder = 10, kPerPass = 15;

class OrderSearch {
   public:
    OrderSearch(const Instance& instance, std::int32_t k, Picoseconds lower, std::uint64_t seed)
        : instance_(instance),
          k_(k),
          lower_(lower),
          random_(seed),
          maker_(instance),
          slicer_(instance) {}

    void start_from(const std::vector<std::int32_t>& block) {
        maker_.make(OrderKind::depth_first, random_, order_);
        std::stable_sort(order_.begin(), order_.end(),
                         [&](Node a, Node b) { return block[a] < block[b]; });
        const auto blocks = *std::max_element(block.begin(), block.end()) + 1;
        const auto costs = block_costs(instance_, block, blocks);
        best_.bottleneck = *std::max_element(costs.begin(), costs.end());
        best_.block = block;
        best_order_ = order_;
        improve_on(order_);
        drawn_ = 1;
    }

    void restart(Stop& stop) {
        static constexpr OrderKind kKinds[] = {OrderKind::depth_first,
                                               OrderKind::reversed_depth_first, OrderKind::random};
        maker_.make(kKinds[drawn_++ % 3], random_, order_);
        slice(order_, stop);
    }

    void slice(const std::vector<Node>& order, Stop& stop) {
        improve_on(order);
        account(stop);
    }

    void local_move(Stop& stop) {
        const auto n = static_cast<std::uint32_t>(order_.size());
        const std::uint32_t length =
            2 + random_.below(std::min<std::uint32_t>(n - 1, 1U << (1 + random_.below(7))));
        const std::uint32_t begin = random_.below(n - std::min(n - 1, length) + 1);
        order_ = best_order_;
        maker_.reshuffle(order_, begin, std::min(n, begin + length), random_);
        // Equal is accepted: it lets the order drift over plateaus.
        ++best_.evaluations;
        const auto blocks_needed = slicer_.pass(order_, best_.bottleneck, k_);
        account(stop);
        if (blocks_needed > k_) return;
        slicer_.blocks(order_, block_);
        const auto blocks = *std::max_element(block_.begin(), block_.end()) + 1;
        const auto costs = block_costs(instance_, block_, blocks);
        const auto cost = *std::max_element(costs.begin(), costs.end());
        best_order_ = order_;
        if (cost < best_.bottleneck) accept(cost);
        if (cost < best_.bottleneck || best_.bottleneck > lower_) improve_on(order_);
    }

    [[nodiscard]] bool done() const { return best_.bottleneck <= lower_; }
    [[nodiscard]] Incumbent take() { return std::move(best_); }

   private:
    void improve_on(const std::vector<Node>& order) {
        ++best_.evaluations;
        if (done()) return;
        const auto upper = best_.block.empty() ? kForever : best_.bottleneck - 1;
        // Asks "better than the best?" first; one pass says no.
        const auto cost = slicer_.optimum(order, k_, lower_, upper, block_);
        if (best_.block.empty() || cost < best_.bottleneck) {
            best_order_ = order;
            accept(cost);
        }
    }

    void account(Stop& stop) {
        const auto size = static_cast<std::int64_t>(instance_.n + instance_.reads.values.size());
        stop.spend(size * (kPerOrder + kPerPass * (slicer_.passes() - passes_)));
        passes_ = slicer_.passes();
    }

    void accept(Picoseconds cost) {
        best_.bottleneck = cost;
        best_.block = block_;
    }

    const Instance& instance_;
    std::int32_t k_;
    Picoseconds lower_;
    Random random_;
    OrderMaker maker_;
    Slicer slicer_;
    Incumbent best_{kForever, {}, 0};
    std::int64_t passes_ = 0, drawn_ = 0;
    std::vector<Node> order_, best_order_;
    std::vector<std::int32_t> block_;
};

}  // namespace

Incumbent search_orders(const Instance& instance, std::int32_t k, Picoseconds lower,
                        const std::vector<std::int32_t>& start, const OrderSearchLimits& limits,
                        Stop& stop, const std::vector<Node>& own) {
    OrderSearch search(instance, k, lower, limits.seed);
    if (!start.empty())
        search.start_from(start);
    else
        search.restart(stop);
    for (std::int64_t i = 1; i < limits.restarts && !search.done() && !stop.now(); ++i) {
        search.restart(stop);
        if (i == 1 && !own.empty() && !search.done() && !stop.now()) search.slice(own, stop);
    }
    if (instance.n > 1)
        for (std::int64_t i = 0; i < limits.local_moves && !search.done() && !stop.now(); ++i)
            search.local_move(stop);
    return search.take();
}

}  // namespace stagewright
