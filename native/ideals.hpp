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
    /// Lists the ideals; complete() is false when there are more than `max_ideals`, they would need
    /// more than `max_bytes`, or `stop` said so.
    IdealGraph(const Instance& instance, std::int64_t max_ideals, std::int64_t max_bytes,
               Stop& stop);

    [[nodiscard]] bool complete() const { return complete_; }
    /// There are more ideals than were allowed, or they need more memory.
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

    struct Listing;  // the state of the enumeration

    void enumerate(std::int64_t max_ideals, std::int64_t max_bytes, Stop& stop);
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
    std::vector<std::uint64_t> bits_;  // the windows of all ideals, one behind the other
    std::vector<std::int64_t> window_start_{0};
    std::vector<std::int32_t> first_word_;
    std::vector<Picoseconds> work_;  // work of the ideal
    std::vector<Picoseconds> live_;  // cost of tensors produced in it and needed outside
    std::vector<std::int64_t> cover_start_;
    std::vector<std::int32_t> cover_ideal_;  // ideals with one node more ...
    std::vector<Node> cover_node_;           // ... and that node
    std::int64_t pairs_ = 0;
    // What questions have in common, made by the first one.
    std::unique_ptr<LiveLists> lists_;
    std::vector<std::int32_t> by_work_;      // all ideals but V, by increasing work, then by size
    std::vector<std::uint64_t> whole_bits_;  // with memory: words_ per ideal
    std::vector<Bytes> rest_params_;         // bytes of the parameters used behind the ideal
    Bytes least_set_ = 0;                    // the smallest working set
    Bytes most_held_ = 0;                    // by a block within the threshold
    std::unique_ptr<BlockPeaks> peaks_;
    bool certain_ = false;
    std::int64_t doubts_ = 0;
};

}  // namespace stagewright
