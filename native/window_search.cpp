// SPDX-License-Identifier: Apache-2.0
#include "window_search.hpp"

#include <algorithm>
#include <array>

#include "orders.hpp"
#include "random.hpp"
#include "window.hpp"
#include "window_maker.hpp"

namespace stagewright {

namespace {

/// A plan that is changed a few blocks at a time.
struct Draft {
    std::vector<std::vector<Node>> nodes;  // per block, in topological order
    std::vector<Picoseconds> cost;         // per block

    [[nodiscard]] Picoseconds bottleneck() const {
        return *std::max_element(cost.begin(), cost.end());
    }
};

/// How hard to look, and how many contracted nodes that allows; the latter is learned.
struct Effort {
    WindowLimits limits;
    double target;
};

class WindowSearch {
   public:
    WindowSearch(const Instance& instance, std::int32_t k, Picoseconds lower, std::uint64_t seed)
        : instance_(instance), k_(k), lower_(lower), random_(seed), maker_(instance) {
        OrderMaker(instance).make(OrderKind::depth_first, random_, order_);
        for (auto& levels : effort_)
            levels = {Effort{{300, 1'000}, 24}, {{1'000, 8'000}, 28}, {{4'000, 60'000}, 32}};
    }

    void start_from(const std::vector<std::int32_t>& block) {
        now_.nodes.assign(static_cast<std::size_t>(k_), {});
        for (const auto v : order_) now_.nodes[block[v]].push_back(v);
        now_.cost = block_costs(instance_, block, k_);
        best_ = now_;
        best_value_ = best_.bottleneck();
    }

    void round() {
        ++rounds_;
        if (++since_best_ > patience_) kick();
        improve_window();
        const auto value = now_.bottleneck();
        if (value >= best_value_) return;
        best_ = now_;
        best_value_ = value;
        since_best_ = 0;
    }

    [[nodiscard]] bool done() const { return best_value_ <= lower_; }

    [[nodiscard]] Incumbent take() const {
        Incumbent found{best_value_,
                        std::vector<std::int32_t>(static_cast<std::size_t>(instance_.n)), rounds_};
        std::int32_t number = 0;
        for (const auto& nodes : best_.nodes) {
            for (const auto v : nodes) found.block[v] = number;
            number += nodes.empty() ? 0 : 1;
        }
        return found;
    }

   private:
    void improve_window() {
        const auto width = choose_width();
        const auto first = choose_first(width);
        auto& effort = effort_[width - 2][random_.below(3)];
        const Steepness steepness{static_cast<double>(best_value_),
                                  2 + static_cast<int>(random_.below(4))};
        double penalty = 0;
        chosen_.clear();
        for (auto b = first; b < first + width; ++b) {
            penalty += steepness(now_.cost[b]);
            chosen_.push_back(&now_.nodes[b]);
        }
        static constexpr Taste kTastes[] = {Taste::heavy, Taste::any, Taste::far};
        if (!maker_.make(chosen_, static_cast<int>(effort.target), kTastes[random_.below(3)],
                         random_, window_))
            return;
        const auto& division =
            solver_.solve(window_, width, steepness, penalty, now_.bottleneck(), effort.limits);
        if (!division.complete)
            effort.target = std::max(6.0, effort.target - 0.5);
        else if (division.visits < effort.limits.visits / 2)
            effort.target = std::min<double>(Window::kMaxNodes, effort.target + 0.1);
        if (division.improved) apply(first, division);
    }

    std::int32_t choose_width() {
        const auto die = random_.below(20);
        return std::min<std::int32_t>(k_, die < 10 ? 2 : die < 16 ? 3 : 4);
    }

    std::int32_t choose_first(std::int32_t width) {
        const auto last = k_ - width;
        if (random_.below(2) == 0)
            return static_cast<std::int32_t>(random_.below(static_cast<std::uint32_t>(last) + 1));
        const auto worst = static_cast<std::int32_t>(
            std::max_element(now_.cost.begin(), now_.cost.end()) - now_.cost.begin());
        const auto shift =
            static_cast<std::int32_t>(random_.below(static_cast<std::uint32_t>(width)));
        return std::clamp(worst - shift, 0, last);
    }

    void apply(std::int32_t first, const Division& division) {
        std::array<std::vector<Node>, 4> fresh;
        const auto width = static_cast<std::int32_t>(division.ideals.size());
        for (std::int32_t b = first; b < first + width; ++b)
            for (const auto v : now_.nodes[b]) {
                std::size_t at = 0;
                while (((division.ideals[at] >> maker_.holder(v)) & 1U) == 0) ++at;
                fresh[at].push_back(v);
            }
        NodeSet before = 0;
        for (std::int32_t i = 0; i < width; ++i) {
            now_.nodes[first + i] = std::move(fresh[i]);
            now_.cost[first + i] =
                before == division.ideals[i] ? 0 : solver_.cost_between(before, division.ideals[i]);
            before = division.ideals[i];
        }
    }

    void kick() { since_best_ = 0; }

    const Instance& instance_;
    std::int32_t k_;
    Picoseconds lower_;
    Random random_;
    WindowMaker maker_;
    WindowSolver solver_;
    Window window_;
    std::vector<Node> order_;
    std::array<std::array<Effort, 3>, 3> effort_;  // per width and level
    std::vector<const std::vector<Node>*> chosen_;
    Draft now_, best_;
    Picoseconds best_value_ = 0;
    std::int64_t rounds_ = 0, since_best_ = 0, patience_ = 1'000'000;
};

}  // namespace

Incumbent search_windows(const Instance& instance, std::int32_t k, Picoseconds lower,
                         const std::vector<std::int32_t>& start, const WindowSearchLimits& limits,
                         Stop& stop) {
    WindowSearch search(instance, std::min(k, instance.n), lower, limits.seed);
    search.start_from(start);
    if (k > 1 && instance.n > 1)
        for (std::int64_t i = 0; i < limits.rounds && !search.done() && !stop.now(); ++i)
            search.round();
    return search.take();
}

}  // namespace stagewright
