// SPDX-License-Identifier: Apache-2.0
// The cheapest block among those that hold some nodes and miss others, as one minimum cut.
//
// For sets In and Out it finds min { q f(S) - p amount(S) : In in S, S misses Out } with f = work + io + overflow
// (parameters and the largest working set), whole numbers p >= 0 and q > 0, and any additive amount >= 0.  Where
// overflow matters it finds a lower bound of that, from few shares of it (spill.hpp), and a set that comes near.  Blocks of plans are convex (what lies on a path between two nodes of S is in S), which a
// cut cannot ask for in general; but next to In it can: if v precedes a node of In, then v in S puts
// every successor of v that also precedes In into S, and mirrored behind In.  Those implications are
// arcs of unlimited capacity, so the minimum runs over all convex S and some others.
//
// Only the free nodes become vertices: pins of a tensor in In or Out turn into constants, terminal
// capacities, or one auxiliary vertex; a tensor with more than two pins, all free, takes two.
#pragma once

#include <vector>

#include "bits.hpp"
#include "instance.hpp"
#include "max_flow.hpp"
#include "spill.hpp"

namespace stagewright {

/// Ancestors and descendants of every node, each with the node itself: n * n / 4 bytes.
class Closures {
   public:
    explicit Closures(const Instance& instance);
    [[nodiscard]] std::size_t words() const { return words_; }
    [[nodiscard]] const Word* ancestors(Node v) const { return before_.data() + words_ * v; }
    [[nodiscard]] const Word* descendants(Node v) const { return after_.data() + words_ * v; }

   private:
    std::size_t words_;
    std::vector<Word> before_, after_;
};

class BlockCut {
   public:
    struct Minimum {
        std::int64_t value =
            0;  // at most q f(S) - p amount(S) of any S; exact when no node is free
        Picoseconds amount = 0, cost = 0;  // of the set
        bool finished = false;             // false: stopped, or past `enough`; there is no set
    };

    /// Throws std::invalid_argument when work and costs sum to more than 2^61; overflow beyond is left out.
    explicit BlockCut(const Instance& instance);

    /// q, and the largest p: as fine and as steep as exact int64 arithmetic allows.
    [[nodiscard]] std::int64_t scale() const { return scale_; }
    [[nodiscard]] std::int64_t steepest() const { return steepest_; }

    /// What nodes are worth at first, for k blocks: with overflow more than their work.
    [[nodiscard]] std::vector<Picoseconds> weights(std::int32_t k) const {
        return spill_.weights(k);
    }
    /// The most that amounts may sum to.
    [[nodiscard]] Picoseconds whole() const { return g_.total_work + spill_.whole(); }
    /// What a block is worth, per node: >= 0, in sum at most whole().  Work by default.
    void set_amounts(std::vector<Picoseconds> amounts) { amount_ = std::move(amounts); }
    [[nodiscard]] const std::vector<Picoseconds>& amounts() const { return amount_; }

    void prepare(const Word* in, const Word* out);

    /// What prepare() and solve() leave: the network with its flow.
    struct State {
        FlowNetwork network;
        std::vector<Node> in, free;
        std::vector<std::int32_t> place;  // of a free node among the vertices; negative: forced
        std::vector<std::int32_t> side;   // of a vertex: 1 before In, 2 behind it
        std::vector<char> forced;         // per vertex of a free node: by restrict()
        Picoseconds in_amount = 0, free_amount = 0;
        // q f(S) - p amount(S) for S = In without any free node, at p = 0; and p of the flow.
        std::int64_t base = 0, p = 0;
        std::size_t open = 0;  // free nodes that are not forced
    };
    /// Whether most of what is in the network is open, so that restrict() pays; never with overflow.
    [[nodiscard]] bool restrictable() const {
        return force_ > 0 && 2 * state_.open > state_.free.size();
    }
    [[nodiscard]] const State& state() const { return state_; }
    void restore(const State& state) { state_ = state; }
    /// As prepare(), for sets that hold those of the state at hand; the flow is kept, which saves most of the next one.
    void restrict(const Word* in, const Word* out);
    /// Amount of all that is not in Out.
    [[nodiscard]] Picoseconds most_amount() const { return state_.in_amount + state_.free_amount; }

    /// Whether solve() is exact but bounds for less than In and Out, with the same set, were perhaps not.
    [[nodiscard]] bool must_solve() const { return state_.free.empty() && spill_.binds(); }

    Minimum solve(std::int64_t p, Stop& stop, std::int64_t enough = FlowNetwork::kUnlimited);
    /// The minimiser of the last finished solve().
    [[nodiscard]] const std::vector<Word>& set() const { return set_; }
    /// f of a set, with what overflow surely is.
    [[nodiscard]] Picoseconds cost(const Word* set);
    [[nodiscard]] std::int64_t solved() const { return solved_; }

   private:
    void add_tensor(Tensor t);
    void add_convexity();
    Minimum solve_at_share(std::int64_t p, Stop& stop, std::int64_t enough);

    const Instance& g_;
    std::int64_t scale_ = 1, steepest_ = 1, solved_ = 0;
    std::int64_t force_ = 0;  // more than all that a cut can gain; 0: too large for int64
    State state_;
    Spill spill_;
    // What did best in the last solve().
    std::int64_t share_ = Spill::kWhole;
    Spill::Counts counts_ = Spill::Counts::moment;
    std::vector<Node> queue_, pins_, joined_;
    std::vector<std::int32_t> seen_;  // per tensor: the last prepare() that met it
    std::int32_t round_ = 0;
    Picoseconds constant_ = 0;
    std::vector<Picoseconds> amount_;
    std::vector<Picoseconds> enter_, leave_;  // per vertex: capacity from the source, to the sink
    std::vector<Word> set_, found_;
};

}  // namespace stagewright
