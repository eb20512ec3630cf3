// SPDX-License-Identifier: Apache-2.0
// A plan under change: block costs kept exact while single nodes move between blocks.
//
// A tensor is a hyperedge over its producer and consumers; per tensor the blocks that hold a pin are
// listed with their number of pins.  A move changes the costs of the two blocks it concerns and of no
// other: a third block with a pin pays before and after.  Both costs follow from the tensors of the
// node alone, so judging a move takes O(degree) steps whatever n and k are.
#pragma once

#include <array>
#include <set>
#include <span>
#include <vector>

#include "instance.hpp"

namespace stagewright {

/// How many members each row has in each block; only blocks with members are listed.
class PinTable {
   public:
    PinTable(std::span<const std::int32_t> row_sizes, std::int32_t blocks);

    void clear();
    [[nodiscard]] std::int32_t count(std::int32_t row, std::int32_t block) const;
    [[nodiscard]] std::int32_t spread(std::int32_t row) const { return spread_[row]; }
    void add(std::int32_t row, std::int32_t block);
    void remove(std::int32_t row, std::int32_t block);

   private:
    struct Pin {
        std::int32_t block, count;
    };
    std::vector<std::int64_t> start_;
    std::vector<std::int32_t> spread_;  // blocks listed per row
    std::vector<Pin> pins_;
};

class Partition {
   public:
    enum Side { kDown = 0, kUp = 1 };  // towards the block before, towards the block behind

    Partition(const Instance& instance, std::int32_t blocks);

    /// Takes over a plan: block numbers 0 .. blocks - 1 that do not fall along any edge.
    void assign(std::span<const std::int32_t> block);

    /// Costs of the block that v leaves and of the one it joins, once it has moved.
    struct Change {
        Picoseconds from, to;
    };
    [[nodiscard]] Change costs_after(Node v, std::int32_t to) const;
    void move(Node v, std::int32_t to);

    /// The blocks where v may go alone: from the last block of a predecessor to the first of a
    /// successor.
    [[nodiscard]] std::int32_t lowest(Node v) const;
    [[nodiscard]] std::int32_t highest(Node v) const;

    [[nodiscard]] const Instance& instance() const { return instance_; }
    [[nodiscard]] std::int32_t blocks() const { return static_cast<std::int32_t>(base_.size()); }
    [[nodiscard]] const std::vector<std::int32_t>& assignment() const { return block_; }
    [[nodiscard]] std::int32_t block(Node v) const { return block_[v]; }
    [[nodiscard]] Picoseconds cost(std::int32_t b) const { return cost_[b]; }
    [[nodiscard]] Picoseconds bottleneck() const;
    /// Nodes of a block without successors (up) or predecessors (down) in it.
    [[nodiscard]] const std::vector<Node>& border(std::int32_t b, Side side) const {
        return border_[side][b];
    }

   private:
    [[nodiscard]] Picoseconds full_cost(Picoseconds base, Bytes params, Bytes largest) const;
    [[nodiscard]] Bytes largest(std::int32_t b) const;
    void count_neighbours(Node v);
    void set_border(Node v, Side side, bool on);
    void neighbour_left(Node u, Side side) {
        if (--inside_[side][u] == 0) set_border(u, side, true);
    }
    void neighbour_joined(Node u, Side side) {
        if (inside_[side][u]++ == 0) set_border(u, side, false);
    }

    const Instance& instance_;
    std::vector<std::int32_t> block_;
    std::vector<Picoseconds> base_, cost_;  // without and with overflow
    PinTable tensors_, params_;
    std::vector<Bytes> param_bytes_;                        // per block, with memory
    std::vector<std::multiset<Bytes>> working_sets_;        // per block, with memory
    std::array<std::vector<std::int32_t>, 2> inside_;       // neighbours in the own block
    std::array<std::vector<std::vector<Node>>, 2> border_;  // per block
    std::array<std::vector<std::int32_t>, 2> place_;        // in its border, or -1
};

}  // namespace stagewright
