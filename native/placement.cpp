// SPDX-License-Identifier: Apache-2.0
// From each ideal I that some state reaches, walk through the ideals J above it, one node at a time, and
// keep the cost of the block J \ I on every type of device as nodes come and go.  Work and bytes only grow
// along a walk, so it turns back where no type can hold the block within the threshold.
//
// A state of an ideal is left out where the devices that it has left could not take the rest of the work, or those
// that it has used not the work so far.  With the work comes what crosses the ideal: each tensor with nodes on
// both sides is paid on either side by some block, unless that block is on a device that transfers for free,
// so a side without such devices pays for all of them.
#include "placement.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

#include "ideal_walk.hpp"
#include "placement_block.hpp"

namespace stagewright {

namespace {

constexpr std::int64_t kStep = 25;  // work per step of a walk and type, see Stop::spend

class Program {
   public:
    Program(const Placement& p, const IdealGraph& ideals, const PlacementQuestion& question,
            Stop& stop)
        : p_(p),
          ideals_(ideals),
          question_(question),
          below_(std::min(question.below, question.stage_below)),
          stop_(stop),
          states_(static_cast<std::size_t>(p.states)),
          value_(static_cast<std::size_t>(ideals.count()) * states_, kNever),
          came_(value_.size()),
          seen_(static_cast<std::size_t>(ideals.count()), -1),
          block_(p) {
        list_least_work();
        for (std::size_t t = 0; t < p_.producer.size(); ++t) {
            Picoseconds dearest = 0;
            for (const auto& type : p_.types)
                dearest = std::max({dearest, type.receive[t], type.send[t]});
            cut_total_ += dearest;
        }
        list_capacity();
    }

    PlacementPlan run() {
        PlacementPlan plan;
        value_[0] = 0;
        const auto last = ideals_.count() - 1;
        for (std::int64_t i = 0; i < last; ++i) {
            if (!begin(i)) continue;
            walk(i);
            if (stop_.now()) return plan;
        }
        plan.pairs = pairs_;
        const auto* ends = value_.data() + static_cast<std::size_t>(last) * states_;
        std::int64_t best = -1;
        for (std::int64_t s = 0; s < p_.states; ++s)
            if (ends[s] != kNever &&
                (best < 0 || std::pair(weight(s), ends[s]) < std::pair(weight(best), ends[best])))
                best = s;
        plan.answer = best < 0 ? Answer::no : Answer::yes;
        if (plan.answer == Answer::yes) {
            plan.value = ends[best];
            trace(last, static_cast<std::int32_t>(best), plan);
        }
        return plan;
    }

   private:
    [[nodiscard]] std::int64_t weight(std::int64_t state) const {
        return question_.weight.empty() ? 0 : question_.weight[static_cast<std::size_t>(state)];
    }

    /// A fraction of at most 1.
    struct Share {
        Picoseconds num, den;
        __extension__ using Wide = __int128;
        [[nodiscard]] Picoseconds of(Picoseconds time) const {
            return static_cast<Picoseconds>(static_cast<Wide>(time) * num / den);
        }
        bool operator<(const Share& other) const {
            return static_cast<Wide>(num) * other.den < static_cast<Wide>(other.num) * den;
        }
    };

    /// The devices on one side of an ideal.
    struct Side {
        Picoseconds capacity = 0;
        bool free = false;  // some of them may transfer for free

        void include(const Side& other, Picoseconds more, bool gratis) {
            capacity = std::max(capacity, other.capacity + more);
            free = free || other.free || gratis;
        }
        [[nodiscard]] bool takes(Picoseconds work, Picoseconds crossing) const {
            return work + (free ? 0 : crossing) <= capacity;
        }
    };

    /// The fewest picoseconds that each node, and the nodes behind each ideal, take on any type.
    void list_least_work() {
        const auto n = static_cast<std::size_t>(p_.n);
        least_.assign(n, kNever);
        Picoseconds all = 0;
        for (std::size_t v = 0; v < n; ++v) {
            for (const auto& type : p_.types)
                if (type.work[v] >= 0) least_[v] = std::min(least_[v], type.work[v]);
            if (least_[v] == kNever) least_[v] = 0;
            all += least_[v];
        }
        rest_.assign(static_cast<std::size_t>(ideals_.count()), 0);
        rest_[0] = all;
        for (std::int64_t i = 0; i < ideals_.count(); ++i) {
            const auto above = ideals_.above(i);
            const auto added = ideals_.added(i);
            for (std::size_t j = 0; j < above.size(); ++j)
                rest_[above[j]] = rest_[i] - least_[added[j]];
        }
    }

    /// The most least work that a device of each type can take below the threshold: where no node runs in less
    /// than 1 / r of its least work, load * r covers the least work of a stage, and r times what it transfers.
    void list_capacity() {
        std::vector<Picoseconds> of(p_.types.size(), 0);
        std::vector<char> free(p_.types.size(), 1);
        Share slowest{1, 1};
        for (std::size_t q = 0; q < p_.types.size(); ++q) {
            Share share{0, 1};
            for (std::size_t v = 0; v < least_.size(); ++v) {
                const auto work = p_.types[q].work[v];
                if (work > 0 && least_[v] > 0 && share < Share{least_[v], work})
                    share = {least_[v], work};
            }
            // No more than all there is, so that sums stay small.
            of[q] = std::min(share.of(below_ - 1), rest_[0] + cut_total_);
            const auto positive = [](Picoseconds price) { return price > 0; };
            const auto& type = p_.types[q];
            free[q] = std::none_of(type.receive.begin(), type.receive.end(), positive) &&
                      std::none_of(type.send.begin(), type.send.end(), positive);
            if (!free[q] && share < slowest) slowest = share;
        }
        list_crossing(free, slowest);
        left_.assign(states_, {});
        used_.assign(states_, {});
        for (auto t = p_.transitions.rbegin(); t != p_.transitions.rend(); ++t)
            left_[t->from].include(left_[t->to], of[t->type], free[t->type]);
        for (const auto& t : p_.transitions)
            used_[t.to].include(used_[t.from], of[t.type], free[t.type]);
    }

    /// What crosses each ideal costs each side at least, if no device there is free.
    void list_crossing(const std::vector<char>& free, Share slowest) {
        crossing_.assign(static_cast<std::size_t>(ideals_.count()), 0);
        if (p_.overlap || std::find(free.begin(), free.end(), 0) == free.end()) return;
        const auto tensors = p_.producer.size();
        std::vector<Picoseconds> price(tensors, kNever);
        for (std::size_t t = 0; t < tensors; ++t) {
            for (std::size_t q = 0; q < p_.types.size(); ++q)
                if (!free[q])
                    price[t] = std::min({price[t], p_.types[q].receive[t], p_.types[q].send[t]});
            price[t] = slowest.of(price[t]);
        }
        // One walk over all ideals, with the number of nodes of each tensor inside.
        std::vector<std::int32_t> inside(tensors, 0);
        Picoseconds now = 0;
        const auto step = [&](Node v, std::int32_t by) {
            for (const auto t : block_.tensors_of(v)) {
                const auto all = static_cast<std::int32_t>(p_.consumers[t].size()) + 1;
                if (inside[t] > 0 && inside[t] < all) now -= price[t];
                inside[t] += by;
                if (inside[t] > 0 && inside[t] < all) now += price[t];
            }
        };
        std::vector<std::int32_t> met(crossing_.size(), -1);
        const auto enter = [&](std::int64_t to, Node v) {
            step(v, 1);
            crossing_[to] = now;
            return true;
        };
        walk_above(ideals_, 0, met, enter, [&](Node v) { step(v, -1); });
    }

    /// Whether some state reaches the ideal from which the rest could still be done.
    bool begin(std::int64_t ideal) {
        const auto* here = value_.data() + static_cast<std::size_t>(ideal) * states_;
        open_.clear();
        alive_.assign(p_.types.size(), 0);
        least_kept_.assign(p_.types.size(), std::numeric_limits<std::int32_t>::max());
        for (std::int32_t k = 0; k < static_cast<std::int32_t>(p_.transitions.size()); ++k) {
            const auto& t = p_.transitions[k];
            if (here[t.from] == kNever) continue;
            // What is left takes at least its least work.
            if (question_.sum && here[t.from] + rest_[ideal] >= question_.below) continue;
            if (!left_[t.from].takes(rest_[ideal], crossing_[ideal]) ||
                !used_[t.from].takes(rest_[0] - rest_[ideal], crossing_[ideal]))
                continue;
            open_.push_back(k);
            alive_[t.type] = 1;
            least_kept_[t.type] = std::min(least_kept_[t.type], t.kept);
        }
        return !open_.empty();
    }

    void walk(std::int64_t from) {
        const auto enter = [&](std::int64_t to, Node v) {
            block_.add(v);
            ++pairs_;
            stop_.spend(kStep * static_cast<std::int64_t>(alive_.size()));
            return !stop_() && arrive(from, to);
        };
        walk_above(ideals_, from, seen_, enter, [&](Node v) { block_.remove(v); });
    }

    /// Offers the block from..to to every open transition; false where no larger block can do.
    bool arrive(std::int64_t from, std::int64_t to) {
        bool more = false;
        load_.assign(p_.types.size(), kNever);
        for (std::size_t q = 0; q < p_.types.size(); ++q) {
            if (!alive_[q]) continue;
            if (block_.floor(q, least_kept_[q]) >= below_) continue;
            more = true;
            load_[q] = total(q, least_kept_[q]);
        }
        const auto* here = value_.data() + static_cast<std::size_t>(from) * states_;
        auto* there = value_.data() + static_cast<std::size_t>(to) * states_;
        auto* came = came_.data() + static_cast<std::size_t>(to) * states_;
        for (const auto k : open_) {
            const auto& t = p_.transitions[k];
            if (load_[t.type] >= below_) continue;
            const auto load = t.kept == least_kept_[t.type] ? load_[t.type] : total(t.type, t.kept);
            if (load >= below_) continue;
            const auto value = question_.sum ? here[t.from] + load : std::max(here[t.from], load);
            if (value < question_.below && value < there[t.to]) {
                there[t.to] = value;
                came[t.to] = {static_cast<std::int32_t>(from), k};
            }
        }
        return more;
    }

    [[nodiscard]] Picoseconds total(std::size_t q, std::int32_t kept) const {
        const auto compute = block_.compute(q, kept);
        return compute >= below_ ? kNever : block_.total(q, compute);
    }

    void trace(std::int64_t ideal, std::int32_t state, PlacementPlan& plan) const {
        std::vector<std::int32_t> chain;
        while (ideal > 0) {
            const auto step = came_[static_cast<std::size_t>(ideal) * states_ + state];
            chain.push_back(static_cast<std::int32_t>(ideal));
            plan.transition.push_back(step.transition);
            ideal = step.ideal;
            state = p_.transitions[step.transition].from;
        }
        std::reverse(chain.begin(), chain.end());
        std::reverse(plan.transition.begin(), plan.transition.end());
        ideals_.blocks_of_chain(chain, plan.block);
    }

    struct Step {
        std::int32_t ideal = -1, transition = -1;
    };

    const Placement& p_;
    const IdealGraph& ideals_;
    const PlacementQuestion& question_;
    Picoseconds below_;  // what every stage is below
    Stop& stop_;
    std::size_t states_;
    std::vector<Picoseconds> value_;  // per ideal and state: the least bottleneck that reaches it
    std::vector<Step> came_;
    std::vector<std::int32_t> seen_;  // the ideal whose walk came here last
    PlacedBlock block_;
    std::vector<Picoseconds> least_, rest_, crossing_, load_;
    std::vector<Side> left_, used_;   // per state: the devices that it has left, and that it used
    Picoseconds cut_total_ = 0;       // the dearest ends of all tensors
    std::vector<std::int32_t> open_;  // transitions to take from the ideal of this walk
    std::vector<char> alive_;         // types that they lead to
    std::vector<std::int32_t> least_kept_;  // of the transitions to take, per type
    std::int64_t pairs_ = 0;
};

void require(bool right, const char* what) {
    if (!right) throw std::invalid_argument(std::string("placement: ") + what);
}

}  // namespace

void check_placement(const Placement& p) {
    const auto n = static_cast<std::size_t>(p.n);
    const auto tensors = p.producer.size();
    const auto in_range = [](std::span<const std::int32_t> values, std::size_t limit) {
        return std::all_of(values.begin(), values.end(), [&](std::int32_t v) {
            return v >= 0 && static_cast<std::size_t>(v) < limit;
        });
    };
    require(in_range(p.producer, n) && in_range(p.consumers.values, n), "unknown node");
    require(static_cast<std::size_t>(p.consumers.size()) == tensors, "one row per tensor expected");
    require(static_cast<std::size_t>(p.params_of.size()) == n && p.working_set.size() == n,
            "one row of parameters and one working set per node expected");
    require(in_range(p.params_of.values, p.param_bytes.size()), "unknown parameter");
    require((p.kept_bytes.empty() || static_cast<std::size_t>(p.kept_of.size()) == n) &&
                p.back_bytes.size() == p.fed_bytes.size() &&
                (p.fed_bytes.empty() || p.fed_bytes.size() == tensors) &&
                in_range(p.kept_of.values, p.kept_bytes.size()),
            "one row of what is kept per node, and bytes per tensor expected");
    require(p.states >= 1, "at least one state expected");
    for (const auto& type : p.types)
        require(type.work.size() == n && type.receive.size() == tensors &&
                    type.send.size() == tensors && type.bandwidth > 0 && type.replicas > 0 &&
                    type.state_factor > 0 && type.sync >= 0 && type.sync_per > 0,
                "work per node, prices per tensor, a bandwidth and rates per type expected");
    std::int32_t last = 0;
    for (const auto& t : p.transitions) {
        require(t.from >= last && t.from < t.to && t.to < p.states && t.type >= 0 &&
                    static_cast<std::size_t>(t.type) < p.types.size() && t.kept >= 0,
                "transitions sorted by their start and leading upwards expected");
        last = t.from;
    }
}

PlacementPlan best_placement(const Placement& placement, const IdealGraph& ideals,
                             const PlacementQuestion& question, Stop& stop) {
    if (!ideals.complete()) throw std::invalid_argument("placement: the ideals are not complete");
    require(question.weight.empty() ||
                question.weight.size() == static_cast<std::size_t>(placement.states),
            "one weight per state expected");
    if (question.below <= 0 || question.stage_below <= 0) {
        PlacementPlan none;
        none.answer = Answer::no;
        return none;
    }
    return Program(placement, ideals, question, stop).run();
}

}  // namespace stagewright
