// SPDX-License-Identifier: Apache-2.0
#include "skeleton.hpp"

#include <algorithm>
#include <cmath>

#include "fluid_program.hpp"
#include "refine.hpp"
#include "state_space.hpp"

namespace stagewright {

namespace {

constexpr double kSplitShare = 0.9;  // of the best score: also split there
constexpr int kPatience = 24;        // rounds of refinement before a smaller threshold is asked
constexpr double kPace = 0.4;        // by how much coverage changes the amounts
// Splits of the first skeleton; each next one has twice as many.
constexpr std::int64_t kFirstBudget = 64;
// What a cut costs in arcs looked at; removals may cost a fifth of everything.
constexpr std::int64_t kStepsPerCut = 500;
constexpr std::int64_t kRemovalShare = 16;
constexpr std::int64_t kStep = 20;  // work per arc looked at, see Stop::spend

Picoseconds sum(const std::vector<Picoseconds>& values) {
    Picoseconds total = 0;
    for (const auto v : values) total += v;
    return total;
}

/// One skeleton, grown from a single interval for the amounts of `cuts`.
class Run {
   public:
    Run(const Instance& g, const Closures& closures, BlockCut& cuts, std::int32_t k,
        Picoseconds lower, Picoseconds upper, Picoseconds step, std::int64_t max_splits,
        std::int64_t max_bytes, Stop& stop)
        : cuts_(cuts),
          k_(k),
          whole_(sum(cuts.amounts())),
          lower_(lower),
          upper_(upper),
          ceiling_(upper),
          step_(step),
          max_splits_(max_splits),
          max_bytes_(max_bytes),
          stop_(stop),
          space_(g, closures, cuts, upper - 1),
          program_(space_, k, whole_),
          refiner_(g, closures, cuts.weights(k)),
          accounted_(kStep * kStepsPerCut * cuts.solved()) {}

    /// False when a new skeleton could do more: the budget of splits is used up.
    bool run() {
        const auto finest = std::max<Picoseconds>(1, upper_ / 2048);
        tighten_first();
        while (lower_ < ceiling_ && !stop_.now()) {
            const auto threshold = std::min(ceiling_ - 1, lower_ + step_ - 1);
            switch (ask(threshold, step_ <= finest)) {
                case Outcome::infeasible:
                    lower_ = threshold + 1;
                    stop_.tell(lower_);
                    step_ *= 2;
                    break;
                case Outcome::patience:
                    step_ = std::max(finest, step_ / 2);
                    break;
                case Outcome::closed:
                    lower_ = upper_;
                    break;
                case Outcome::plan:
                    break;
                case Outcome::budget:
                    return false;
                case Outcome::end:
                    return true;
            }
        }
        return true;
    }

    [[nodiscard]] Picoseconds lower() const { return lower_; }
    [[nodiscard]] Picoseconds ceiling() const { return ceiling_; }
    [[nodiscard]] Picoseconds step() const { return step_; }
    [[nodiscard]] const std::vector<std::int32_t>& plan() const { return plan_; }
    [[nodiscard]] const StateSpace& space() const { return space_; }
    [[nodiscard]] std::int64_t splits() const { return splits_; }
    [[nodiscard]] std::vector<double> coverage() const { return refiner_.coverage(); }

   private:
    enum class Outcome { infeasible, patience, closed, plan, budget, end };

    void tighten_first() {
        for (const auto s : {StateSpace::kFull, std::int32_t{2}})
            for (const auto& e : space_.arcs_into(s)) space_.tighten(e.arc, 0, stop_);
    }

    /// Is there a relaxed chain of cost <= threshold?  Refines until there is none.
    Outcome ask(Picoseconds threshold, bool patient) {
        space_.set_threshold(threshold);
        if (!program_.reset(stop_)) return Outcome::end;
        for (int round = 0; patient || round < kPatience; ++round) {
            const bool settled = settle_path();
            account();
            if (!settled) return Outcome::end;
            if (program_.infeasible()) return Outcome::infeasible;
            if (space_.bytes() + program_.bytes() > max_bytes_) return Outcome::end;
            if (splits_ >= max_splits_) return Outcome::budget;
            if (!refine()) {
                if (stop_.now()) return Outcome::end;
                take_plan();
                return Outcome::plan;
            }
            if (program_.steps() + kStepsPerCut * cuts_.solved() > next_removal_) {
                const auto left = remove_useless(space_, k_, whole_, stop_);
                if (left < 0) return Outcome::end;
                if (left == 0) return Outcome::closed;
                if (!program_.reset(stop_)) return Outcome::end;
                next_removal_ = program_.steps() + kStepsPerCut * cuts_.solved() +
                                kRemovalShare * k_ * space_.alive_arcs();
            }
        }
        return Outcome::patience;
    }

    void account() {
        const auto work = kStep * (program_.steps() + kStepsPerCut * cuts_.solved());
        stop_.spend(work - accounted_);
        accounted_ = work;
    }

    /// Tightens arcs until the best chain has only tight ones, or there is none.
    bool settle_path() {
        while (true) {
            if (!program_.repair(stop_)) return false;
            if (program_.infeasible()) return true;
            program_.path(path_);
            bool changed = false;
            account();
            auto spare = program_.largest() - whole_;  // below 0 the chain is refuted
            for (const auto a : path_) {
                if (spare < 0) break;
                if (stop_.now()) return false;
                const auto before = space_.arc(a).most;
                if (!space_.tighten(a, before - spare - 1, stop_)) continue;
                program_.arc_changed(a);
                spare -= before - space_.arc(a).most;
                changed = true;
            }
            if (!changed) return true;
        }
    }

    /// False when every state of the chain is a single ideal: the chain is a plan.
    bool refine() {
        const auto splits = refiner_.splits(space_, path_, stop_);
        for (const auto& split : splits) {
            if (split.score < kSplitShare * splits.front().score) break;
            const auto fresh = space_.split(split.state, split.node);
            program_.state_split(split.state, fresh);
            ++splits_;
        }
        return !splits.empty();
    }

    /// Every state of the chain is a single ideal: its blocks are a plan, and the bound ends there.
    void take_plan() {
        ceiling_ = 0;
        plan_.assign(cuts_.amounts().size(), 0);
        for (std::size_t b = 0; b < path_.size(); ++b) {
            ceiling_ = std::max(ceiling_, space_.cheapest_known(path_[b]));
            const auto* done = space_.inside(space_.arc(path_[b]).from);
            for (std::size_t v = 0; v < plan_.size(); ++v)
                if (!contains(done, static_cast<Node>(v))) plan_[v] = static_cast<std::int32_t>(b);
        }
    }

    BlockCut& cuts_;
    std::int32_t k_;
    Picoseconds whole_, lower_, upper_;
    Picoseconds ceiling_;  // of the bound: upper, or the cost of a plan met on the way
    Picoseconds step_;
    std::int64_t max_splits_, max_bytes_;
    Stop& stop_;
    StateSpace space_;
    FluidProgram program_;
    Refiner refiner_;
    std::vector<std::int32_t> path_;
    std::vector<std::int32_t> plan_;
    std::int64_t splits_ = 0;
    std::int64_t next_removal_ = 0;
    std::int64_t accounted_;  // work that was counted already
};

/// Amounts that make nodes which are covered too often worth less; their sum stays.
std::vector<Picoseconds> adjusted(const std::vector<Picoseconds>& amounts,
                                  const std::vector<double>& coverage) {
    std::vector<double> wish(amounts.size());
    double total = 0;
    const auto whole = sum(amounts);
    if (whole == 0) return amounts;
    for (std::size_t v = 0; v < wish.size(); ++v) {
        const auto floor = 0.01 * static_cast<double>(whole) / static_cast<double>(wish.size());
        wish[v] = std::max(static_cast<double>(amounts[v]), floor) *
                  std::exp(kPace * (1 - std::min(coverage[v], 2.0)));
        total += wish[v];
    }
    std::vector<Picoseconds> result(amounts.size());
    for (std::size_t v = 0; v < wish.size(); ++v)
        result[v] =
            static_cast<Picoseconds>(wish[v] / total * static_cast<double>(whole) * (1 - 1e-9));
    return result;
}

}  // namespace

Skeleton::Skeleton(const Instance& instance) : g_(instance), closures_(instance), cuts_(instance) {}

SkeletonBound Skeleton::bound(std::int32_t k, Picoseconds lower, Picoseconds upper,
                              std::int64_t max_bytes, Stop& stop) {
    SkeletonBound result;
    result.value = std::min(lower, upper);
    result.closed = lower >= upper;
    if (result.closed || g_.n == 0) return result;
    k = std::min(k, g_.n);  // further blocks would be empty
    const auto first_cut = cuts_.solved();
    const auto incumbent = upper;
    cuts_.set_amounts(cuts_.weights(k));
    auto step = std::max<Picoseconds>(1, (upper - lower) / 4);
    for (auto budget = kFirstBudget;; budget *= 2) {
        Run run(g_, closures_, cuts_, k, result.value, upper, step, budget, max_bytes, stop);
        const auto done = run.run();
        result.value = run.lower();
        result.states = run.space().states();
        result.arcs = run.space().alive_arcs();
        result.splits += run.splits();
        if (!run.plan().empty()) {
            // The next skeleton need not look above it, and neither need the caller.
            upper = std::min(upper, run.ceiling());
            result.plan = run.plan();
        }
        if (done) break;
        step = run.step();
        cuts_.set_amounts(adjusted(cuts_.amounts(), run.coverage()));
    }
    result.cuts = cuts_.solved() - first_cut;
    result.closed = result.value == incumbent;
    return result;
}

}  // namespace stagewright
