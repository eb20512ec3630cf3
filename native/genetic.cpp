// SPDX-License-Identifier: Apache-2.0
#include "genetic.hpp"

#include <algorithm>
#include <atomic>
#include <future>

#include "orders.hpp"
#include "priorities.hpp"
#include "slicing.hpp"

namespace stagewright {

namespace {

constexpr Picoseconds kForever = std::numeric_limits<Picoseconds>::max();

/// Judges orders; one per thread.
class Judge {
   public:
    Judge(const Instance& instance, std::int32_t k, Picoseconds lower)
        : instance_(instance), k_(k), lower_(lower), decoder_(instance), slicer_(instance) {}

    /// The optimum of the order if it is below `bound`, else kForever.
    Picoseconds below(std::span<const Node> order, Picoseconds bound) {
        if (bound <= lower_) return kForever;
        const auto upper = bound == kForever ? kForever : bound - 1;
        const auto value = slicer_.optimum(order, k_, lower_, upper, block_);
        if (value > upper) return kForever;
        ++optima_;
        return value;
    }
    Picoseconds below(std::span<const Key> keys, Picoseconds bound) {
        decoder_.decode(keys, order_);
        return below(order_, bound);
    }

    /// Of the last order that was below its bound.
    [[nodiscard]] const std::vector<std::int32_t>& block() const { return block_; }
    [[nodiscard]] std::int64_t optima() const { return optima_; }
    [[nodiscard]] Picoseconds lower() const { return lower_; }

   private:
    const Instance& instance_;
    std::int32_t k_;
    Picoseconds lower_;
    PriorityDecoder decoder_;
    Slicer slicer_;
    std::vector<Node> order_;
    std::vector<std::int32_t> block_;
    std::int64_t optima_ = 0;
};

class Island {
   public:
    Island(const Instance& instance, const GeneticSettings& settings, std::uint64_t seed)
        : settings_(settings),
          n_(static_cast<std::size_t>(instance.n)),
          random_(seed),
          keys_(n_ * (2 * settings.population - settings.elites)) {
        for (std::int32_t i = 0; i < settings.population; ++i) newcomers_.push_back(i);
        for (auto i = settings.population; i < 2 * settings.population - settings.elites; ++i)
            spare_.push_back(i);
    }

    /// Puts an order into the first generation; what is left of it is drawn.
    void add(std::span<const Node> order) { keys_of_order(order, keys(newcomers_[given_++])); }

    /// Lives through so many generations; returns early when told or when nothing is left to win.
    template <class Halt>
    void advance(Judge& judge, std::int32_t generations, Halt halted) {
        for (; generations > 0 && best_ > judge.lower(); --generations) {
            if (first_) {
                for (auto i = given_; i < newcomers_.size(); ++i) draw(keys(newcomers_[i]));
            } else {
                breed();
            }
            if (!select(judge, halted)) return;
            first_ = false;
        }
    }

    /// Takes a copy of another island's member into the elite if it beats the worst there.
    void admit(Picoseconds cost, std::span<const Key> from) {
        if (cost >= elite_.back().cost) return;
        for (const auto& e : elite_)
            if (e.cost == cost && std::ranges::equal(keys(e.slot), from)) return;
        const auto slot = elite_.back().slot;
        elite_.pop_back();
        std::ranges::copy(from, keys(slot).begin());
        insert({cost, slot});
    }

    struct Member {
        Picoseconds cost;
        std::int32_t slot;
    };
    /// The best members, best first; of equal ones the older comes first.
    [[nodiscard]] const std::vector<Member>& elite() const { return elite_; }
    [[nodiscard]] std::span<Key> keys(std::int32_t slot) {
        return std::span(keys_).subspan(n_ * static_cast<std::size_t>(slot), n_);
    }
    [[nodiscard]] Picoseconds best() const { return best_; }
    [[nodiscard]] const std::vector<std::int32_t>& block() const { return block_; }
    [[nodiscard]] std::int64_t evaluations() const { return evaluations_; }
    [[nodiscard]] std::int64_t decoded() const { return decoded_; }

   private:
    void draw(std::span<Key> keys) {
        for (auto& key : keys) key = static_cast<Key>(random_.next() >> 32U);
    }

    void cross(std::span<const Key> elite, std::span<const Key> other, std::span<Key> child) {
        std::uint64_t bits = 0;
        for (std::size_t i = 0; i < n_; ++i, bits >>= 16U) {
            if (i % 4 == 0) bits = random_.next();
            child[i] = (bits & 0xFFFFU) < settings_.bias ? elite[i] : other[i];
        }
    }

    /// Fills the newcomers of the next generation: children, then mutants.
    void breed() {
        newcomers_.swap(spare_);
        const auto children = newcomers_.size() - settings_.mutants;
        for (std::size_t i = 0; i < children; ++i) {
            const auto& parent = elite_[random_.below(static_cast<std::uint32_t>(elite_.size()))];
            const auto other = others_[random_.below(static_cast<std::uint32_t>(others_.size()))];
            cross(keys(parent.slot), keys(other), keys(newcomers_[i]));
        }
        for (auto i = children; i < newcomers_.size(); ++i) draw(keys(newcomers_[i]));
        spare_ = others_;
    }

    /// Finds the new elite among the old one and the newcomers; false when halted or done.  Judges one
    /// member whatever the clock says.
    template <class Halt>
    bool select(Judge& judge, Halt halted) {
        const auto full = static_cast<std::size_t>(settings_.elites);
        const auto survivors = elite_;
        evaluations_ += static_cast<std::int64_t>(survivors.size());
        for (const auto slot : newcomers_) {
            if (best_ != kForever && (halted() || best_ <= judge.lower())) return false;
            ++evaluations_;
            ++decoded_;
            const auto bound = elite_.size() < full ? kForever : elite_.back().cost;
            const auto cost = judge.below(keys(slot), bound);
            if (cost == kForever) continue;
            if (cost < best_) {
                best_ = cost;
                block_ = judge.block();
            }
            if (elite_.size() == full) elite_.pop_back();
            insert({cost, slot});
        }
        others_.clear();
        for (const auto& member : survivors) keep_other(member.slot);
        for (const auto slot : newcomers_) keep_other(slot);
        return true;
    }

    void insert(Member member) {
        const auto place = std::ranges::upper_bound(elite_, member.cost, {}, &Member::cost);
        elite_.insert(place, member);
    }

    void keep_other(std::int32_t slot) {
        if (std::ranges::find(elite_, slot, &Member::slot) == elite_.end()) others_.push_back(slot);
    }

    const GeneticSettings& settings_;
    std::size_t n_;
    Random random_;
    std::vector<Key> keys_;                        // one row of n per slot
    std::vector<std::int32_t> newcomers_, spare_;  // slots being filled, slots free to fill
    std::vector<std::int32_t> others_;             // slots of the members outside the elite
    std::vector<Member> elite_;
    bool first_ = true;
    std::size_t given_ = 0;
    Picoseconds best_ = kForever;
    std::vector<std::int32_t> block_;
    std::int64_t evaluations_ = 0, decoded_ = 0;
};

class Archipelago {
   public:
    Archipelago(const Instance& instance, std::int32_t k, Picoseconds lower,
                const GeneticSettings& settings, Stop& stop)
        : settings_(settings), lower_(lower), stop_(stop) {
        Random seeds(settings.seed);
        for (std::int32_t i = 0; i < settings.islands; ++i)
            islands_.emplace_back(instance, settings, seeds.next());
        for (std::int32_t i = 0; i < std::min(settings.threads, settings.islands); ++i)
            judges_.emplace_back(instance, k, lower);
    }

    std::vector<Island>& islands() { return islands_; }

    void run() {
        for (auto left = settings_.generations; left > 0 && !done();) {
            const auto generations =
                islands_.size() > 1 ? std::min(left, settings_.migration) : left;
            advance(generations);
            left -= generations;
            if (left > 0 && !done()) migrate();
        }
    }

    void report(Evolved& best) const {
        for (const auto& island : islands_) {
            best.evaluations += island.evaluations();
            best.decoded += island.decoded();
            if (island.best() >= best.bottleneck) continue;
            best.bottleneck = island.best();
            best.block = island.block();
        }
        for (const auto& judge : judges_) best.optima += judge.optima();
    }

   private:
    /// Whether to end the search; looked at between exchanges only, at the same points in every run.
    [[nodiscard]] bool done() const {
        return stopped_ || std::ranges::any_of(islands_, [&](const Island& island) {
                   return island.best() <= lower_;
               });
    }

    /// All islands live through so many generations, each on one thread at a time.
    void advance(std::int32_t generations) {
        std::atomic<std::size_t> next = 0;
        const auto work = [&](Judge& judge, auto halted) {
            for (auto i = next++; i < islands_.size(); i = next++)
                islands_[i].advance(judge, generations, halted);
        };
        std::vector<std::future<void>> others;
        for (std::size_t i = 1; i < judges_.size(); ++i)
            others.push_back(std::async(std::launch::async, [&, i] {
                work(judges_[i], [&] { return stopped_.load(std::memory_order_relaxed); });
            }));
        // Only this thread may ask for Ctrl-C, so it keeps asking until the others are done.
        work(judges_[0], [&] { return poll(); });
        for (auto& other : others) {
            while (other.wait_for(std::chrono::milliseconds(10)) != std::future_status::ready)
                poll();
            other.get();
        }
    }

    bool poll() {
        if (stop_.now()) stopped_ = true;
        return stopped_;
    }

    /// Each island sends its best to the next one; all leave before any arrives.
    void migrate() {
        struct Migrant {
            Picoseconds cost;
            std::vector<Key> keys;
        };
        std::vector<std::vector<Migrant>> leaving;
        for (auto& island : islands_) {
            auto& boat = leaving.emplace_back();
            for (const auto& member : island.elite()) {
                if (boat.size() == static_cast<std::size_t>(settings_.migrants)) break;
                const auto keys = island.keys(member.slot);
                boat.push_back({member.cost, {keys.begin(), keys.end()}});
            }
        }
        for (std::size_t i = 0; i < islands_.size(); ++i)
            for (const auto& migrant : leaving[i])
                islands_[(i + 1) % islands_.size()].admit(migrant.cost, migrant.keys);
    }

    const GeneticSettings& settings_;
    Picoseconds lower_;
    Stop& stop_;
    std::atomic<bool> stopped_ = false;
    std::vector<Island> islands_;
    std::vector<Judge> judges_;
};

void check(const GeneticSettings& s, std::size_t given) {
    const auto fail = [](const char* what) { throw std::invalid_argument(what); };
    if (s.elites < 1 || s.mutants < 0 || s.elites + s.mutants > s.population ||
        s.elites >= s.population)
        fail("genetic: expected 1 <= elites < population and elites + mutants <= population");
    if (s.generations < 1 || s.islands < 1 || s.migration < 1 || s.threads < 1)
        fail("genetic: generations, islands, migration and threads must be at least 1");
    if (s.migrants < 0 || s.bias > 65536) fail("genetic: migrants or bias out of range");
    if (given >= static_cast<std::size_t>(s.population))
        fail("genetic: more orders to start from than members less one");
}

/// An order that the plan `block` slices.
std::vector<Node> order_of_plan(const Instance& g, const std::vector<std::int32_t>& block) {
    std::vector<Node> order;
    guided_order(g, Guide::depth_first, order);
    std::ranges::stable_sort(order, {}, [&](Node v) { return block[v]; });
    return order;
}

Evolved incumbent(const Instance& g, const std::vector<std::int32_t>& start) {
    Evolved best;
    best.bottleneck = kForever;
    if (start.empty()) return best;
    best.block = start;
    best.bottleneck = std::ranges::max(block_costs(g, start, std::ranges::max(start) + 1));
    return best;
}

}  // namespace

Evolved evolve(const Instance& g, std::int32_t k, Picoseconds lower,
               const std::vector<std::int32_t>& start, const std::vector<std::vector<Node>>& orders,
               const GeneticSettings& settings, Stop& stop) {
    auto given = orders;
    if (!start.empty()) given.insert(given.begin(), order_of_plan(g, start));
    if (settings.guided)
        for (const auto guide : kGuides) guided_order(g, guide, given.emplace_back());
    check(settings, given.size());
    auto best = incumbent(g, start);
    if (best.bottleneck <= lower) return best;
    Archipelago archipelago(g, k, lower, settings, stop);
    for (auto& island : archipelago.islands())
        for (const auto& order : given) island.add(order);
    archipelago.run();
    archipelago.report(best);
    return best;
}

Evolved random_orders(const Instance& g, std::int32_t k, Picoseconds lower, std::int64_t count,
                      std::uint64_t seed, Stop& stop) {
    auto best = incumbent(g, {});
    Judge judge(g, k, lower);
    OrderMaker maker(g);
    Random random(seed);
    std::vector<Node> order;
    for (; best.evaluations < count && best.bottleneck > lower; ++best.evaluations) {
        if (stop.now() && best.evaluations > 0) break;
        maker.make(OrderKind::random, random, order);
        const auto value = judge.below(order, best.bottleneck);
        if (value >= best.bottleneck) continue;
        best.bottleneck = value;
        best.block = judge.block();
    }
    best.decoded = best.evaluations;
    best.optima = judge.optima();
    return best;
}

}  // namespace stagewright
