// SPDX-License-Identifier: Apache-2.0
// All ideals (downsets) of an instance, and the exact dynamic program over them.
//
// A plan is a chain of at most k ideals.  For a threshold T the program computes the fewest blocks
// of cost <= T that reach each ideal, layer by layer.  Without memory, pairs of ideals are tested
// directly (ideal_scan.cpp).  With memory, the ideals J that contain an ideal I are visited by adding
// nodes one at a time, turning back where work + received tensors + overflow (all only grow) exceed T.
#pragma once

#include <memory>
#include <vector>

#include "instance.hpp"
#include "stop.hpp"

namespace stagewright {

enum class Answer { yes, no, unknown };

class IdealGraph {
   public:
    /// Lists the ideals; complete() is false when there are more than `max_ideals`, they would need
    /// more than `max_bytes`, or `stop` said so.
    IdealGraph(const Instance& instance, std::int64_t max_ideals, std::int64_t max_bytes, Stop& stop);

    [[nodiscard]] bool complete() const { return complete_; }
    [[nodiscard]] std::int64_t count() const { return static_cast<std::int64_t>(work_.size()); }

    /// Is there a plan of at most k blocks of cost <= threshold?  On yes, `block` holds one.
    Answer decide(std::int32_t k, Picoseconds threshold, std::vector<std::int32_t>& block, Stop& stop);

    /// Pairs of ideals looked at so far by decide().
    [[nodiscard]] std::int64_t pairs() const { return pairs_; }

   private:
    struct Visit;  // the state of one walk upwards from an ideal
    struct Scan;   // the state of a decision by direct tests of pairs

    Answer decide_by_scan(std::int32_t k, Picoseconds threshold, std::vector<std::int32_t>& block,
                          Stop& stop);
    /// Block numbers of a chain of ideals that ends with V.
    void blocks_of_chain(const std::vector<std::int32_t>& chain, std::vector<std::int32_t>& block) const;

    struct Listing;  // the state of the enumeration

    void enumerate(std::int64_t max_ideals, std::int64_t max_bytes, Stop& stop);
    void append(const std::vector<std::uint64_t>& words, std::int32_t first);
    [[nodiscard]] bool last_block_fits(std::int64_t ideal, Picoseconds threshold) const;
    /// The words of an ideal that are neither full at its start nor empty at its end.
    struct Window {
        const std::uint64_t* words;
        std::int32_t first;  // words before are full
        std::int32_t end;    // words from here on are empty
    };
    [[nodiscard]] Window window(std::int64_t ideal) const {
        const auto start = window_start_[ideal];
        const auto size = static_cast<std::int32_t>(window_start_[ideal + 1] - start);
        return {bits_.data() + start, first_word_[ideal], first_word_[ideal] + size};
    }
    /// The whole bit set of an ideal, in a buffer of words_ words.
    void expand(std::int64_t ideal, std::vector<std::uint64_t>& bits) const;

    const Instance& instance_;
    std::int64_t words_;
    bool complete_ = false;
    std::vector<std::uint64_t> bits_;      // the windows of all ideals, one behind the other
    std::vector<std::int64_t> window_start_{0};
    std::vector<std::int32_t> first_word_;
    std::vector<Picoseconds> work_;        // work of the ideal
    std::vector<Picoseconds> live_;        // cost of tensors produced in it and needed outside
    std::vector<std::int64_t> cover_start_;
    std::vector<std::int32_t> cover_ideal_;  // ideals with one node more ...
    std::vector<Node> cover_node_;           // ... and that node
    std::int64_t pairs_ = 0;
};

}  // namespace stagewright
