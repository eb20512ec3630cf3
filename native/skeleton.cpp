// SPDX-License-Identifier: Apache-2.0
#include "skeleton.hpp"

#include <algorithm>

#include "fluid_program.hpp"
#include "refine.hpp"
#include "state_space.hpp"

namespace stagewright {

namespace {

constexpr double kSplitShare = 0.5;      // of the best score: also split there
constexpr int kPatience = 24;            // rounds of refinement before a smaller threshold is asked
constexpr std::int64_t kStepsPerCut = 500;
constexpr std::int64_t kRemovalShare = 4;  // steps between removals, in steps of one

/// One call of Skeleton::bound().
class Run {
   public:
    Run(const Instance& g, const Closures& closures, BlockCut& cuts, std::int32_t k, Picoseconds lower,
        Picoseconds upper, std::int64_t max_bytes, Stop& stop)
        : cuts_(cuts),
          k_(k),
          whole_(g.total_work),
          lower_(lower),
          upper_(upper),
          ceiling_(upper),
          max_bytes_(max_bytes),
          stop_(stop),
          space_(g, closures, cuts, upper - 1),
          program_(space_, k, whole_),
          refiner_(g, closures),
          first_cut_(cuts.solved()) {}

    SkeletonBound run() {
        const auto finest = std::max<Picoseconds>(1, upper_ / 2048);
        auto step = std::max<Picoseconds>(1, (upper_ - lower_) / 4);
        tighten_first();
        bool more = true;
        while (more && lower_ < ceiling_ && !stop_.now()) {
            const auto threshold = std::min(ceiling_ - 1, lower_ + step - 1);
            switch (ask(threshold, step <= finest)) {
                case Outcome::infeasible:
                    lower_ = threshold + 1;
                    step *= 2;
                    break;
                case Outcome::patience:
                    step = std::max(finest, step / 2);
                    break;
                case Outcome::closed:
                    lower_ = upper_;
                    break;
                case Outcome::plan:
                    break;
                case Outcome::end:
                    more = false;
            }
        }
        return {lower_, lower_ == upper_, space_.states(), space_.alive_arcs(),
                cuts_.solved() - first_cut_, splits_};
    }

   private:
    enum class Outcome { infeasible, patience, closed, plan, end };

    void tighten_first() {
        for (const auto s : {StateSpace::kFull, std::int32_t{2}})
            for (const auto a : space_.arcs_into(s)) space_.tighten(a);
    }

    /// Is there a relaxed chain of cost <= threshold?  Refines until there is none.
    Outcome ask(Picoseconds threshold, bool patient) {
        space_.set_threshold(threshold);
        if (!program_.reset(stop_)) return Outcome::end;
        for (int round = 0; patient || round < kPatience; ++round) {
            if (!settle_path()) return Outcome::end;
            if (program_.infeasible()) return Outcome::infeasible;
            if (space_.bytes() + program_.bytes() > max_bytes_) return Outcome::end;
            if (!refine()) {
                ceiling_ = 0;
                for (const auto a : path_) ceiling_ = std::max(ceiling_, space_.cheapest_known(a));
                return Outcome::plan;
            }
            if (program_.steps() + kStepsPerCut * cuts_.solved() > next_removal_) {
                const auto left = remove_useless(space_, k_, whole_, stop_);
                if (left < 0) return Outcome::end;
                if (left == 0) return Outcome::closed;
                if (!program_.reset(stop_)) return Outcome::end;
                next_removal_ = program_.steps() + kStepsPerCut * cuts_.solved() +
                                kRemovalShare * 4 * k_ * space_.alive_arcs();
            }
        }
        return Outcome::patience;
    }

    /// Tightens arcs until the best chain has only tight ones, or there is none.
    bool settle_path() {
        while (true) {
            if (!program_.repair(stop_)) return false;
            if (program_.infeasible()) return true;
            program_.path(path_);
            bool changed = false;
            for (const auto a : path_) {
                if (stop_.now()) return false;
                if (!space_.tighten(a)) continue;
                program_.arc_changed(a);
                changed = true;
            }
            if (!changed) return true;
        }
    }

    /// False when every state of the chain is a single ideal: the chain is a plan.
    bool refine() {
        const auto splits = refiner_.splits(space_, path_);
        for (const auto& split : splits) {
            if (split.score < kSplitShare * splits.front().score) break;
            const auto fresh = space_.split(split.state, split.node);
            program_.state_split(split.state, fresh);
            ++splits_;
        }
        return !splits.empty();
    }

    BlockCut& cuts_;
    std::int32_t k_;
    Picoseconds whole_, lower_, upper_;
    Picoseconds ceiling_;  // the bound cannot rise above: upper, or a plan met on the way (overflow dropped)
    std::int64_t max_bytes_;
    Stop& stop_;
    StateSpace space_;
    FluidProgram program_;
    Refiner refiner_;
    std::vector<std::int32_t> path_;
    std::int64_t first_cut_;
    std::int64_t splits_ = 0;
    std::int64_t next_removal_ = 0;
};

}  // namespace

Skeleton::Skeleton(const Instance& instance) : g_(instance), closures_(instance), cuts_(instance) {}

SkeletonBound Skeleton::bound(std::int32_t k, Picoseconds lower, Picoseconds upper, std::int64_t max_bytes,
                              Stop& stop) {
    if (lower >= upper || g_.n == 0) return {std::min(lower, upper), lower >= upper};
    k = std::min(k, g_.n);  // further blocks would be empty
    return Run(g_, closures_, cuts_, k, lower, upper, max_bytes, stop).run();
}

}  // namespace stagewright
