// SPDX-License-Identifier: Apache-2.0
// The program over states with fluid amounts.  F_h(Q) is the largest amount that an ideal of Q can have
// when h blocks of cost <= T reach it:
//
//     F_0(empty) = 0,   F_h(Q) = max over arcs (P, Q) of min(high(Q), F_{h-1}(P) + most(P, Q)),
//
// dropped when below low(Q).  By induction on h the ideal I_h of any plan of bottleneck <= T, in state
// Q, has amount(I_h) <= F_h(Q): amount(I_h) = amount(I_{h-1}) + amount(S_h), the arc bounds the second term
// (state_space.hpp), and low(Q) <= amount(I_h) <= high(Q).  So if no F_h(full) with h <= k is the whole
// amount, no plan of bottleneck <= T exists.
//
// Bounds only fall while states are split and arcs tightened, so a value changes only when the arc that
// gave it does: repair() follows those.
#pragma once

#include <vector>

#include "state_space.hpp"
#include "stop.hpp"

namespace stagewright {

class FluidProgram {
   public:
    FluidProgram(StateSpace& space, std::int32_t k, Picoseconds whole);

    /// Computes everything for the threshold of the space.  False: stopped.
    bool reset(Stop& stop);
    void arc_changed(std::int32_t a);
    void state_split(std::int32_t s, std::int32_t fresh);
    bool repair(Stop& stop);

    /// The largest F_h(full), not capped: what it has above the whole amount is to spare.
    [[nodiscard]] Picoseconds largest() const;
    [[nodiscard]] bool infeasible() const { return largest() < whole_; }
    /// The arcs of the path whose work overshoots most, from the empty ideal to the full one.
    void path(std::vector<std::int32_t>& arcs) const;
    /// Arcs looked at so far: the work done.
    [[nodiscard]] std::int64_t steps() const { return steps_; }
    [[nodiscard]] std::int64_t bytes() const;

   private:
    void mark(std::int32_t layer, std::int32_t s);
    void compute(std::int32_t layer, std::int32_t s);

    struct Layer {
        std::vector<Picoseconds> work;  // F_h per state, kVoid: not reached
        std::vector<std::int32_t> by;   // the arc that gave it
        std::vector<char> marked;
        std::vector<std::int32_t> queue;
    };

    StateSpace& space_;
    std::int32_t k_;
    Picoseconds whole_;
    std::vector<Layer> layers_;
    std::int64_t steps_ = 0;
};

/// Removes every arc that no plan of bottleneck <= top() of at most k blocks can use: with B_r(P) the
/// least work of an ideal of P from which r blocks may finish, arc (P, Q) stays if for some h
/// min(high(Q), F_{h-1}(P) + most) >= max(low(Q), B_{k-h}(Q)).  Returns the number of arcs left; -1: stopped.
std::int64_t remove_useless(StateSpace& space, std::int32_t k, Picoseconds whole, Stop& stop);

}  // namespace stagewright
