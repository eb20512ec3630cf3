// SPDX-License-Identifier: Apache-2.0
// Which blocks of cost <= T hold the largest amount?  Branch and bound over minimum cuts.
//
// Two nodes are in conflict when no convex set of cost <= T holds both.  A subproblem forces some nodes
// in and some out; what lies between two forced-in nodes is in, what is in conflict with a forced-in node
// is out, and what precedes (follows) a forced-out node that itself precedes (follows) a forced-in node is
// out.  Its bound is that of the arcs in state_space.hpp: with M <= min { q f(S) - p amount(S) },
// amount(S) <= floor((q T - M) / p).  docs/method_cover.md has the proofs.
#pragma once

#include <memory>
#include <vector>

#include "bits.hpp"
#include "block_cut.hpp"
#include "instance.hpp"
#include "stop.hpp"

namespace stagewright {

class BlockSearch {
   public:
    BlockSearch(const Instance& instance, const Closures& closures, BlockCut& cuts);

    /// Finds out whether some node is in no set of cost <= T at all.
    void set_threshold(Picoseconds threshold, Stop& stop);
    /// Finds the conflicts at this threshold; when stopped early, those it has found hold.  What an earlier
    /// threshold or a block has shown of a pair is not asked again.
    void find_conflicts(Stop& stop);
    [[nodiscard]] Picoseconds threshold() const { return threshold_; }
    [[nodiscard]] const Word* conflicts(Node v) const { return conflicts_.data() + words_ * v; }
    /// Some node is in no set of cost <= T at all.
    [[nodiscard]] bool impossible() const { return impossible_; }

    struct Block {
        Picoseconds amount = 0, cost = 0;
        std::vector<Word> set;
    };
    /// Takes into account that a block of this cost exists: its nodes are in conflict at smaller thresholds only.
    void meet_block(const std::vector<Word>& set, Picoseconds cost);
    struct Result {
        bool complete =
            false;  // every convex set of cost <= T and amount > floor was ruled out or found
        std::vector<Block> blocks;  // each with more amount than the one before
    };
    /// Blocks of cost <= threshold with more than `floor` of the amounts of the cuts.  Having found
    /// some, it looks at `quick` subproblems in all; otherwise at `most`.
    Result search(Picoseconds floor, std::int64_t quick, std::int64_t most, Stop& stop);

    /// Subproblems looked at so far: the work done.
    [[nodiscard]] std::int64_t looked() const { return looked_; }

   private:
    struct Subproblem {
        std::vector<Word> in, out;
        std::int64_t p;                                // where the parent's bound was best
        std::shared_ptr<const BlockCut::State> state;  // of the parent; null: from nothing
    };
    struct Pair {
        std::int32_t between;
        Node u, v;
        Picoseconds cheapest;  // no block that holds both costs less
    };
    /// Draws the conclusions; false: nothing is left.
    bool close(Word* in, Word* out);
    void list_pairs();
    void add_conflict(Node u, Node v);
    bool settle(Pair& pair, Stop& stop);
    [[nodiscard]] Picoseconds met(Node u, Node v) const {
        return met_[static_cast<std::size_t>(g_.n) * static_cast<std::size_t>(u) +
                    static_cast<std::size_t>(v)];
    }
    bool compatible(Node u, Node v, Stop& stop);
    [[nodiscard]] bool has_conflict(const Word* set) const;
    /// Bounds the subproblem and adds the block it meets; true: `node_` is to be branched on.
    bool look(Subproblem& sub, Picoseconds& floor, std::vector<Block>& blocks, Stop& stop);
    void between(const Word* in);
    [[nodiscard]] bool convex(const Word* set);
    void choose(const Subproblem& sub);

    const Instance& g_;
    const Closures& closures_;
    BlockCut& cuts_;
    std::size_t words_;
    Picoseconds threshold_ = 0;
    bool impossible_ = false, complete_ = false;  // complete: all conflicts are found
    std::vector<Word> conflicts_;
    std::vector<Pair> pairs_;       // of few nodes between first
    std::vector<Picoseconds> met_;  // per pair, both ways: least cost of a set met that holds both
    std::vector<Word> before_, after_;  // ancestors and descendants of the nodes forced in
    std::vector<Word> below_, above_;   // the sets whose chord gave the last bound
    bool has_below_ = false, has_above_ = false;
    Node node_ = -1;
    std::int64_t looked_ = 0;
};

}  // namespace stagewright
