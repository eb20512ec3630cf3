// SPDX-License-Identifier: Apache-2.0
// Optimal slicing of a topological order into at most k consecutive blocks.
//
// f(l, r) is the cost of the block of positions l .. r.  f(l, r) - f(l + 1, r) is piecewise constant
// in r and changes only where a tensor of the node at l has its first, next or last consumer.  The
// pass keeps the row f(l, .) as differences, so that moving l costs one update per tensor, and one
// scan over r within the window {r : work(l .. r) <= T} finds the fewest blocks for the suffix.
// O(n) memory; O(m + n * window) time per threshold, against O(n^2) memory and O(n^2 k) time for the
// direct method (Archer et al. 2024, SliceGraph).
#pragma once

#include <limits>
#include <vector>

#include "instance.hpp"

namespace stagewright {

class Slicer {
   public:
    static constexpr std::int32_t kNever = std::numeric_limits<std::int32_t>::max() / 2;

    explicit Slicer(const Instance& instance);

    /// Fewest blocks of cost <= threshold each, or kNever.  blocks() may be called afterwards.
    std::int32_t pass(std::span<const Node> order, Picoseconds threshold);

    /// After a pass: no threshold below this one gives fewer blocks at any position.
    [[nodiscard]] Picoseconds next_threshold() const { return next_threshold_; }

    /// After a pass that found blocks: the block number of each node.
    void blocks(std::span<const Node> order, std::vector<std::int32_t>& block) const;

    /// The least bottleneck of the order with at most k blocks, if it is <= upper; otherwise
    /// upper + 1.  `lower` is any valid lower bound for the order.  Fills `block` on success.
    Picoseconds optimum(std::span<const Node> order, std::int32_t k, Picoseconds lower,
                        Picoseconds upper, std::vector<std::int32_t>& block);

    /// Number of passes made so far.
    [[nodiscard]] std::int64_t passes() const { return passes_; }

   private:
    template <bool kWithMemory>
    std::int32_t run(std::span<const Node> order, Picoseconds threshold);

    const Instance& instance_;
    std::vector<Picoseconds> difference_;     // f(l, r) - f(l, r - 1)
    std::vector<Bytes> param_difference_;     // the same for parameter bytes
    std::vector<std::int32_t> fewest_;        // blocks for the suffix from each position
    std::vector<std::int32_t> last_of_first_; // last position of the first block of that suffix
    std::vector<std::int32_t> next_use_, last_use_;  // per tensor, positions seen so far
    std::vector<std::int32_t> next_param_use_;       // per parameter
    Picoseconds next_threshold_ = 0;
    std::int64_t passes_ = 0;
};

/// The paper's method as it stands: all n^2 block costs, then the dynamic program over k.  The
/// yardstick of the benchmark and of the tests; memory O(n^2).
Picoseconds slice_directly(const Instance& instance, std::span<const Node> order, std::int32_t k);

}  // namespace stagewright
