// SPDX-License-Identifier: Apache-2.0
#include "window.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace stagewright {

namespace {

constexpr double kTooDear = 1e300;

template <class Function>
void for_each(NodeSet set, Function function) {
    for (; set != 0; set &= set - 1) function(std::countr_zero(set));
}
NodeSet only(int node) { return NodeSet{1} << node; }
/// cost * count, or something larger than any sum of work.
Picoseconds times(Picoseconds cost, int count) {
    constexpr auto kMost = std::numeric_limits<Picoseconds>::max();
    return cost > kMost / count ? kMost : cost * count;
}
NodeSet behind(int node) { return ~NodeSet{1} << node; }

}  // namespace

Picoseconds Steepness::ceiling(double penalty) const {
    double x = penalty;
    for (int i = 0; i < doublings; ++i) x = std::sqrt(x);
    // Rounding of the powers must not hide a division that is just good enough.
    return static_cast<Picoseconds>(std::min(x * reference * (1 + 1e-9), 4e18)) + 1;
}

const Division& WindowSolver::solve(const Window& window, int blocks, const Steepness& steepness,
                                    double penalty, Picoseconds most, const WindowLimits& limits) {
    window_ = &window;
    blocks_ = blocks;
    steepness_ = steepness;
    limits_ = limits;
    division_.penalty = penalty;
    division_.improved = false;
    division_.visits = 0;
    gave_up_ = false;
    most_ = most;
    ceiling_ = std::min(most, steepness.ceiling(penalty));
    start();
    division_.complete = !gave_up_;
    return division_;
}

void WindowSolver::start() {
    const auto& w = *window_;
    Choice choice;
    for (int v = w.n - 1; v >= 0; --v) {
        behind_[v] = only(v);
        for_each(w.after[v], [&](int u) { behind_[v] |= behind_[u]; });
        if (w.before[v] == 0) choice.minimal |= only(v);
    }
    choice.untried = choice.minimal;
    if (blocks_ == 2) {
        narrow(division_.penalty, w.total_work, 1);
        take_halves(0, rest_penalty(0, 0, w.all_tensors));
        halve({}, choice, w.all_tensors);
        return;
    }
    ideals_.clear();
    ideals_.push_back({0, choice.minimal, 0, rest_penalty(0, 0, w.all_tensors)});
    list({}, choice, w.all_tensors);
    if (!gave_up_) chain();
}

/// Bounds the next block and what is left of `work` behind it for `rest` more blocks, if all of them
/// together are to cost less than `budget`.
void WindowSolver::narrow(double budget, Picoseconds work, int rest) {
    rest_ceiling_ = times(std::min(most_, steepness_.ceiling(budget / rest)), rest);
    // A block of cost c holds at most work c.  From the even division upwards that only gets dearer.
    Picoseconds low = work / (rest + 1);
    Picoseconds high = std::min(most_, steepness_.ceiling(budget));
    while (low < high) {
        const auto middle = low + (high - low + 1) / 2;
        const auto left = std::max<Picoseconds>(0, work - middle) / rest;
        if (steepness_(middle) + rest * steepness_(left) < budget * (1 + 1e-9))
            low = middle;
        else
            high = middle - 1;
        if (high - low < high >> 12) break;
    }
    block_ceiling_ = high;
}

// Two blocks: the walk over the ideals is all there is.
void WindowSolver::halve(const Growth& growth, const Choice& choice, Picoseconds rest_tensors) {
    Choice left = choice;
    for (auto untried = choice.untried; untried != 0; untried &= untried - 1) {
        const int v = std::countr_zero(untried);
        if (++division_.visits > limits_.visits) gave_up_ = true;
        if (gave_up_) return;
        const auto grown = add(growth, v);
        const auto cost = growing(grown);
        if (cost <= block_ceiling_) {
            const auto rest = rest_after(rest_tensors, growth.ideal, v);
            if (cost + grown.sent <= block_ceiling_)
                take_halves(grown.ideal, steepness_(cost + grown.sent) +
                                             rest_penalty(grown.ideal, grown.work, rest));
            halve(grown, choose(left, grown.ideal, v), rest);
        }
        exclude(left, v);
        if (left.excluded_work > rest_ceiling_) return;
    }
}

void WindowSolver::take_halves(NodeSet ideal, double penalty) {
    if (penalty >= division_.penalty) return;
    division_.penalty = penalty;
    division_.improved = true;
    division_.ideals = {ideal, window_->all()};
    ceiling_ = std::min(ceiling_, steepness_.ceiling(penalty));
    narrow(penalty, window_->total_work, 1);
}

Picoseconds WindowSolver::cost_between(NodeSet before, NodeSet ideal) const {
    Growth growth{before};
    for_each(ideal & ~before, [&](int v) { growth = add(growth, v); });
    return growing(growth) + growth.sent;
}

// Three blocks or more: list the ideals, then the shortest chain layer by layer.
void WindowSolver::list(const Growth& growth, const Choice& choice, Picoseconds rest_tensors) {
    const auto most = times(ceiling_, blocks_ - 1);
    Choice left = choice;
    for (auto untried = choice.untried; untried != 0; untried &= untried - 1) {
        const int v = std::countr_zero(untried);
        if (static_cast<std::int64_t>(ideals_.size()) >= limits_.ideals) gave_up_ = true;
        if (gave_up_) return;
        if (growth.work + window_->work[v] <= most) {
            auto grown = growth;
            grown.ideal |= only(v);
            grown.work += window_->work[v];
            const auto rest = rest_after(rest_tensors, growth.ideal, v);
            const auto next = choose(left, grown.ideal, v);
            ideals_.push_back({grown.ideal, next.minimal, grown.work,
                               rest_penalty(grown.ideal, grown.work, rest)});
            list(grown, next, rest);
        }
        exclude(left, v);
        if (left.excluded_work > most) return;
    }
}

void WindowSolver::chain() {
    const auto count = ideals_.size();
    table_.assign(std::bit_ceil(2 * count + 2), -1);
    for (std::size_t i = 0; i < count; ++i) {
        const auto mask = table_.size() - 1;
        auto slot = (ideals_[i].nodes * 0x9E3779B97F4A7C15ULL >> 20U) & mask;
        while (table_[slot] >= 0) slot = (slot + 1) & mask;
        table_[slot] = static_cast<std::int32_t>(i);
    }
    least_.assign(count, kTooDear);
    least_[0] = 0;
    parent_.assign(count * (blocks_ - 1), 0);
    for (layer_ = 0; layer_ < blocks_ - 1; ++layer_) {
        next_least_ = least_;  // a block may stay empty
        auto* parent = parent_.data() + layer_ * count;
        for (std::size_t i = 0; i < count; ++i) parent[i] = static_cast<std::int32_t>(i);
        for (std::size_t i = 0; i < count; ++i) {
            if (least_[i] >= division_.penalty) continue;
            // What is left costs at least its work, spread evenly.
            const int rest = blocks_ - layer_;
            const auto work = window_->total_work - ideals_[i].work;
            if (least_[i] + rest * steepness_(work / rest) >= division_.penalty) continue;
            source_ = static_cast<std::int32_t>(i);
            narrow(division_.penalty - least_[i], work, rest - 1);
            const auto& from = ideals_[i];
            extend({from.nodes}, {from.minimal, from.minimal});
            if (gave_up_) return;
        }
        least_.swap(next_least_);
    }
    for (std::size_t i = 0; i < count; ++i)
        if (least_[i] + ideals_[i].rest < division_.penalty)
            take_chain(i, least_[i] + ideals_[i].rest);
}

void WindowSolver::extend(const Growth& growth, const Choice& choice) {
    Choice left = choice;
    for (auto untried = choice.untried; untried != 0; untried &= untried - 1) {
        const int v = std::countr_zero(untried);
        if (++division_.visits > limits_.visits) gave_up_ = true;
        if (gave_up_) return;
        const auto grown = add(growth, v);
        const auto cost = growing(grown);
        if (cost <= block_ceiling_) {
            const auto ideal = cost + grown.sent <= block_ceiling_ ? find(grown.ideal) : -1;
            if (ideal >= 0) {
                const auto penalty = least_[source_] + steepness_(cost + grown.sent);
                if (penalty < next_least_[ideal]) {
                    next_least_[ideal] = penalty;
                    parent_[layer_ * ideals_.size() + ideal] = source_;
                }
            }
            extend(grown, choose(left, grown.ideal, v));
        }
        exclude(left, v);
        if (left.excluded_work > rest_ceiling_) return;
    }
}

void WindowSolver::take_chain(std::size_t last, double penalty) {
    division_.penalty = penalty;
    division_.improved = true;
    division_.ideals.assign(blocks_, window_->all());
    for (int layer = blocks_ - 2; layer >= 0; --layer) {
        division_.ideals[layer] = ideals_[last].nodes;
        last = parent_[layer * ideals_.size() + last];
    }
}

std::int32_t WindowSolver::find(NodeSet ideal) const {
    const auto mask = table_.size() - 1;
    auto slot = (ideal * 0x9E3779B97F4A7C15ULL >> 20U) & mask;
    while (table_[slot] >= 0 && ideals_[table_[slot]].nodes != ideal) slot = (slot + 1) & mask;
    return table_[slot];
}

WindowSolver::Growth WindowSolver::add(const Growth& growth, int node) const {
    const auto& w = *window_;
    Growth grown = growth;
    grown.ideal |= only(node);
    grown.block |= only(node);
    grown.work += w.work[node];
    grown.sent += w.written[node];
    for (auto i = w.read_start[node]; i < w.read_start[node + 1]; ++i) {
        const auto& read = w.reads[i];
        if ((read.producer & growth.block) != 0)
            grown.sent -= (read.users & ~grown.ideal) == 0 ? read.cost : 0;
        else
            grown.received += (read.users & growth.block) == 0 ? read.cost : 0;
    }
    if (w.memory == nullptr) return grown;
    for (auto i = w.param_start[node]; i < w.param_start[node + 1]; ++i)
        grown.params += (w.params[i].users & growth.block) == 0 ? w.params[i].bytes : 0;
    grown.largest = std::max(grown.largest, w.working_set[node]);
    return grown;
}

WindowSolver::Choice WindowSolver::choose(const Choice& choice, NodeSet ideal, int node) const {
    NodeSet fresh = 0;
    for_each(window_->after[node],
             [&](int u) { fresh |= (window_->before[u] & ~ideal) == 0 ? only(u) : 0; });
    return {(choice.minimal & ~only(node)) | fresh,
            ((choice.minimal & behind(node)) | fresh) & ~choice.excluded, choice.excluded,
            choice.excluded_work};
}

void WindowSolver::exclude(Choice& choice, int node) const {
    for_each(behind_[node] & ~choice.excluded,
             [&](int u) { choice.excluded_work += window_->work[u]; });
    choice.excluded |= behind_[node];
}

Picoseconds WindowSolver::rest_after(Picoseconds tensors, NodeSet ideal, int node) const {
    const auto& w = *window_;
    const auto outside = w.all() & ~(ideal | only(node));
    tensors += w.rest_change[node];
    for (auto i = w.read_start[node]; i < w.read_start[node + 1]; ++i)
        tensors -= (w.reads[i].users & outside) == 0 ? w.reads[i].cost : 0;
    return tensors;
}

/// The part of a block's cost that can only grow with it.
Picoseconds WindowSolver::growing(const Growth& growth) const {
    const auto cost = growth.work + growth.received;
    const auto* memory = window_->memory;
    return memory == nullptr ? cost : cost + memory->overflow(growth.params + growth.largest);
}

double WindowSolver::rest_penalty(NodeSet ideal, Picoseconds work, Picoseconds tensors) const {
    const auto& w = *window_;
    auto cost = w.total_work - work + tensors;
    if (cost > ceiling_) return kTooDear;
    if (w.memory != nullptr && ideal != w.all()) {
        const auto rest = w.all() & ~ideal;
        Bytes held = 0;
        Bytes largest = 0;
        for_each(rest, [&](int v) {
            largest = std::max(largest, w.working_set[v]);
            // Each parameter counts at its first user in the rest.
            for (auto i = w.param_start[v]; i < w.param_start[v + 1]; ++i)
                if (std::countr_zero(w.params[i].users & rest) == v) held += w.params[i].bytes;
        });
        cost += w.memory->overflow(held + largest);
    }
    return cost > ceiling_ ? kTooDear : steepness_(cost);
}

}  // namespace stagewright
