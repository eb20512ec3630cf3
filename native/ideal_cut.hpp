// SPDX-License-Identifier: Apache-2.0
// The cheapest ideal among those that hold some nodes and miss others, as one minimum cut.
//
// For ideals In and complements Out of ideals it finds min { a x(I) + b y(I) : In in I, I misses Out } over ideals I, where
// x(I) = work(I) + live(I), y(I) = W - work(I) + live(I), and live(I) is the cost of the tensors made in I and needed
// outside; a + b is fixed.  Only free nodes become vertices, and tensors with several free consumers.
#pragma once

#include <vector>

#include "bits.hpp"
#include "instance.hpp"
#include "max_flow.hpp"

namespace stagewright {

class IdealCut {
   public:
    struct Minimum {
        std::int64_t value = 0;  // a x + b y; a lower bound of it when not finished
        Picoseconds x = 0, y = 0;
        bool finished = false;  // false: stopped, or above `enough`; there is no ideal
    };

    /// Throws std::invalid_argument when twice work and costs sum to more than 2^61.
    explicit IdealCut(const Instance& instance);

    /// a + b.
    [[nodiscard]] std::int64_t scale() const { return scale_; }

    /// In must be an ideal, Out closed under successors.
    void prepare(const Word* in, const Word* out);
    /// Returns early once the value is known to be above `enough`.
    Minimum solve(std::int64_t a, Stop& stop, std::int64_t enough);
    /// The largest minimiser of the last finished solve().
    [[nodiscard]] const std::vector<Word>& set() const { return set_; }
    [[nodiscard]] std::int64_t solved() const { return solved_; }
    /// Size of the network, what a solve() takes time for.
    [[nodiscard]] std::int64_t arcs() const { return arcs_; }

   private:
    void add_tensor(Tensor t);
    void add_arc(std::int32_t tail, std::int32_t head, std::int64_t forward, std::int64_t backward);

    const Instance& g_;
    std::int64_t scale_ = 1, solved_ = 0, arcs_ = 0, a_ = 0;
    FlowNetwork network_;
    std::vector<Node> in_, free_;
    std::vector<std::int32_t> place_;  // of a free node among the vertices; negative: forced
    std::vector<std::int32_t> pins_;
    Picoseconds in_work_ = 0;
    std::int64_t constant_ = 0;  // what every choice of free nodes costs, but for the work
    std::vector<Word> set_;
};

}  // namespace stagewright
