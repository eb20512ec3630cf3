// SPDX-License-Identifier: Apache-2.0
// Topological orders from priorities: Kahn's algorithm that always takes the ready node of least key
// (ties by index).  Every topological order comes from some keys, for instance its positions.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "instance.hpp"

namespace stagewright {

using Key = std::uint32_t;

class PriorityDecoder {
   public:
    explicit PriorityDecoder(const Instance& instance);

    /// The topological order of `keys` (one per node).
    void decode(std::span<const Key> keys, std::vector<Node>& order);

   private:
    const Instance& instance_;
    std::vector<std::int32_t> indegree_, missing_;
    std::vector<Node> sources_;
    std::vector<std::uint64_t> heap_;  // key in the high half, node in the low one
};

/// Keys that decode to `order`, spread evenly so that crossing with random keys mixes the two.
void keys_of_order(std::span<const Node> order, std::span<Key> keys);

enum class Guide { depth_first, breadth_first, heaviest_path, balanced_work };
inline constexpr Guide kGuides[] = {Guide::depth_first, Guide::breadth_first, Guide::heaviest_path,
                                    Guide::balanced_work};

/// A deterministic order to start from.  depth_first follows a branch to its end; breadth_first goes
/// level by level; heaviest_path takes the ready node with the most work on a path to a sink;
/// balanced_work the one with the least work on the paths that lead to it, so that parallel branches
/// keep abreast by work.
void guided_order(const Instance& instance, Guide guide, std::vector<Node>& order);

}  // namespace stagewright
