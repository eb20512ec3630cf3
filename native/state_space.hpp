// SPDX-License-Identifier: Apache-2.0
// Intervals of ideals and the blocks that lead from one to another: the relaxed problem of the
// skeleton bound.
//
// A state [dn, un] stands for the ideals that contain the ideal dn and miss the filter un.  The states
// together contain every ideal but those that no plan of bottleneck <= top() uses.  An arc (P, Q) stands
// for every block S = J \ I with I in P, J in Q and I in J.  Such an S holds dn(Q) & un(P), for J holds
// dn(Q) and I misses un(P), and it misses dn(P) and un(Q).  Let M <= min { q f(S) - p amount(S) } over
// all S with these properties (block_cut.hpp).  Then a block with f(S) <= T has
//
//     p amount(S) <= q T - M,   so   amount(S) <= floor((q T - M) / p),
//
// and there is none when q T < M.  Overflow is at least what f counts of it, so f(S) <= T holds for every block
// of a plan of bottleneck <= T.  Splitting a state only adds properties: what bounds an arc bounds its children.
#pragma once

#include <vector>

#include "bits.hpp"
#include "block_cut.hpp"
#include "instance.hpp"

namespace stagewright {

/// A solved minimum cut, kept as a bound for the arc and its descendants; its set is kept beside it.
struct Line {
    std::int64_t p = 0;      // multiplier of the amount
    std::int64_t value = 0;  // min of q f - p amount
    Picoseconds amount = 0, cost = 0;
};

struct StateArc {
    std::int32_t from = 0, to = 0;
    // The best lines known: touching at a set of cost <= T, of cost > T, and the lowest at T.
    std::int32_t below = -1, above = -1, lowest = -1;
    std::int32_t place = 0;  // in arcs_into()
    bool alive = true;
    bool tight = false;      // no further cut would lower `most` by much
    Picoseconds forced = 0;  // amount that every block on the arc holds
    Picoseconds roof = 0;    // amount that no block on the arc exceeds, whatever it costs
    Picoseconds most = 0;    // amount that no block of cost <= threshold() exceeds; kVoid: none
    Picoseconds most_at_top = 0;
};

class StateSpace {
   public:
    /// Below any amount, also after one is added; `most` of a void arc.
    static constexpr Picoseconds kVoid = -(Picoseconds{1} << 62U);
    /// An arc in the row of one of its ends: what the program over states needs of it, side by side.
    struct Entry {
        std::int32_t arc;
        std::int32_t other;  // the state at the other end
        Picoseconds most;    // kept up to date in rows of arcs_into() only
    };
    static constexpr std::int32_t kEmpty = 0;  // the state of the empty ideal alone
    static constexpr std::int32_t kFull = 1;   // the state of the full ideal alone

    /// `top` is the largest threshold that will be asked about.
    StateSpace(const Instance& instance, const Closures& closures, BlockCut& cuts, Picoseconds top);

    [[nodiscard]] std::int32_t states() const { return static_cast<std::int32_t>(low_.size()); }
    [[nodiscard]] const Word* inside(std::int32_t s) const { return inside_.data() + words_ * s; }
    [[nodiscard]] const Word* outside(std::int32_t s) const { return outside_.data() + words_ * s; }
    /// Least and most amount of an ideal in the state.
    [[nodiscard]] Picoseconds low(std::int32_t s) const { return low_[s]; }
    [[nodiscard]] Picoseconds high(std::int32_t s) const { return high_[s]; }
    [[nodiscard]] const std::vector<Entry>& arcs_into(std::int32_t s) const { return into_[s]; }
    [[nodiscard]] const std::vector<Entry>& arcs_from(std::int32_t s) const { return from_[s]; }
    [[nodiscard]] const StateArc& arc(std::int32_t a) const { return arcs_[a]; }
    [[nodiscard]] std::int64_t alive_arcs() const { return alive_; }
    [[nodiscard]] std::int64_t bytes() const;

    [[nodiscard]] Picoseconds top() const { return top_; }
    [[nodiscard]] Picoseconds threshold() const { return threshold_; }
    void set_threshold(Picoseconds threshold);

    /// Lowers `most` of the arc by minimum cuts, at least to `enough` if that is possible; false when it
    /// was as low as it gets already.
    bool tighten(std::int32_t a, Picoseconds enough, Stop& stop);
    void remove(std::int32_t a);
    /// Forgets removed arcs; their numbers will be used again.
    void sweep();

    /// The state keeps its ideals without v; a new state, which is returned, takes those with v.
    std::int32_t split(std::int32_t s, Node v);

    /// Cost of a set found for a tight arc; when both its states are single ideals, of the block.
    [[nodiscard]] Picoseconds cheapest_known(std::int32_t a) const { return cost(arcs_[a].below); }

    /// The two sets that span the fluid bound of an arc, with the weight of the second: any may be null.
    struct Fluid {
        const Word* below = nullptr;
        const Word* above = nullptr;
        double share = 0;
    };
    [[nodiscard]] Fluid fluid(std::int32_t a) const;

   private:
    [[nodiscard]] Picoseconds allowed(std::int32_t line, Picoseconds threshold) const;
    [[nodiscard]] bool touches(std::int32_t line) const;
    [[nodiscard]] std::int64_t next_multiplier(const StateArc& arc) const;
    [[nodiscard]] Picoseconds forced_amount(std::int32_t from, std::int32_t to) const;
    [[nodiscard]] Picoseconds cost(std::int32_t line) const { return lines_[line].cost; }
    const Word* set_of(std::int32_t line) const { return sets_.data() + words_ * line; }
    void measure(StateArc& arc, Picoseconds threshold, Picoseconds& most) const;
    void refresh(std::int32_t a);
    void take(StateArc& arc, std::int32_t line);
    std::int32_t add_line(std::int64_t p, const BlockCut::Minimum& minimum);
    std::int32_t add_state(const Word* inside, const Word* outside);
    void add_arc(StateArc arc);

    const Instance& g_;
    const Closures& closures_;
    BlockCut& cuts_;
    std::size_t words_;
    Picoseconds top_, threshold_;
    std::vector<Word> inside_, outside_;  // words_ per state
    std::vector<Picoseconds> low_, high_;
    std::vector<std::vector<Entry>> into_, from_;
    std::vector<StateArc> arcs_;
    std::vector<std::int32_t> unused_;  // numbers of forgotten arcs
    std::int64_t alive_ = 0;
    std::vector<Line> lines_;
    std::vector<Word> sets_;  // words_ per line
    std::vector<Word> need_, ban_;
};

}  // namespace stagewright
