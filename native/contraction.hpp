// SPDX-License-Identifier: Apache-2.0
// Smaller instances: nodes merged to clusters, and a coarsening that chooses them.
#pragma once

#include <span>
#include <utility>
#include <vector>

#include "instance.hpp"
#include "random.hpp"

namespace stagewright {

/// The instance whose nodes are the clusters 0 .. clusters - 1; `edges` are further precedences
/// between clusters.  A plan of it costs what the same plan costs on the original: tensors inside a
/// cluster vanish, those with equal ends are added up, a cluster's working set is its largest.
/// Throws std::invalid_argument when the clusters form a cycle.
Instance contract(const Instance& instance, std::span<const std::int32_t> cluster,
                  std::int32_t clusters,
                  std::span<const std::pair<std::int32_t, std::int32_t>> edges = {});

/// Merges neighbours along one topological order: any set of disjoint intervals of an order can be
/// contracted without a cycle.  The order goes depth first along dear tensors, from a random end, so
/// that neighbours in it share much; the pairs merged are those of greatest total affinity.
class Coarsener {
   public:
    /// Clusters of the next level in `cluster`; returns their number.  With `block`, no cluster
    /// holds nodes of two blocks.  Clusters stay below `most` work and are at least `target` many.
    /// `unrelated`: also merge neighbours that share no tensor.
    static std::int32_t pair_up(const Instance& instance, std::span<const std::int32_t> block,
                                Picoseconds most, std::int32_t target, bool unrelated,
                                Random& random, std::vector<std::int32_t>& cluster);
};

}  // namespace stagewright
