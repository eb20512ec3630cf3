// SPDX-License-Identifier: Apache-2.0
#include "local_search.hpp"

#include <algorithm>

#include "partition.hpp"
#include "random.hpp"
#include "window.hpp"

namespace stagewright {

namespace {

// Found by trial on wide and large instances.
constexpr std::int64_t kRoundPerNode = 40;       // moves of a round, per node ...
constexpr std::int64_t kShortestRound = 20'000;  // ... and at least
constexpr std::uint32_t kHeats = 8;              // a round starts at the heat, its half, ... 1/128
constexpr int kFirstDoublings = 3;               // powers 8 ...
constexpr int kLastDoublings = 5;                // ... to 32 while a round cools
constexpr std::size_t kLargestClosure = 64;
constexpr int kLongestChain = 12;
constexpr int kTries = 6;  // nodes looked at per link of a chain
constexpr std::int64_t kPerMove = 250, kPerStep = 300, kPerPin = 30;  // work, see Stop::spend

class LocalSearch {
   public:
    LocalSearch(const Instance& instance, std::int32_t k, Picoseconds lower,
                const LocalSearchLimits& limits, Stop& stop)
        : limits_(limits),
          lower_(lower),
          random_(limits.seed),
          stop_(stop),
          plan_(instance, k),
          penalty_(static_cast<std::size_t>(k)),
          seen_(static_cast<std::size_t>(instance.n), 0) {}

    void start_from(const std::vector<std::int32_t>& block) {
        best_block_ = block;
        plan_.assign(best_block_);
        best_value_ = bottleneck_ = plan_.bottleneck();
    }

    void run() {
        const auto n = static_cast<std::int64_t>(plan_.instance().n);
        const auto length = std::max(kShortestRound, kRoundPerNode * n);
        while (judged_ < limits_.moves && !done() && !stop_.now()) {
            const auto end = std::min(limits_.moves, judged_ + length);
            round(judged_, end);
            restore_best();
        }
    }

    [[nodiscard]] Incumbent take() {
        close_gaps(best_block_);
        return {best_value_, std::move(best_block_), judged_};
    }

   private:
    struct Step {
        Node node;
        std::int32_t from;
    };

    [[nodiscard]] bool done() const { return best_value_ <= lower_; }

    /// Cools from a heat drawn at random to none.
    void round(std::int64_t begin, std::int64_t end) {
        // In units of what a node of average work adds to the penalty of a block at the bottleneck.
        const auto unit = static_cast<double>((1 << kFirstDoublings) * plan_.blocks()) /
                          static_cast<double>(plan_.instance().n);
        const auto heat = limits_.heat * unit / (1U << random_.below(kHeats));
        int stage = -1;
        constexpr int kStages = 32;
        while (judged_ < end && !done() && !stop_()) {
            const auto now = static_cast<int>(kStages * (judged_ - begin) / (end - begin));
            if (now != stage) {
                stage = now;
                const auto left = 1 - static_cast<double>(stage) / (kStages - 1);
                steepness_ = {
                    static_cast<double>(best_value_),
                    kFirstDoublings + stage * (kLastDoublings - kFirstDoublings + 1) / kStages};
                for (std::int32_t b = 0; b < plan_.blocks(); ++b)
                    penalty_[b] = steepness_(plan_.cost(b));
                heat_ = heat * left * left;
            }
            stop_.spend(kPerMove);
            const auto die = random_.below(100);
            if (die < 84)
                move_one();
            else if (die < 92)
                move_closure();
            else if (die < 97)
                swap_two();
            else
                shift_along();
        }
    }

    /// A block to take a node from: half of the time the dearest of three.
    std::int32_t choose_block() {
        const auto k = static_cast<std::uint32_t>(plan_.blocks());
        auto b = static_cast<std::int32_t>(random_.below(k));
        if (random_.below(2) == 0) return b;
        for (int i = 0; i < 2; ++i) {
            const auto other = static_cast<std::int32_t>(random_.below(k));
            if (plan_.cost(other) > plan_.cost(b)) b = other;
        }
        return b;
    }

    Partition::Side choose_side(std::int32_t b) {
        if (b == 0) return Partition::kUp;
        if (b == plan_.blocks() - 1) return Partition::kDown;
        return random_.below(2) == 0 ? Partition::kDown : Partition::kUp;
    }

    /// A random node that may leave block b towards that side; -1 if there is none.
    Node choose_node(std::int32_t b, Partition::Side side) {
        const auto& row = plan_.border(b, side);
        if (row.empty()) return -1;
        return row[random_.below(static_cast<std::uint32_t>(row.size()))];
    }

    /// Mostly the neighbour block, now and then any block in the node's range.
    std::int32_t choose_target(Node v, Partition::Side side) {
        const auto b = plan_.block(v);
        const auto step = side == Partition::kUp ? 1 : -1;
        if (random_.below(8) != 0) return b + step;
        const auto end = side == Partition::kUp ? plan_.highest(v) : plan_.lowest(v);
        const auto room = static_cast<std::uint32_t>(step * (end - b));
        return b + step * static_cast<std::int32_t>(1 + random_.below(room));
    }

    void move_one() {
        ++judged_;
        const auto from = choose_block();
        const auto side = choose_side(from);
        const auto v = choose_node(from, side);
        if (v < 0 || plan_.blocks() == 1) return;
        const auto to = choose_target(v, side);
        const auto change = plan_.costs_after(v, to);
        const Picoseconds before[] = {plan_.cost(from), plan_.cost(to)};
        const Picoseconds after[] = {change.from, change.to};
        if (limits_.objective == Objective::lexicographic) {
            if (not_worse(before[0], before[1], after[0], after[1])) take_step(v, to);
            return;
        }
        const auto rise =
            steepness_(after[0]) + steepness_(after[1]) - penalty_[from] - penalty_[to];
        if (passes(rise)) take_step(v, to);
    }

    static bool not_worse(Picoseconds a, Picoseconds b, Picoseconds c, Picoseconds d) {
        return std::minmax(c, d, std::greater<>()) <= std::minmax(a, b, std::greater<>());
    }

    bool passes(double rise) {
        if (rise <= 0) return true;
        if (heat_ <= 0) return false;
        return rise < heat_ * static_cast<double>(random_.below(65536)) / 65536;
    }

    void take_step(Node v, std::int32_t to) {
        try_step(v, to);
        keep_trial();
    }

    // A trial: moves that are made one after the other, then kept or taken back together.
    void try_step(Node v, std::int32_t to) {
        for (const auto b : {plan_.block(v), to})
            if (std::none_of(touched_.begin(), touched_.end(),
                             [b](const auto& entry) { return entry.first == b; }))
                touched_.push_back({b, plan_.cost(b)});
        trial_.push_back({v, plan_.block(v)});
        plan_.move(v, to);
    }

    void judge_trial() {
        if (trial_.empty()) return;
        stop_.spend(kPerStep * static_cast<std::int64_t>(trial_.size()));
        bool good = false;
        if (limits_.objective == Objective::lexicographic) {
            before_.clear();
            after_.clear();
            for (const auto& [b, cost] : touched_) {
                before_.push_back(cost);
                after_.push_back(plan_.cost(b));
            }
            std::sort(before_.begin(), before_.end(), std::greater<>());
            std::sort(after_.begin(), after_.end(), std::greater<>());
            good = after_ <= before_;
        } else {
            double rise = 0;
            for (const auto& [b, cost] : touched_) rise += steepness_(plan_.cost(b)) - penalty_[b];
            good = passes(rise);
        }
        if (good)
            keep_trial();
        else
            drop_trial();
    }

    void drop_trial() {
        for (auto step = trial_.rbegin(); step != trial_.rend(); ++step)
            plan_.move(step->node, step->from);
        trial_.clear();
        touched_.clear();
    }

    void keep_trial() {
        bool falls = false;
        Picoseconds most = 0;
        for (const auto& [b, cost] : touched_) {
            falls |= cost == bottleneck_;
            most = std::max(most, plan_.cost(b));
            penalty_[b] = steepness_(plan_.cost(b));
        }
        if (most >= bottleneck_)
            bottleneck_ = most;
        else if (falls)
            bottleneck_ = plan_.bottleneck();
        if (bottleneck_ < best_value_) {
            best_value_ = bottleneck_;
            journal_.clear();
            best_is_saved_ = false;
        } else if (!best_is_saved_) {
            journal_.insert(journal_.end(), trial_.begin(), trial_.end());
            if (journal_.size() > 2 * best_block_.size() + 1000) save_best();
        }
        trial_.clear();
        touched_.clear();
    }

    void save_best() {
        best_block_ = plan_.assignment();
        for (auto step = journal_.rbegin(); step != journal_.rend(); ++step)
            best_block_[step->node] = step->from;
        journal_.clear();
        best_is_saved_ = true;
    }

    void restore_best() {
        if (!best_is_saved_) save_best();
        plan_.assign(best_block_);
        const auto& g = plan_.instance();
        stop_.spend(kPerPin * (g.n + static_cast<std::int64_t>(g.consumers.values.size())));
        bottleneck_ = best_value_;
    }

    /// A node goes to the neighbour block together with what keeps it from going alone.
    void move_closure() {
        ++judged_;
        const auto from = choose_block();
        const auto side = choose_side(from);
        const auto to = side == Partition::kUp ? from + 1 : from - 1;
        if (to < 0 || to >= plan_.blocks()) return;
        auto v = choose_node(from, side);
        if (v < 0) return;
        // Walk inwards a little, then take everything between there and the border.
        for (auto steps = 1 + random_.below(3); steps > 0; --steps) {
            const auto u = inner_neighbour(v, side);
            if (u < 0) break;
            v = u;
        }
        if (!gather_closure(v, side)) return;
        for (auto u = closure_.rbegin(); u != closure_.rend(); ++u) try_step(*u, to);
        judge_trial();
    }

    Node inner_neighbour(Node v, Partition::Side side) {
        const auto& g = plan_.instance();
        const auto row = side == Partition::kUp ? g.predecessors[v] : g.successors[v];
        if (row.empty()) return -1;
        const auto u = row[random_.below(static_cast<std::uint32_t>(row.size()))];
        return plan_.block(u) == plan_.block(v) ? u : -1;
    }

    /// v and all that follows it on that side in its block; false when that is too much.
    bool gather_closure(Node v, Partition::Side side) {
        const auto& g = plan_.instance();
        const auto own = plan_.block(v);
        ++now_;
        closure_.assign(1, v);
        seen_[v] = now_;
        for (std::size_t i = 0; i < closure_.size(); ++i) {
            const auto u = closure_[i];
            for (const auto w : side == Partition::kUp ? g.successors[u] : g.predecessors[u]) {
                if (plan_.block(w) != own || seen_[w] == now_) continue;
                if (closure_.size() == kLargestClosure) return false;
                seen_[w] = now_;
                closure_.push_back(w);
            }
        }
        return true;
    }

    /// A node of a block and one of the next change places.
    void swap_two() {
        ++judged_;
        if (plan_.blocks() == 1) return;
        const auto a = std::min(choose_block(), plan_.blocks() - 2);
        const auto up = choose_node(a, Partition::kUp);
        if (up < 0) return;
        const auto down = choose_node(a + 1, Partition::kDown);
        if (down < 0) return;
        try_step(up, a + 1);
        if (plan_.lowest(down) <= a) try_step(down, a);
        judge_trial();
    }

    /// From the dearest block on, each block that is too dear hands a node to the next.
    void shift_along() {
        ++judged_;
        if (plan_.blocks() == 1) return;
        auto at = choose_block();
        const auto side = choose_side(at);
        const auto step = side == Partition::kUp ? 1 : -1;
        const auto enough = std::max(lower_, bottleneck_ - 1);
        for (int link = 0; link < kLongestChain; ++link) {
            const auto to = at + step;
            if (to < 0 || to >= plan_.blocks()) break;
            Node chosen = -1;
            Picoseconds least = 0;
            for (int i = 0; i < kTries; ++i) {
                const auto v = choose_node(at, side);
                if (v < 0) break;
                const auto change = plan_.costs_after(v, to);
                // First that the block itself becomes cheap enough, then that the next stays so.
                const auto value = std::max(change.from, enough) - enough + change.to;
                if (chosen < 0 || value < least) {
                    chosen = v;
                    least = value;
                }
            }
            if (chosen < 0) break;
            ++judged_;
            try_step(chosen, to);
            if (plan_.cost(at) > enough || plan_.cost(to) <= enough) break;
            at = to;
        }
        judge_trial();
    }

    const LocalSearchLimits limits_;
    const Picoseconds lower_;
    Random random_;
    Stop& stop_;
    Partition plan_;
    Picoseconds bottleneck_ = 0, best_value_ = 0;
    Steepness steepness_;
    std::vector<double> penalty_;  // per block, at the current steepness
    double heat_ = 0;
    std::int64_t judged_ = 0;
    std::vector<Step> trial_;
    std::vector<std::pair<std::int32_t, Picoseconds>> touched_;  // block, cost before the trial
    std::vector<Picoseconds> before_, after_;
    // The best plan is best_block_ or, while that is not saved, the current one less the journal.
    std::vector<Step> journal_;
    std::vector<std::int32_t> best_block_;
    bool best_is_saved_ = true;
    std::vector<Node> closure_;
    std::vector<std::int64_t> seen_;
    std::int64_t now_ = 0;
};

}  // namespace

void close_gaps(std::vector<std::int32_t>& block) {
    const auto blocks = *std::max_element(block.begin(), block.end()) + 1;
    std::vector<std::int32_t> number(static_cast<std::size_t>(blocks), 0);
    for (const auto b : block) number[b] = 1;
    std::int32_t next = 0;
    for (auto& entry : number) entry = entry != 0 ? next++ : -1;
    for (auto& b : block) b = number[b];
}

Incumbent search_locally(const Instance& instance, std::int32_t k, Picoseconds lower,
                         const std::vector<std::int32_t>& start, const LocalSearchLimits& limits,
                         Stop& stop) {
    LocalSearch search(instance, std::min(k, instance.n), lower, limits, stop);
    search.start_from(start);
    search.run();
    return search.take();
}

}  // namespace stagewright
