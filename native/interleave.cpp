// SPDX-License-Identifier: Apache-2.0
// First the blocks between ideals that are cheap enough are listed.  Going back from the end, the least that all
// stages from an ideal on take together is found: a label is left out where that, on top of its loads, is more
// than all devices may take.  Going forth, labels are extended by one stage after another.
#include "interleave.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <stdexcept>
#include <string>

#include "ideal_walk.hpp"
#include "placement_block.hpp"

namespace stagewright {

namespace {

constexpr std::int64_t kStep = 25, kOffer = 10;
constexpr Bytes kNoLimit = Bytes{1} << 61;
constexpr double kAhead = 0.1;  // weight of an uneven share, by measurement
constexpr std::size_t kMostBytes = std::size_t{1} << 30;

class Rounds {
   public:
    Rounds(const Placement& p, const Interleaving& rounds, const IdealGraph& ideals,
           const InterleavingQuestion& question, Stop& stop)
        : p_(p),
          rounds_(rounds),
          ideals_(ideals),
          question_(question),
          stop_(stop),
          count_(ideals.count()),
          devices_(static_cast<std::size_t>(rounds.devices)),
          parts_(p.overlap ? 3 : 1),
          stride_(devices_ * (parts_ + 1)),
          block_(p) {
        from_.resize(static_cast<std::size_t>(p_.states));
        for (std::int32_t k = 0; k < static_cast<std::int32_t>(p_.transitions.size()); ++k)
            from_[p_.transitions[k].from].push_back(k);
    }

    InterleavingPlan run() {
        InterleavingPlan plan;
        if (!list_arcs() || !list_to_go()) return plan;
        const auto stages = p_.states - 1;
        if (!open(nullptr, 0, 0)) {
            plan.answer = Answer::no;
            return plan;
        }
        if (question_.width == 0) return plan;
        layer_.assign(static_cast<std::size_t>(count_), {});
        layer_[0].push_back(add(std::vector<std::int64_t>(stride_, 0), {-1, -1, 0}));
        for (std::int32_t t = 0; t < stages; ++t) {
            next_.assign(static_cast<std::size_t>(count_), {});
            for (std::int64_t i = 0; i < count_; ++i)
                for (const auto label : layer_[i])
                    if (!extend(t, static_cast<std::int32_t>(i), label)) return plan;
            layer_.swap(next_);
        }
        plan.complete = complete_;
        plan.labels = static_cast<std::int64_t>(came_.size());
        finish(plan);
        return plan;
    }

   private:
    /// What a block costs on one type.
    struct Cost {
        std::array<Picoseconds, 3> part{};  // the sum, or compute, receive, send
        Bytes fixed = 0, unit = 0, running = 0;
        bool able = false;
    };
    struct Came {
        std::int32_t label, transition, ideal;
    };

    // --- blocks -----------------------------------------------------------------------------------

    bool list_arcs() {
        std::vector<std::int32_t> seen(static_cast<std::size_t>(count_), -1);
        arc_start_.push_back(0);
        for (std::int64_t from = 0; from < count_; ++from) {
            bool whole = true;
            const auto enter = [&](std::int64_t to, Node v) {
                block_.add(v);
                stop_.spend(kStep * static_cast<std::int64_t>(p_.types.size()));
                whole = whole && !stop_() && cost_.size() * sizeof(Cost) <= kMostBytes;
                return whole && arrive(static_cast<std::int32_t>(to));
            };
            walk_above(ideals_, from, seen, enter, [&](Node v) { block_.remove(v); });
            if (!whole) return false;
            arc_start_.push_back(static_cast<std::int64_t>(arc_to_.size()));
        }
        return true;
    }

    /// Keeps the block where some type may take it; false where none can take a larger one.
    bool arrive(std::int32_t to) {
        bool more = false, some = false;
        const auto first = cost_.size();
        const auto below = std::min(question_.below, question_.stage_below);
        for (std::size_t q = 0; q < p_.types.size(); ++q) {
            Cost cost;
            if (block_.floor(q, 0) < below) {
                more = true;
                const auto compute = block_.compute(q, 0);
                cost.able = compute < below;
                if (cost.able && p_.overlap) {
                    const auto& sums = block_.sums(q);
                    cost.part = {compute, sums.receive, sums.send};
                } else if (cost.able) {
                    cost.part[0] = block_.total(q, compute);
                }
                cost.able =
                    cost.able && *std::max_element(cost.part.begin(), cost.part.end()) < below;
                const auto held = block_.held(q);
                cost.fixed = held.fixed;
                cost.unit = held.unit;
                cost.running = held.running;
                some = some || cost.able;
            }
            cost_.push_back(cost);
        }
        if (some)
            arc_to_.push_back(to);
        else
            cost_.resize(first);
        return more;
    }

    [[nodiscard]] bool fits(const Cost& cost, const Transition& t) const {
        return cost.able &&
               cost.fixed + t.kept * cost.unit + cost.running <= p_.types[t.type].limit;
    }

    [[nodiscard]] const Cost& cost_of(std::int64_t arc, const Transition& t) const {
        return cost_[static_cast<std::size_t>(arc) * p_.types.size() +
                     static_cast<std::size_t>(t.type)];
    }

    // --- what is left -------------------------------------------------------------------------------

    bool list_to_go() {
        const auto stages = p_.states - 1;
        to_go_.assign(static_cast<std::size_t>(stages + 1) * count_ * parts_, kNever);
        for (std::size_t r = 0; r < parts_; ++r) *(to_go(stages, count_ - 1) + r) = 0;
        for (auto t = stages - 1; t >= 0; --t)
            for (std::int64_t i = 0; i < count_; ++i) {
                auto* here = to_go(t, i);
                for (auto a = arc_start_[i]; a < arc_start_[i + 1]; ++a) {
                    const auto* there = to_go(t + 1, arc_to_[a]);
                    if (there[0] == kNever) continue;
                    for (const auto k : from_[t]) {
                        const auto& cost = cost_of(a, p_.transitions[k]);
                        if (!fits(cost, p_.transitions[k])) continue;
                        for (std::size_t r = 0; r < parts_; ++r)
                            here[r] = std::min(here[r], there[r] + cost.part[r]);
                    }
                }
                stop_.spend(arc_start_[i + 1] - arc_start_[i]);
                if (stop_()) return false;
            }
        return true;
    }

    [[nodiscard]] Picoseconds* to_go(std::int32_t state, std::int64_t ideal) {
        return to_go_.data() + (static_cast<std::size_t>(state) * count_ + ideal) * parts_;
    }

    /// Whether all devices together can take what is left from an ideal on.
    bool open(const std::int64_t* loads, std::int32_t state, std::int64_t ideal) {
        const auto* rest = to_go(state, ideal);
        if (rest[0] == kNever) return false;
        for (std::size_t r = 0; r < parts_; ++r) {
            __extension__ using Wide = __int128;
            Wide all = rest[r];
            for (std::size_t d = 0; loads != nullptr && d < devices_; ++d)
                all += loads[d * parts_ + r];
            if (all > static_cast<Wide>(devices_) * (question_.below - 1)) return false;
        }
        return true;
    }

    // --- labels -------------------------------------------------------------------------------------

    std::int32_t add(const std::vector<std::int64_t>& loads, Came came) {
        if (!free_.empty()) {
            const auto label = free_.back();
            free_.pop_back();
            std::copy(loads.begin(), loads.end(),
                      loads_.begin() + static_cast<std::ptrdiff_t>(label * stride_));
            came_[label] = came;
            return label;
        }
        loads_.insert(loads_.end(), loads.begin(), loads.end());
        came_.push_back(came);
        return static_cast<std::int32_t>(came_.size()) - 1;
    }

    [[nodiscard]] const std::int64_t* loads_of(std::int32_t label) const {
        return loads_.data() + static_cast<std::size_t>(label) * stride_;
    }

    /// Adds one stage to a label in all ways; false when stopped.
    bool extend(std::int32_t state, std::int32_t ideal, std::int32_t label) {
        const auto device = static_cast<std::size_t>(rounds_.owner[state]);
        std::vector<std::int64_t> loads(stride_);
        for (auto a = arc_start_[ideal]; a < arc_start_[ideal + 1]; ++a) {
            stop_.spend(kOffer);
            if (stop_()) return false;
            for (const auto k : from_[state]) {
                const auto& transition = p_.transitions[k];
                const auto& cost = cost_of(a, transition);
                if (!fits(cost, transition)) continue;
                std::copy_n(loads_of(label), stride_, loads.begin());
                bool small = true;
                for (std::size_t r = 0; r < parts_; ++r)
                    small = small && (loads[device * parts_ + r] += cost.part[r]) < question_.below;
                auto& held = loads[devices_ * parts_ + device];
                held += cost.fixed + rounds_.resting[state] * cost.unit;
                if (rounds_.runs[state]) held += std::max<Bytes>(0, cost.running - cost.unit);
                if (small && held <= rounds_.limit[device] &&
                    open(loads.data(), state + 1, arc_to_[a]))
                    offer(arc_to_[a], loads, {label, k, ideal}, state + 1);
            }
        }
        return true;
    }

    /// Keeps a label at an ideal unless another one is nowhere more, or there are enough that are better.
    void offer(std::int32_t ideal, const std::vector<std::int64_t>& loads, Came came,
               std::int32_t state) {
        auto& here = next_[ideal];
        stop_.spend(static_cast<std::int64_t>(here.size() * stride_ / 2));
        const auto less = [&](const std::int64_t* a, const std::int64_t* b) {
            return std::equal(a, a + stride_, b, std::less_equal<>());
        };
        for (const auto other : here)
            if (less(loads_of(other), loads.data())) return;
        // No label comes from one of this stage yet, so those that leave make room for others.
        std::erase_if(here, [&](std::int32_t other) {
            const bool worse = less(loads.data(), loads_of(other));
            if (worse) free_.push_back(other);
            return worse;
        });
        if (free_.empty() && static_cast<std::int64_t>(came_.size()) >= question_.most_labels) {
            complete_ = false;
            return;
        }
        if (static_cast<std::int64_t>(here.size()) >= question_.width) {
            complete_ = false;
            const auto worst =
                std::max_element(here.begin(), here.end(), [&](std::int32_t a, std::int32_t b) {
                    return score(loads_of(a), state) < score(loads_of(b), state);
                });
            if (score(loads.data(), state) >= score(loads_of(*worst), state)) return;
            free_.push_back(*worst);
            here.erase(worst);
        }
        here.push_back(add(loads, came));
    }

    /// What all devices take so far, as a share of what they may: labels of one ideal have the same work behind them, so
    /// that is what transfers cost.  Less weight has how far the busiest device is ahead of an even share for the chunks
    /// that it has; and the same of what the fullest holds of its limit.
    [[nodiscard]] double score(const std::int64_t* loads, std::int32_t state) const {
        double worst = 0, fullest = 0, all = 0;
        const auto below = static_cast<double>(question_.below);
        for (std::size_t d = 0; d < devices_; ++d) {
            // Stages are dealt in rounds, so each device has as many chunks, or one more.
            std::int64_t chunks = 0;
            for (std::int32_t t = static_cast<std::int32_t>(d); t < state;
                 t += static_cast<std::int32_t>(devices_))
                ++chunks;
            const auto owner = static_cast<std::size_t>(rounds_.owner[d]);
            double load = 0;
            for (std::size_t r = 0; r < parts_; ++r)
                load = std::max(load, static_cast<double>(loads[owner * parts_ + r]));
            all += load;
            if (chunks == 0) continue;
            worst = std::max(worst, load / static_cast<double>(chunks));
            if (rounds_.limit[owner] >= kNoLimit) continue;
            const auto held = static_cast<double>(loads[devices_ * parts_ + owner]);
            const auto limit = static_cast<double>(std::max<Bytes>(1, rounds_.limit[owner]));
            fullest = std::max(fullest, held / (limit * static_cast<double>(chunks)));
        }
        return (all / static_cast<double>(devices_) + kAhead * worst) / below + fullest;
    }

    void finish(InterleavingPlan& plan) const {
        const auto& ends = layer_[static_cast<std::size_t>(count_) - 1];
        std::int32_t best = -1;
        for (const auto label : ends) {
            const auto value =
                *std::max_element(loads_of(label), loads_of(label) + devices_ * parts_);
            if (best >= 0 && value >= plan.value) continue;
            best = label;
            plan.value = value;
        }
        plan.answer = best >= 0 ? Answer::yes : complete_ ? Answer::no : Answer::unknown;
        std::vector<std::int32_t> chain;
        auto ideal = static_cast<std::int32_t>(count_ - 1);
        for (auto label = best; label >= 0 && came_[label].label >= 0; label = came_[label].label) {
            chain.push_back(ideal);
            plan.transition.push_back(came_[label].transition);
            ideal = came_[label].ideal;
        }
        std::reverse(chain.begin(), chain.end());
        std::reverse(plan.transition.begin(), plan.transition.end());
        if (best >= 0) ideals_.blocks_of_chain(chain, plan.block);
    }

    const Placement& p_;
    const Interleaving& rounds_;
    const IdealGraph& ideals_;
    const InterleavingQuestion& question_;
    Stop& stop_;
    std::int64_t count_;
    std::size_t devices_, parts_,
        stride_;  // numbers of a label: parts of each device, bytes of each
    PlacedBlock block_;
    std::vector<std::vector<std::int32_t>> from_;  // per state: its transitions
    std::vector<std::int64_t> arc_start_;
    std::vector<std::int32_t> arc_to_;
    std::vector<Cost> cost_;           // per arc and type
    std::vector<Picoseconds> to_go_;   // per state, ideal and part
    std::vector<std::int64_t> loads_;  // of all labels
    std::vector<Came> came_;
    std::vector<std::int32_t> free_;  // labels whose place another one may take
    std::vector<std::vector<std::int32_t>> layer_, next_;  // per ideal: labels
    bool complete_ = true;
};

}  // namespace

InterleavingPlan best_interleaving(const Placement& placement, const Interleaving& interleaving,
                                   const IdealGraph& ideals, const InterleavingQuestion& question,
                                   Stop& stop) {
    const auto require = [](bool right, const char* what) {
        if (!right) throw std::invalid_argument(std::string("interleaving: ") + what);
    };
    require(ideals.complete(), "the ideals are not complete");
    const auto stages = static_cast<std::size_t>(placement.states - 1);
    const auto devices = static_cast<std::size_t>(std::max(0, interleaving.devices));
    require(devices > 0 && interleaving.limit.size() == devices, "a limit per device expected");
    require(interleaving.owner.size() == stages && interleaving.resting.size() == stages &&
                interleaving.runs.size() == stages && stages >= devices,
            "an owner per stage, and no fewer stages than devices expected");
    for (std::size_t t = 0; t < stages; ++t)
        require(interleaving.owner[t] == interleaving.owner[t % devices] &&
                    interleaving.owner[t] >= 0 && interleaving.owner[t] < interleaving.devices,
                "devices that take turns expected");
    for (const auto& t : placement.transitions)
        require(t.to == t.from + 1, "transitions to the next state expected");
    if (std::min(question.below, question.stage_below) <= 0) {
        InterleavingPlan none;
        none.answer = Answer::no;
        return none;
    }
    return Rounds(placement, interleaving, ideals, question, stop).run();
}

}  // namespace stagewright
