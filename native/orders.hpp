// SPDX-License-Identifier: Apache-2.0
// Topological orders of an instance.
#pragma once

#include <vector>

#include "instance.hpp"
#include "random.hpp"

namespace stagewright {

enum class OrderKind { random, depth_first, reversed_depth_first };

class OrderMaker {
   public:
    explicit OrderMaker(const Instance& instance);

    /// A random Kahn order: the next node is any ready one (random), or the one that became ready
    /// last (depth_first), the latter also on the reversed graph (reversed_depth_first).
    void make(OrderKind kind, Random& random, std::vector<Node>& order);

    /// Draws a new random order of positions begin .. end - 1, the rest stays.
    void reshuffle(std::vector<Node>& order, std::size_t begin, std::size_t end, Random& random);

   private:
    void kahn(const Ragged& successors, const Ragged& predecessors, bool depth_first,
              Random& random, std::vector<Node>& order);

    const Instance& instance_;
    std::vector<std::int32_t> missing_;
    std::vector<Node> ready_;
};

}  // namespace stagewright
