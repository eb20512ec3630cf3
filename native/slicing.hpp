// SPDX-License-Identifier: Apache-2.0
// Optimal slicing of a topological order into at most k consecutive blocks.
//
// f(l, r) is the cost of the block of positions l .. r.  f(l, r) - f(l + 1, r) is piecewise constant
// in r and changes only where a tensor of the node at l has its first, next or last consumer.  A
// pass walks l downwards and keeps the row f(l, .) as differences, with sums per chunk of 16, so that
// moving l costs two updates per tensor.
//
// Mostly the first block of the suffix from l + 1 may simply start at l.  The pass holds its end, its
// cost, and a lower bound of the cost of every block that would leave fewer blocks behind it ("barred");
// moving l changes the first exactly and lowers the second by at most the sum of all changes.  Only when
// the held block grows too dear or the barred ones come within reach does it look at the window
// {r : work(l .. r) <= T}, chunk by chunk, and there only at chunks whose bounds leave a chance.  It
// ends early when the work before l and the blocks behind it cannot make k blocks.  O(n) memory;
// O(m + n * window) time per threshold at worst, mostly O(m), against O(n^2) memory and O(n^2 k) time for
// the direct method (Archer et al. 2024, SliceGraph).
//
// The optimum of an order takes a few passes that enclose it: lo is too small, hi is not.  A suffix
// that needs as many blocks at lo as at hi holds no further news; for the others one more walk finds
// the least bottleneck of each block count in between, and with it the optimum.
#pragma once

#include <limits>
#include <vector>

#include "instance.hpp"

namespace stagewright {

class Slicer {
   public:
    static constexpr std::int32_t kNever = std::numeric_limits<std::int32_t>::max() / 2;

    explicit Slicer(const Instance& instance);

    /// Fewest blocks of cost <= threshold each; kNever, mostly sooner, if there are more than k.
    /// blocks() may be called afterwards.
    std::int32_t pass(std::span<const Node> order, Picoseconds threshold, std::int32_t k = kNever);

    /// After a pass that found blocks: the block number of each node.
    void blocks(std::span<const Node> order, std::vector<std::int32_t>& block) const;

    /// The least bottleneck of the order with at most k blocks, if it is <= upper; otherwise
    /// upper + 1.  `lower` is any valid lower bound for the order.  Fills `block` on success.
    Picoseconds optimum(std::span<const Node> order, std::int32_t k, Picoseconds lower,
                        Picoseconds upper, std::vector<std::int32_t>& block);

    /// Number of passes made so far.
    [[nodiscard]] std::int64_t passes() const { return passes_; }

   private:
    /// From position `position` on, the row changes by `amount`.
    struct Change {
        std::int32_t position;
        std::int64_t amount;
    };

    void prepare(std::span<const Node> order);
    void prepare_memory(std::span<const Node> order);
    void begin_pass();
    /// Fewest blocks, kNever as soon as it is known that there are more than k.
    std::int32_t run(Picoseconds threshold, std::int32_t k);
    template <bool kWithMemory>
    std::int32_t run(Picoseconds threshold, std::int32_t k);
    static std::int32_t blocks_for(Picoseconds work, Picoseconds threshold);
    static Picoseconds capacity(std::int32_t blocks, Picoseconds threshold);
    template <bool kWithMemory>
    void move_left(std::int32_t l);
    struct Scanned {
        std::int64_t best;   // the cheap enough end that leaves the fewest blocks, packed
        Picoseconds cost;    // of the block that ends there
        Picoseconds barred;  // least cost among those that leave at most the target
        std::int32_t next;   // fewest blocks left above the target
    };
    Scanned scan_chunk(std::int32_t c, std::int32_t target, Picoseconds threshold);
    std::int32_t scan_chunks(std::int32_t l, std::int32_t end, Picoseconds threshold);
    std::int32_t scan_with_memory(std::int32_t l, std::int32_t end, Picoseconds threshold);
    template <bool kWithMemory>
    Picoseconds run_values(std::int32_t k);
    [[nodiscard]] Picoseconds value_of(std::int32_t l, std::int32_t blocks) const;
    void follow_values(std::span<const Node> order, std::int32_t k,
                       std::vector<std::int32_t>& block) const;

    const Instance& instance_;
    // Of the prepared order; the changes of the step to l end at changes_end_[l].
    std::vector<Change> changes_, param_changes_;
    std::vector<std::int32_t> changes_end_, param_changes_end_;
    std::vector<Picoseconds> base_;         // f(l, l)
    std::vector<Picoseconds> work_before_;  // of positions 0 .. l - 1
    std::vector<Bytes> param_base_, working_set_;

    /// Sixteen positions of the row.
    struct Chunk {
        Picoseconds sum = 0;          // of difference_
        Picoseconds start = 0;        // f(l, .) just before it, for the chunks of the window
        Picoseconds lowest = 0;       // at most f(l, r) - start for all r in it
        std::int32_t least = kNever;  // least fewest_[r + 1]
    };
    std::vector<Picoseconds> difference_;  // f(l, r) - f(l, r - 1); 0 left of l
    std::vector<Chunk> chunks_;
    std::vector<std::int64_t> after_;  // fewest_[r + 1] and r, packed; kNothing left of l
    /// The first block of the suffix from l as long as it stays the best one.
    struct Held {
        std::int32_t end = -1;
        std::int32_t blocks = 0;  // fewest_[end + 1]
        Picoseconds cost = std::numeric_limits<Picoseconds>::max() / 2;
        Picoseconds barred = 0;  // at most the cost of any first block that leaves fewer blocks
    };
    Held held_;
    std::vector<Bytes> param_difference_;      // as difference_, for parameter bytes
    std::vector<std::int32_t> fewest_;         // blocks for the suffix from each position
    std::vector<std::int32_t> last_of_first_;  // last position of the first block of that suffix
    std::vector<std::int32_t> next_use_, last_use_;  // per tensor, positions seen so far
    std::vector<std::int32_t> next_param_use_;       // per parameter

    /// A pass that is kept: its threshold, fewest_ and last_of_first_.
    struct Kept {
        Picoseconds threshold = 0;
        std::vector<std::int32_t> fewest, last_of_first;
    };
    void keep(Kept& kept, Picoseconds threshold);
    bool test(Picoseconds threshold, std::int32_t k);
    bool enclose(std::int32_t k, Picoseconds lower, Picoseconds upper, Picoseconds width);

    Kept low_, high_;  // the largest threshold known to be too small, the smallest known not to be
    // Per position, for hi.fewest <= blocks < lo.fewest: least bottleneck and end of the first block.
    std::vector<std::int64_t> value_start_;
    std::vector<Picoseconds> value_;
    std::vector<std::int32_t> choice_;
    std::int64_t passes_ = 0;
};

/// The paper's method as it stands: all n^2 block costs, then the dynamic program over k.  The
/// yardstick of the benchmark and of the tests; memory O(n^2).
Picoseconds slice_directly(const Instance& instance, std::span<const Node> order, std::int32_t k);

}  // namespace stagewright
