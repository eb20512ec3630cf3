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

    [[nodiscard]] std::int32_t size() const { return static_cast<std::int32_t>(nodes.size()); }
    [[nodiscard]] std::int32_t worst() const {
        return static_cast<std::int32_t>(std::max_element(cost.begin(), cost.end()) - cost.begin());
    }
    [[nodiscard]] Picoseconds bottleneck() const { return cost[worst()]; }
};

/// How hard to look, and how many contracted nodes that allows; the latter is learned.
struct Effort {
    WindowLimits limits;
    double target;
};

// Found by trial on the wide instances; none of them matters by more than the noise between seeds,
// except that penalties from flat to steep take turns and that flat ones may exceed the bottleneck.
constexpr double kAnyPenalty = 1e200;
constexpr std::uint32_t kSteepnesses = 6;     // powers 1, 2, 4 .. 32
constexpr int kFlat = 2;                      // below so many doublings ...
constexpr double kFlatSlack = 0.01;           // ... a block may exceed the best bottleneck by this
constexpr std::uint32_t kPackPercent = 20;    // of the windows of three blocks and more
constexpr double kHomeSlack = 0.005;          // how much worse the next kick may start
constexpr std::int64_t kKicksUntilHome = 20;  // without success, then back to the best
constexpr double kFalsePrices = 0.5;          // at most so wrong, as a fraction
// Work, see Stop::spend.
constexpr std::int64_t kPerWindow = 20'000, kPerNode = 600, kPerVisit = 15;

class WindowSearch {
   public:
    WindowSearch(const Instance& instance, std::int32_t k, Picoseconds lower, std::uint64_t seed)
        : instance_(instance),
          k_(k),
          lower_(lower),
          random_(seed),
          maker_(instance),
          false_(instance) {
        OrderMaker(instance).make(OrderKind::depth_first, random_, order_);
        for (auto& levels : effort_)
            levels = {Effort{{300, 1'000}, 24}, {{1'000, 8'000}, 28}, {{4'000, 60'000}, 32}};
    }

    void start_from(const std::vector<std::int32_t>& block) {
        now_.nodes.assign(static_cast<std::size_t>(k_), {});
        for (const auto v : order_) now_.nodes[block[v]].push_back(v);
        std::erase_if(now_.nodes, [](const auto& nodes) { return nodes.empty(); });
        price(instance_);
        best_ = home_ = now_;
        best_value_ = home_value_ = least_ = best_.bottleneck();
    }

    void round(Stop& stop) {
        ++rounds_;
        const auto before = work_;
        if (++quiet_ > patience()) kick();
        improve_window(0, now_.size());
        stop.spend(work_ - before);
        const auto value = now_.bottleneck();
        if (value < least_) {
            least_ = value;
            quiet_ = 0;
        }
        if (value >= best_value_) return;
        best_ = home_ = now_;
        best_value_ = home_value_ = value;
        kicks_ = 0;
    }

    /// Nothing better is asked for, or blocks are too large for windows.
    [[nodiscard]] bool done() const { return best_value_ <= lower_ || refused_ > 100; }

    [[nodiscard]] Incumbent take() const {
        Incumbent found{best_value_,
                        std::vector<std::int32_t>(static_cast<std::size_t>(instance_.n)), rounds_};
        for (std::int32_t b = 0; b < best_.size(); ++b)
            for (const auto v : best_.nodes[b]) found.block[v] = b;
        return found;
    }

   private:
    /// Divides one window within blocks begin .. end - 1 anew.
    void improve_window(std::int32_t begin, std::int32_t end) {
        const auto width = choose_width(end - begin);
        const auto first = choose_first(begin, end - width, width);
        if (width > 2 && random_.below(100) < kPackPercent && pack(first, width)) return;
        divide(first, width, width + choose_spare(first, width));
    }

    /// Blocks that are not in use go where the bottleneck is.
    std::int32_t choose_spare(std::int32_t first, std::int32_t width) {
        const auto spare = std::min<std::int32_t>(2, k_ - now_.size());
        if (spare == 0) return 0;
        const auto worst =
            *std::max_element(now_.cost.begin() + first, now_.cost.begin() + first + width);
        if (worst < now_.bottleneck()) return 0;
        return 1 + static_cast<std::int32_t>(random_.below(static_cast<std::uint32_t>(spare)));
    }

    /// Does with a block less, if all stay below the best bottleneck.
    bool pack(std::int32_t first, std::int32_t width) {
        Picoseconds work = 0;
        for (auto b = first; b < first + width; ++b)
            for (const auto v : now_.nodes[b]) work += instance_.work[v];
        if (work > (width - 1) * (best_value_ - 1)) return false;
        return redivide(first, width, width - 1, {static_cast<double>(best_value_), 2}, kAnyPenalty,
                        best_value_ - 1);
    }

    void divide(std::int32_t first, std::int32_t width, std::int32_t blocks) {
        if (blocks < 2) return;
        const Steepness steepness{static_cast<double>(best_value_), choose_steepness()};
        double penalty = 0;
        for (auto b = first; b < first + width; ++b) penalty += steepness(now_.cost[b]);
        redivide(first, width, blocks, steepness, penalty, choose_ceiling(steepness.doublings));
    }

    bool redivide(std::int32_t first, std::int32_t width, std::int32_t blocks,
                  const Steepness& steepness, double penalty, Picoseconds most) {
        auto& effort = effort_[blocks - 2][choose_level()];
        chosen_.clear();
        work_ += kPerWindow;
        for (auto b = first; b < first + width; ++b) {
            chosen_.push_back(&now_.nodes[b]);
            work_ += kPerNode * static_cast<std::int64_t>(now_.nodes[b].size());
        }
        static constexpr Taste kTastes[] = {Taste::heavy, Taste::any, Taste::far};
        if (!maker_.make(chosen_, static_cast<int>(effort.target), kTastes[random_.below(3)],
                         random_, window_)) {
            ++refused_;
            return false;
        }
        refused_ = 0;
        const auto& division =
            solver_.solve(window_, blocks, steepness, penalty, most, effort.limits);
        work_ += kPerVisit * division.visits;
        if (!division.complete)
            effort.target = std::max(6.0, effort.target - 0.5);
        else if (division.visits < effort.limits.visits / 2)
            effort.target = std::min<double>(Window::kMaxNodes, effort.target + 0.1);
        if (division.improved) apply(first, width, division);
        return division.improved;
    }

    std::size_t choose_level() {
        const auto die = random_.below(100);
        return die < 60 ? 0 : die < 90 ? 1 : 2;
    }
    int choose_steepness() { return static_cast<int>(random_.below(kSteepnesses)); }
    Picoseconds choose_ceiling(int doublings) {
        const auto now = now_.bottleneck();
        if (doublings >= kFlat) return now;
        return std::max(
            now, static_cast<Picoseconds>(static_cast<double>(best_value_) * (1 + kFlatSlack)));
    }
    std::int32_t choose_width(std::int32_t most) {
        const auto die = random_.below(20);
        return std::min<std::int32_t>(most, die < 10 ? 2 : die < 16 ? 3 : 4);
    }

    std::int32_t choose_first(std::int32_t begin, std::int32_t last, std::int32_t width) {
        if (random_.below(2) == 0)
            return begin + static_cast<std::int32_t>(
                               random_.below(static_cast<std::uint32_t>(last - begin) + 1));
        const auto worst = now_.worst();
        const auto shift =
            static_cast<std::int32_t>(random_.below(static_cast<std::uint32_t>(width)));
        return std::clamp(worst - shift, begin, last);
    }

    void apply(std::int32_t first, std::int32_t width, const Division& division) {
        const auto blocks = division.ideals.size();
        std::vector<std::vector<Node>> fresh(blocks);
        for (std::int32_t b = first; b < first + width; ++b)
            for (const auto v : now_.nodes[b]) {
                std::size_t at = 0;
                while (((division.ideals[at] >> maker_.holder(v)) & 1U) == 0) ++at;
                fresh[at].push_back(v);
            }
        std::vector<Picoseconds> cost;
        NodeSet before = 0;
        for (const auto ideal : division.ideals) {
            if (ideal != before) cost.push_back(solver_.cost_between(before, ideal));
            before = ideal;
        }
        std::erase_if(fresh, [](const auto& nodes) { return nodes.empty(); });
        replace(now_.nodes, first, width, fresh);
        replace(now_.cost, first, width, cost);
    }

    template <class Rows>
    static void replace(Rows& rows, std::int32_t first, std::int32_t width, Rows& fresh) {
        rows.erase(rows.begin() + first, rows.begin() + first + width);
        rows.insert(rows.begin() + first, std::make_move_iterator(fresh.begin()),
                    std::make_move_iterator(fresh.end()));
    }

    [[nodiscard]] std::int64_t patience() const { return 50 + 10 * std::int64_t{k_}; }

    /// Leaves a local optimum: a few windows around one place under false prices.
    void kick() {
        quiet_ = 0;
        // A little worse is accepted, so that kicks add up; now and then all starts from the best.
        const auto slack = kHomeSlack * static_cast<double>(random_.below(1024)) / 1024;
        if (static_cast<double>(now_.bottleneck()) <=
            static_cast<double>(home_value_) * (1 + slack)) {
            home_ = now_;
            home_value_ = now_.bottleneck();
        } else {
            now_ = home_;
        }
        if (++kicks_ % kKicksUntilHome == 0) {
            now_ = home_ = best_;
            home_value_ = best_value_;
        }
        work_ += kPerNode / 10 * instance_.n;
        storm();
        least_ = now_.bottleneck();
    }

    void storm() {
        const auto strength = kFalsePrices * static_cast<double>(1 + random_.below(1024)) / 1024;
        falsify(instance_.work, false_.work, strength);
        falsify(instance_.cost, false_.cost, strength);
        maker_.price_by(false_);
        price(false_);
        const auto size = now_.size();
        const auto reach = std::min(size, 2 + static_cast<std::int32_t>(random_.below(5)));
        const auto centre =
            random_.below(2) == 0
                ? now_.worst()
                : static_cast<std::int32_t>(random_.below(static_cast<std::uint32_t>(size)));
        const auto left = std::clamp(centre - reach / 2, 0, size - reach);
        const auto right = size - left - reach;  // blocks may come and go in between
        const auto count =
            1 + static_cast<int>(random_.below(4 * static_cast<std::uint32_t>(reach)));
        for (int i = 0; i < count && now_.size() > left + right; ++i)
            improve_window(left, now_.size() - right);
        maker_.price_by(instance_);
        price(instance_);
    }

    void falsify(const std::vector<Picoseconds>& real, std::vector<Picoseconds>& wrong,
                 double strength) {
        for (std::size_t i = 0; i < real.size(); ++i) {
            const auto noise = strength * (static_cast<double>(random_.below(2048)) / 1024 - 1);
            wrong[i] = real[i] + static_cast<Picoseconds>(noise * static_cast<double>(real[i]));
        }
    }

    void price(const Instance& prices) {
        block_.resize(static_cast<std::size_t>(instance_.n));
        for (std::int32_t b = 0; b < now_.size(); ++b)
            for (const auto v : now_.nodes[b]) block_[v] = b;
        now_.cost = block_costs(prices, block_, now_.size());
    }

    const Instance& instance_;
    std::int32_t k_;
    Picoseconds lower_;
    Random random_;
    WindowMaker maker_;
    WindowSolver solver_;
    Window window_;
    std::vector<Node> order_;
    std::array<std::array<Effort, 3>, 8> effort_;  // per width and level
    std::vector<const std::vector<Node>*> chosen_;
    Draft now_, home_, best_;  // home: where kicks start from
    Picoseconds best_value_ = 0, home_value_ = 0;
    Picoseconds least_ = 0;  // since the last kick
    Instance false_;         // prices of a kick
    std::vector<std::int32_t> block_;
    std::int64_t work_ = 0;  // done so far
    std::int64_t rounds_ = 0, quiet_ = 0, kicks_ = 0, refused_ = 0;
};

}  // namespace

Incumbent search_windows(const Instance& instance, std::int32_t k, Picoseconds lower,
                         const std::vector<std::int32_t>& start, const WindowSearchLimits& limits,
                         Stop& stop) {
    WindowSearch search(instance, std::min(k, instance.n), lower, limits.seed);
    search.start_from(start);
    if (k > 1 && instance.n > 1)
        for (std::int64_t i = 0; i < limits.rounds && !search.done() && !stop.now(); ++i)
            search.round(stop);
    return search.take();
}

}  // namespace stagewright
