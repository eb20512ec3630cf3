// SPDX-License-Identifier: Apache-2.0
// Where the skeleton is split: at the states and nodes where a relaxed chain contradicts itself most.
#pragma once

#include <vector>

#include "state_space.hpp"

namespace stagewright {

struct Split {
    std::int32_t state = -1;
    Node node = -1;
    double score = 0;
};

class Refiner {
   public:
    Refiner(const Instance& instance, const Closures& closures,
            const std::vector<Picoseconds>& weights);

    /// Splits along the path (arcs of the space), best first, at most one per state.
    std::vector<Split> splits(const StateSpace& space, const std::vector<std::int32_t>& path,
                              Stop& stop);

    /// How often each node was covered by the paths so far, on average.
    [[nodiscard]] std::vector<double> coverage() const;

   private:
    void cover(const StateSpace& space, std::int32_t arc, std::vector<double>& covered) const;
    [[nodiscard]] Split best(const StateSpace& space, std::int32_t state,
                             const std::vector<double>& left, const std::vector<double>& all);

    const Instance& g_;
    const Closures& closures_;
    std::vector<double> weight_;  // work and sent tensors, as a share of the whole
    std::vector<double> into_left_, into_right_;
    std::vector<double> covered_;
    double paths_ = 0;
};

}  // namespace stagewright
