// SPDX-License-Identifier: Apache-2.0
// All ideals (downsets) of an instance, and the exact dynamic program over them.
//
// A plan is a chain of at most k ideals.  For a threshold T the program computes the fewest blocks
// of cost <= T that reach each ideal, layer by layer, by direct tests of pairs of ideals: ideal_scan.cpp
// without memory, ideal_memory.cpp with it.  What does not depend on T and k is made once and kept.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "instance.hpp"
#include "live_lists.hpp"
#include "peak.hpp"
#include "stop.hpp"

namespace stagewright {

class IdealGraph {
   public:
    /// Lists the ideals as list() does.
    IdealGraph(const Instance& instance, std::int64_t max_ideals, std::int64_t max_bytes,
               Stop& stop);
    ~IdealGraph();

    /// Goes on with the list where it ended; complete() stays false when there are more than `max_ideals`, they
    /// would need more than `max_bytes`, or `stop` says so.  The list does not depend on where it was interrupted.
    void list(std::int64_t max_ideals, std::int64_t max_bytes, Stop& stop);

    [[nodiscard]] bool complete() const { return complete_; }
    /// There are more ideals than were allowed last, or they need more memory.
    [[nodiscard]] bool too_large() const { return too_large_; }
    [[nodiscard]] bool with_memory() const { return instance_.has_memory; }
    [[nodiscard]] std::int64_t count() const { return static_cast<std::int64_t>(work_.size()); }

    /// From now on overflow counts the least peak of a block over all orders of its nodes, not just the
    /// largest working set.  `members` lists the nodes of `flow` that each node of the instance stands for.
    void count_peaks(std::shared_ptr<const TensorUses> flow, Ragged members,
                     std::int64_t max_states) {
        peaks_ = std::make_unique<BlockPeaks>(std::move(flow), std::move(members), max_states);
    }

    /// Is there a plan of at most k blocks of cost <= threshold?  On yes, `block` holds one.
    ///
    /// Where the least peak of a block stays open, `certain` refuses the block: then a yes is a fact.
    /// Otherwise such a block is let through: then a no is a fact, and so is a yes if doubts() is 0.
    Answer decide(std::int32_t k, Picoseconds threshold, std::vector<std::int32_t>& block,
                  Stop& stop, bool certain = false);

    /// What optimum() found: no plan of at most k blocks costs less than `lower`; where a plan below the
    /// `upper` that was given exists, `block` holds the best one and `upper` is its cost.
    struct Optimum {
        Picoseconds lower, upper;
        std::vector<std::int32_t> block;
    };

    /// The least bottleneck of at most k blocks, without memory.  `lower` is a valid lower bound; only plans
    /// below `upper` are looked for, at first near `guess`.  When stopped, lower < upper may be left.
    /// The same as one step of a new IdealPursuit.
    Optimum optimum(std::int32_t k, Picoseconds lower, Picoseconds guess, Picoseconds upper,
                    Stop& stop);

    /// Blocks whose least peak stayed open in the last call of decide().
    [[nodiscard]] std::int64_t doubts() const { return doubts_; }

    /// The ideals with one node more than `ideal`, and those nodes; ideals are numbered by size.
    [[nodiscard]] std::span<const std::int32_t> above(std::int64_t ideal) const {
        return {cover_ideal_.data() + cover_start_[ideal],
                cover_ideal_.data() + cover_start_[ideal + 1]};
    }
    [[nodiscard]] std::span<const Node> added(std::int64_t ideal) const {
        return {cover_node_.data() + cover_start_[ideal],
                cover_node_.data() + cover_start_[ideal + 1]};
    }
    /// Block numbers of a chain of ideals that ends with V.
    void blocks_of_chain(const std::vector<std::int32_t>& chain,
                         std::vector<std::int32_t>& block) const;

    /// Searches for the best order of a block so far.
    [[nodiscard]] std::int64_t searches() const { return peaks_ ? peaks_->searches() : 0; }

    /// Pairs of ideals looked at so far by decide().
    [[nodiscard]] std::int64_t pairs() const { return pairs_; }

   private:
    void prepare_questions();

    struct Targets;  // ideals that a block may end at
    class Scan;      // the state of a question by direct tests of pairs
    friend class IdealPursuit;

    Answer decide_by_scan(std::int32_t k, Picoseconds threshold, std::vector<std::int32_t>& block,
                          Stop& stop);

    // With memory: ideal_memory.cpp.
    Answer decide_with_memory(std::int32_t k, Picoseconds threshold,
                              std::vector<std::int32_t>& block, Stop& stop);
    void list_bits();
    void list_rest_params();
    [[nodiscard]] bool rest_fits(std::int64_t ideal, std::int32_t blocks,
                                 Picoseconds threshold) const;
    bool peak_fits(std::int64_t from, std::int64_t to, Bytes params, Picoseconds left, Stop& stop);
    [[nodiscard]] const std::uint64_t* bits(std::int64_t ideal) const {
        return whole_bits_.data() + ideal * words_;
    }

    struct Made;     // one ideal under construction
    struct Listing;  // the state of the enumeration

    void list_above(std::int64_t ideal, Stop& stop);
    /// Bytes of what is listed.
    [[nodiscard]] std::int64_t kept() const {
        return static_cast<std::int64_t>(8 * (bits_.size() + cover_node_.size()) +
                                         80 * work_.size());
    }
    void append(const std::vector<std::uint64_t>& words, std::int32_t first);
    [[nodiscard]] IdealWindow window(std::int64_t ideal) const {
        const auto start = window_start_[ideal];
        const auto size = static_cast<std::int32_t>(window_start_[ideal + 1] - start);
        return {bits_.data() + start, first_word_[ideal], first_word_[ideal] + size};
    }
    /// The whole bit set of an ideal, in a buffer of words_ words.
    void expand(std::int64_t ideal, std::vector<std::uint64_t>& bits) const;

    const Instance& instance_;
    std::int64_t words_;
    bool complete_ = false, too_large_ = false;
    std::unique_ptr<Listing> listing_;  // until it is complete
    std::vector<std::uint64_t> bits_;   // the windows of all ideals, one behind the other
    std::vector<std::int64_t> window_start_{0};
    std::vector<std::int32_t> first_word_;
    std::vector<Picoseconds> work_;  // work of the ideal
    std::vector<Picoseconds> live_;  // cost of tensors produced in it and needed outside
    std::vector<std::int64_t> cover_start_;
    std::vector<std::int32_t> cover_ideal_;  // ideals with one node more ...
    std::vector<Node> cover_node_;           // ... and that node
    std::int64_t pairs_ = 0;
    // What questions have in common, made by the first one.
    std::shared_ptr<LiveLists> lists_;
    std::vector<std::int32_t> by_work_;      // all ideals but V, by increasing work, then by size
    std::vector<std::uint64_t> whole_bits_;  // with memory: words_ per ideal
    std::vector<Bytes> rest_params_;         // bytes of the parameters used behind the ideal
    Bytes least_set_ = 0;                    // the smallest working set
    Bytes most_held_ = 0;                    // by a block within the threshold
    std::unique_ptr<BlockPeaks> peaks_;
    bool certain_ = false;
    std::int64_t doubts_ = 0;
};

/// The search for the least bottleneck of at most k blocks, without memory, in steps: each goes on where the last
/// one stopped.
///
/// Between two steps plans may have become known, so that less is asked for.  What a pass found stays valid: a
/// distance d(J) that it has written is at most the fewest blocks of cost <= T that reach J, for every T up to the
/// threshold of its time.  By induction along a chain of such blocks: each ideal of the chain looked for one that
/// reaches it when all before it in the chain had, and at a threshold of at least T, so it found one that is reached by no
/// more blocks than the one before it in the chain.  So "no" holds at the last threshold, the smallest, and a "yes" is a plan whose cost
/// is looked at; where that is no gain, its distances are lower bounds for the next pass as always.
///
/// Beside the ideals it keeps their tensors, at most 512 MiB, and what it knows of each ideal.
class IdealPursuit {
   public:
    /// `graph` must be complete and outlive the pursuit.  After so much work of one pass a tree of the
    /// ideals takes over (ideal_tree.hpp); by default when that pays.
    IdealPursuit(IdealGraph& graph, std::int32_t k, std::int64_t tree_after = -1);
    ~IdealPursuit();

    /// As IdealGraph::optimum.  Neither bound may be weaker than before; `guess` counts in the first step.
    IdealGraph::Optimum go_on(Picoseconds lower, Picoseconds guess, Picoseconds upper, Stop& stop);

    /// The tensors of the ideals need too much memory: it will not do more.
    [[nodiscard]] bool too_large() const { return too_large_; }

   private:
    [[nodiscard]] Picoseconds next_threshold();

    IdealGraph& graph_;
    std::int32_t k_;
    std::int64_t tree_after_;
    std::unique_ptr<IdealGraph::Scan> scan_;
    Picoseconds lower_ = 0, upper_ = 0, guess_ = 0, step_ = 0;
    Picoseconds threshold_ = 0;
    bool started_ = false, asking_ = false, collected_ = false, found_ = false;
    bool forward_ = true, from_top_ = false, too_large_ = false;
};

}  // namespace stagewright
