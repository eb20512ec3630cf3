// SPDX-License-Identifier: Apache-2.0
// The covering bound: a lower bound on the bottleneck from the blocks themselves.
//
// For any amounts a >= 0, if no block of cost <= T holds a k-th of a(V), then k such blocks cannot hold
// every node, and T + 1 is a lower bound.  The amounts are the prices of the linear program that covers
// the nodes with the fewest blocks known (cover_master.hpp); branch and bound answers whether some block
// holds more (block_search.hpp), and if so it becomes known.  docs/method_cover.md has the proofs.
#pragma once

#include <set>
#include <vector>

#include "block_climb.hpp"
#include "block_cut.hpp"
#include "block_search.hpp"
#include "cover_master.hpp"
#include "instance.hpp"
#include "stop.hpp"

namespace stagewright {

struct CoverBound {
    Picoseconds value = 0;   // no plan of at most k blocks has a smaller bottleneck
    bool exhausted = false;  // no larger threshold can be refuted in this way
    std::int64_t looked = 0, cuts = 0, blocks = 0;
    std::vector<Picoseconds> amounts;  // that refuted value - 1; empty when nothing was
};

class Cover {
   public:
    /// Needs n * n / 2 bytes, and n * n * 8 while it asks.
    explicit Cover(const Instance& instance);

    /// Raises `lower`, a proven bound, towards `upper`, the bottleneck of some plan, until they meet,
    /// no larger threshold can be refuted, or `stop` says so.
    CoverBound bound(std::int32_t k, Picoseconds lower, Picoseconds upper, Stop& stop);

   private:
    enum class Answer { refuted, possible, unknown };
    /// Gives up after about `most` subproblems.
    Answer ask(std::int32_t k, Picoseconds threshold, std::int64_t most, Stop& stop);
    /// Climbs from nodes and from blocks of the program, in turn, until many that it would use are found or
    /// each has had its turn.
    std::vector<BlockSearch::Block> climb(const CoverMaster& master, Picoseconds threshold,
                                          Picoseconds enough, Stop& stop);
    void start(std::int32_t k);
    void forget();
    std::vector<Picoseconds> scaled(const std::vector<double>& wish) const;

    const Instance& g_;
    Closures closures_;
    BlockCut cuts_;
    BlockSearch search_;
    BlockClimb climb_;
    std::size_t turn_ = 0;   // of the starts of climbs
    std::size_t quiet_ = 0;  // starts since one reached a block that holds too much
    std::vector<BlockSearch::Block> known_;
    std::set<std::vector<Word>> seen_;  // their sets
    std::vector<double> centre_;        // amounts that did well, of sum 1
    bool started_ = false;
};

}  // namespace stagewright
