// SPDX-License-Identifier: Apache-2.0
#include "cover_master.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace stagewright {

namespace {

constexpr double kTolerance = 1e-9;
constexpr std::size_t kPart = 500;
constexpr std::int32_t kNone = std::numeric_limits<std::int32_t>::min();

}  // namespace

CoverMaster::CoverMaster(Node n)
    : n_(static_cast<std::size_t>(n)),
      basis_(n_),
      inverse_(n_ * n_, 0),
      demand_(n_),
      prices_(n_),
      way_(n_) {
    for (std::size_t v = 0; v < n_; ++v) {
        columns_.push_back({static_cast<Node>(v)});
        basis_[v] = static_cast<std::int32_t>(v);
        inverse_[v * n_ + v] = 1;
        // A little more or less of each, so that no two steps are equally long.
        demand_[v] = 1 + 1e-6 * static_cast<double>((v * 7919 + 13) % 1009) / 1009;
    }
    primal_ = demand_;
    price();
}

void CoverMaster::add(const std::vector<Word>& block) {
    auto& nodes = columns_.emplace_back();
    for (std::size_t i = 0; i < block.size(); ++i)
        each_node(block[i], i, [&](Node v) { nodes.push_back(v); });
}

void CoverMaster::price() {
    std::fill(prices_.begin(), prices_.end(), 0);
    for (std::size_t r = 0; r < n_; ++r) {
        if (basis_[r] < 0) continue;
        for (std::size_t v = 0; v < n_; ++v) prices_[v] += inverse_[r * n_ + v];
    }
}

double CoverMaster::price_of(const std::vector<Word>& block) const {
    double sum = 0;
    for (std::size_t i = 0; i < block.size(); ++i)
        each_node(block[i], i, [&](Node v) { sum += prices_[v]; });
    return sum;
}

double CoverMaster::price_of(const std::vector<Node>& nodes) const {
    double sum = 0;
    for (const auto v : nodes) sum += prices_[v];
    return sum;
}

double CoverMaster::value() const {
    double sum = 0;
    for (const auto p : prices_) sum += p;
    return sum;
}

/// The column that would lower the number of blocks fastest, or kNone.
std::int32_t CoverMaster::entering() {
    auto best = kTolerance;
    auto column = kNone;
    for (std::size_t v = 0; v < n_; ++v)
        if (-prices_[v] > best) {
            best = -prices_[v];
            column = -1 - static_cast<std::int32_t>(v);
        }
    // A part of the columns at a time, from where the last search ended, until one is found.
    for (std::size_t i = 0; i < columns_.size(); ++i) {
        if (i >= kPart && i % kPart == 0 && column != kNone) break;
        const auto c = next_++ % columns_.size();
        const auto sum = price_of(columns_[c]) - 1;
        if (sum > best) {
            best = sum;
            column = static_cast<std::int32_t>(c);
        }
    }
    return column;
}

void CoverMaster::direction(std::int32_t column, std::vector<double>& result) const {
    for (std::size_t r = 0; r < n_; ++r) {
        const auto* row = inverse_.data() + r * n_;
        double sum = 0;
        if (column < 0)
            sum = -row[-1 - column];
        else
            for (const auto v : columns_[column]) sum += row[v];
        result[r] = sum;
    }
}

/// False when numbers have gone bad.
bool CoverMaster::pivot(std::int32_t column) {
    direction(column, way_);
    auto longest = std::numeric_limits<double>::infinity();
    std::size_t leaving = n_;
    for (std::size_t r = 0; r < n_; ++r) {
        if (way_[r] <= 1e-7) continue;
        const auto length = std::max(primal_[r], 0.0) / way_[r];
        if (length < longest) {
            longest = length;
            leaving = r;
        }
    }
    if (leaving == n_) return false;
    auto* row = inverse_.data() + leaving * n_;
    const auto scale = 1 / way_[leaving];
    for (std::size_t v = 0; v < n_; ++v) row[v] *= scale;
    for (std::size_t r = 0; r < n_; ++r) {
        if (r == leaving || std::abs(way_[r]) < 1e-13) continue;
        primal_[r] -= longest * way_[r];
        auto* other = inverse_.data() + r * n_;
        for (std::size_t v = 0; v < n_; ++v) other[v] -= way_[r] * row[v];
    }
    primal_[leaving] = longest;
    const auto gain = column < 0 ? prices_[-1 - column] : 1 - price_of(columns_[column]);
    for (std::size_t v = 0; v < n_; ++v) prices_[v] += gain * row[v];
    basis_[leaving] = column;
    return true;
}

/// Computes the inverse anew: rounding errors add up.
void CoverMaster::invert() {
    const auto n = n_;
    std::vector<double> matrix(n * n, 0);
    for (std::size_t c = 0; c < n; ++c) {
        if (basis_[c] < 0)
            matrix[static_cast<std::size_t>(-1 - basis_[c]) * n + c] = -1;
        else
            for (const auto v : columns_[basis_[c]])
                matrix[static_cast<std::size_t>(v) * n + c] = 1;
    }
    std::fill(inverse_.begin(), inverse_.end(), 0);
    for (std::size_t v = 0; v < n; ++v) inverse_[v * n + v] = 1;
    const auto swap_rows = [&](std::vector<double>& m, std::size_t a, std::size_t b) {
        std::swap_ranges(m.begin() + static_cast<std::ptrdiff_t>(a * n),
                         m.begin() + static_cast<std::ptrdiff_t>((a + 1) * n),
                         m.begin() + static_cast<std::ptrdiff_t>(b * n));
    };
    for (std::size_t c = 0; c < n; ++c) {
        std::size_t best = c;
        for (std::size_t r = c + 1; r < n; ++r)
            if (std::abs(matrix[r * n + c]) > std::abs(matrix[best * n + c])) best = r;
        if (best != c) {
            swap_rows(matrix, c, best);
            swap_rows(inverse_, c, best);
        }
        const auto scale = 1 / matrix[c * n + c];
        for (std::size_t v = 0; v < n; ++v) {
            matrix[c * n + v] *= scale;
            inverse_[c * n + v] *= scale;
        }
        for (std::size_t r = 0; r < n; ++r) {
            const auto factor = matrix[r * n + c];
            if (r == c || factor == 0) continue;
            for (std::size_t v = 0; v < n; ++v) {
                matrix[r * n + v] -= factor * matrix[c * n + v];
                inverse_[r * n + v] -= factor * inverse_[c * n + v];
            }
        }
    }
    for (std::size_t r = 0; r < n; ++r) {
        primal_[r] = 0;
        for (std::size_t v = 0; v < n; ++v) primal_[r] += inverse_[r * n + v] * demand_[v];
    }
}

bool CoverMaster::solve(Stop& stop) {
    const auto renew = static_cast<std::int64_t>(std::max<std::size_t>(400, 2 * n_));
    const auto most = static_cast<std::int64_t>(50 * n_ + 1000);
    for (std::int64_t i = 0; i < most; ++i) {
        if (stop()) return false;
        stop.spend(static_cast<std::int64_t>(n_ * n_ / 2 + 3 * columns_.size()));
        const auto column = entering();
        if (column == kNone || !pivot(column)) break;
        if (++pivots_ % renew == 0) {
            invert();
            price();
        }
    }
    price();
    return true;
}

}  // namespace stagewright
