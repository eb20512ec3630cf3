// SPDX-License-Identifier: Apache-2.0
// Convex blocks of cost <= T and large amount by tabu search: many in the time of one minimum cut.
//
// A step adds a node, with all that then lies on paths inside, or removes one that leaves the block convex.  It is
// the step that does most for
//
//     amount(S) - price * f(S) - penalty * max(0, f(S) - T),
//
// so that a block may cost too much for a while: tensors that come to lie inside give it back.  What
// it finds proves nothing; it feeds the program of the covering bound.
#pragma once

#include <vector>

#include "bits.hpp"
#include "block_cut.hpp"
#include "instance.hpp"
#include "stop.hpp"

namespace stagewright {

class BlockClimb {
   public:
    BlockClimb(const Instance& instance, const Closures& closures);

    /// Amounts are per node, >= 0; `price` is what a picosecond of a block below the threshold is worth.
    void set(const std::vector<Picoseconds>& amounts, Picoseconds threshold, double price);

    /// Walks from a convex set until `patience` steps brought nothing.  A node `keep` >= 0 of the set is never removed.  True: it met
    /// a block of work and io <= T and more amount than `floor`; the best one is in best().
    bool climb(const Word* start, Node keep, Picoseconds floor, int patience, Stop& stop);
    [[nodiscard]] const std::vector<Word>& best() const { return best_; }
    [[nodiscard]] Picoseconds best_amount() const { return best_amount_; }

   private:
    void toggle(Node v);
    /// What toggling v changes in work and io.
    [[nodiscard]] Picoseconds change(Node v) const;
    [[nodiscard]] bool removable(Node v) const { return above_[v] == 1 || below_[v] == 1; }
    /// What must join along with v, v included; -1: too many.
    int joining(Node v);
    [[nodiscard]] double value(Picoseconds amount, Picoseconds cost) const;

    const Instance& g_;
    const Closures& closures_;
    std::size_t words_;
    Ragged tensors_;  // per node: those it writes or reads that cost something
    std::vector<std::int32_t> size_, inside_;  // per tensor: its nodes, and those in the set
    std::vector<std::int32_t> above_,
        below_;  // per node: members that it precedes, that precede it, itself included
    std::vector<Word> set_, before_, after_, best_;
    std::vector<std::int64_t> tabu_;  // per node: until which step
    std::vector<Node> joining_, chosen_;
    std::vector<Picoseconds> amount_;
    Picoseconds threshold_ = 0, cost_ = 0, held_ = 0, best_amount_ = 0;
    double price_ = 0;
    std::int64_t step_ = 0;
};

}  // namespace stagewright
