// SPDX-License-Identifier: Apache-2.0
// The least number of blocks, in fractions, that cover every node: a linear program over known blocks,
//
//     minimise sum x_S   subject to   sum of x_S over S that hold v >= 1 for every node v,   x >= 0,
//
// solved by the primal simplex method with an explicit inverse.  Only its prices are used, and only to
// choose amounts: whatever they are, the bound drawn from them is proven in whole numbers.
#pragma once

#include <vector>

#include "bits.hpp"
#include "stop.hpp"

namespace stagewright {

class CoverMaster {
   public:
    /// Starts from one block per node.
    explicit CoverMaster(Node n);

    void add(const std::vector<Word>& block);
    /// False: stopped; the prices are then those of a cover that is not the best.
    bool solve(Stop& stop);

    [[nodiscard]] double value() const;
    /// Per node; a block's prices sum to at most 1 once solved.
    [[nodiscard]] const std::vector<double>& prices() const { return prices_; }
    /// The nodes of the block that row r of the basis stands for; null where it is a surplus.
    [[nodiscard]] const std::vector<Node>* basic(std::size_t row) const {
        return basis_[row] < 0 ? nullptr : &columns_[static_cast<std::size_t>(basis_[row])];
    }
    [[nodiscard]] double price_of(const std::vector<Word>& block) const;

   private:
    void price();
    [[nodiscard]] double price_of(const std::vector<Node>& nodes) const;
    [[nodiscard]] std::int32_t entering();
    bool pivot(std::int32_t column);
    void invert();
    void direction(std::int32_t column, std::vector<double>& result) const;

    std::size_t n_;
    std::vector<std::vector<Node>> columns_;  // blocks; negative numbers are surplus columns
    std::vector<std::int32_t> basis_;         // per row: a block, or -1 - node for its surplus
    std::vector<double> inverse_;             // of the basis, n * n, by rows
    std::vector<double> primal_, demand_, prices_, way_;
    std::int64_t pivots_ = 0;
    std::size_t next_ = 0;  // column to look at
};

}  // namespace stagewright
