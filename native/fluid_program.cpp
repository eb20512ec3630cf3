// SPDX-License-Identifier: Apache-2.0
#include "fluid_program.hpp"

#include <algorithm>
#include <limits>

namespace stagewright {

FluidProgram::FluidProgram(StateSpace& space, std::int32_t k, Picoseconds whole)
    : space_(space), k_(k), whole_(whole), layers_(static_cast<std::size_t>(k) + 1) {}

std::int64_t FluidProgram::bytes() const {
    return static_cast<std::int64_t>(layers_.size()) * space_.states() * 40;
}

bool FluidProgram::reset(Stop& stop) {
    const auto states = static_cast<std::size_t>(space_.states());
    for (auto& layer : layers_) {
        layer.work.assign(states, StateSpace::kVoid);
        layer.by.assign(states, -1);
        layer.marked.assign(states, 0);
        layer.queue.clear();
    }
    layers_[0].work[StateSpace::kEmpty] = 0;
    for (std::int32_t h = 1; h <= k_; ++h)
        for (std::int32_t s = 1; s < space_.states(); ++s) {
            if (stop()) return false;
            compute(h, s);
        }
    return true;
}

void FluidProgram::compute(std::int32_t h, std::int32_t s) {
    const auto* before = layers_[h - 1].work.data();
    auto best = StateSpace::kVoid;
    std::int32_t by = -1;
    for (const auto& e : space_.arcs_into(s)) {
        const auto work = before[e.other] + e.most;
        if (work <= best) continue;
        best = work;
        by = e.arc;
    }
    steps_ += static_cast<std::int64_t>(space_.arcs_into(s).size());
    // Uncapped on the full ideal: the overshoot is how much the relaxation has to spare.
    if (s != StateSpace::kFull) best = std::min(best, space_.high(s));
    if (best < space_.low(s)) {
        best = StateSpace::kVoid;
        by = -1;
    }
    layers_[h].work[s] = best;
    layers_[h].by[s] = by;
}

void FluidProgram::mark(std::int32_t h, std::int32_t s) {
    if (layers_[h].marked[s]) return;
    layers_[h].marked[s] = 1;
    layers_[h].queue.push_back(s);
}

void FluidProgram::arc_changed(std::int32_t a) {
    const auto to = space_.arc(a).to;
    for (std::int32_t h = 1; h <= k_; ++h)
        if (layers_[h].by[to] == a) mark(h, to);
}

void FluidProgram::state_split(std::int32_t s, std::int32_t fresh) {
    for (std::int32_t h = 0; h <= k_; ++h) {
        auto& layer = layers_[h];
        // Until they are repaired, both children have what their parent had: nothing lower is right.
        layer.work.push_back(layer.work[s]);
        layer.by.push_back(layer.by[s]);
        layer.marked.push_back(0);
        if (h == 0 || layer.work[s] < 0) continue;
        mark(h, s);
        mark(h, fresh);
    }
    for (const auto& e : space_.arcs_from(s))
        if (space_.arc(e.arc).most < 0) arc_changed(e.arc);
}

bool FluidProgram::repair(Stop& stop) {
    for (std::int32_t h = 1; h <= k_; ++h) {
        auto& layer = layers_[h];
        for (std::size_t i = 0; i < layer.queue.size(); ++i) {
            if (stop()) return false;
            const auto s = layer.queue[i];
            layer.marked[s] = 0;
            const auto before = layer.work[s];
            compute(h, s);
            if (layer.work[s] == before || h == k_) continue;
            const auto* by = layers_[h + 1].by.data();
            for (const auto& e : space_.arcs_from(s))
                if (by[e.other] == e.arc) mark(h + 1, e.other);
        }
        layer.queue.clear();
    }
    return true;
}

Picoseconds FluidProgram::largest() const {
    auto most = StateSpace::kVoid;
    for (const auto& layer : layers_) most = std::max(most, layer.work[StateSpace::kFull]);
    return most;
}

void FluidProgram::path(std::vector<std::int32_t>& arcs) const {
    std::int32_t h = 1;
    for (std::int32_t i = 2; i <= k_; ++i)
        if (layers_[i].work[StateSpace::kFull] > layers_[h].work[StateSpace::kFull]) h = i;
    arcs.clear();
    for (auto s = StateSpace::kFull; h > 0; --h) {
        arcs.push_back(layers_[h].by[s]);
        s = space_.arc(arcs.back()).from;
    }
    std::reverse(arcs.begin(), arcs.end());
}

std::int64_t remove_useless(StateSpace& space, std::int32_t k, Picoseconds whole, Stop& stop) {
    constexpr auto kNever = std::numeric_limits<Picoseconds>::max();
    const auto states = static_cast<std::size_t>(space.states());
    const auto table = [&](Picoseconds value) {
        return std::vector<std::vector<Picoseconds>>(static_cast<std::size_t>(k) + 1,
                                                     std::vector<Picoseconds>(states, value));
    };
    space.sweep();
    auto most = table(-1);
    auto least = table(kNever);
    most[0][StateSpace::kEmpty] = 0;
    least[0][StateSpace::kFull] = whole;
    for (std::int32_t h = 1; h <= k; ++h)
        for (std::int32_t s = 0; s < space.states(); ++s) {
            if (stop()) return -1;
            auto& forward = most[h][s];
            for (const auto& e : space.arcs_into(s)) {
                const auto before = most[h - 1][e.other];
                if (before >= 0) forward = std::max(forward, before + space.arc(e.arc).most_at_top);
            }
            forward = std::min(forward, space.high(s));
            if (forward < space.low(s)) forward = -1;
            auto& backward = least[h][s];
            backward = least[h - 1][s];
            for (const auto& e : space.arcs_from(s)) {
                const auto after = least[h - 1][e.other];
                if (after == kNever) continue;
                const auto work = std::max(space.low(s), after - space.arc(e.arc).most_at_top);
                if (work <= space.high(s)) backward = std::min(backward, work);
            }
        }
    for (std::int32_t s = 0; s < space.states(); ++s)
        for (const auto& e : space.arcs_from(s)) {
            if (stop()) return -1;
            const auto& arc = space.arc(e.arc);
            bool useful = false;
            for (std::int32_t h = 1; h <= k && !useful; ++h) {
                const auto before = most[h - 1][s];
                if (before < 0) continue;
                const auto reach = std::min(space.high(arc.to), before + arc.most_at_top);
                useful = reach >= std::max(space.low(arc.to), least[k - h][arc.to]);
            }
            if (!useful) space.remove(e.arc);
        }
    space.sweep();
    return space.alive_arcs();
}

}  // namespace stagewright
