// SPDX-License-Identifier: Apache-2.0
#include "slicing.hpp"

#include <algorithm>

namespace stagewright {

namespace {
constexpr Picoseconds kForever = std::numeric_limits<Picoseconds>::max();
}

Slicer::Slicer(const Instance& instance)
    : instance_(instance),
      difference_(static_cast<std::size_t>(instance.n) + 1, 0),
      fewest_(static_cast<std::size_t>(instance.n) + 1, 0),
      last_of_first_(static_cast<std::size_t>(instance.n) + 1, 0),
      next_use_(static_cast<std::size_t>(instance.tensors()), instance.n),
      last_use_(static_cast<std::size_t>(instance.tensors()), 0) {
    if (instance.has_memory) {
        param_difference_.assign(static_cast<std::size_t>(instance.n) + 1, 0);
        next_param_use_.assign(instance.memory.param_bytes.size(), instance.n);
    }
}

std::int32_t Slicer::pass(std::span<const Node> order, Picoseconds threshold) {
    ++passes_;
    return instance_.has_memory ? run<true>(order, threshold) : run<false>(order, threshold);
}

template <bool kWithMemory>
std::int32_t Slicer::run(std::span<const Node> order, Picoseconds threshold) {
    const auto& g = instance_;
    const std::int32_t n = g.n;
    Picoseconds next = kForever;
    Picoseconds window_work = 0;  // work of positions l .. end - 1
    std::int32_t end = n;
    fewest_[n] = 0;
    std::fill(next_use_.begin(), next_use_.end(), n);
    if constexpr (kWithMemory) std::fill(next_param_use_.begin(), next_param_use_.end(), n);
    for (std::int32_t l = n - 1; l >= 0; --l) {
        const Node v = order[l];
        Picoseconds base = g.work[v];
        difference_[l] = 0;
        for (const auto t : g.reads[v]) {
            // Received by every block that starts at l and ends before the next consumer, which
            // already counts it.
            const auto c = g.cost[t];
            base += c;
            if (next_use_[t] < n) {
                difference_[next_use_[t]] -= c;
            } else {
                last_use_[t] = l;
            }
            next_use_[t] = l;
        }
        for (const auto t : g.writes[v]) {
            // Sent while the last consumer is outside; from the first consumer on, the block no
            // longer receives it.
            const auto c = g.cost[t];
            base += c;
            difference_[last_use_[t]] -= c;
            difference_[next_use_[t]] -= c;
        }
        difference_[l] += base;
        window_work += g.work[v];
        while (end > l && window_work > threshold) {
            next = std::min(next, window_work);
            window_work -= g.work[order[--end]];
        }
        Picoseconds cost = 0;
        std::int32_t best = kNever;
        std::int32_t best_end = l;
        if constexpr (kWithMemory) {
            const auto& m = g.memory;
            param_difference_[l] = 0;
            for (const auto p : m.params_of[v]) {
                param_difference_[l] += m.param_bytes[p];
                if (next_param_use_[p] < n) param_difference_[next_param_use_[p]] -= m.param_bytes[p];
                next_param_use_[p] = l;
            }
            Bytes params = 0;
            Bytes largest = 0;
            for (std::int32_t r = l; r < end; ++r) {
                cost += difference_[r];
                params += param_difference_[r];
                largest = std::max(largest, m.working_set[order[r]]);
                const auto total = cost + m.overflow(params + largest);
                if (total > threshold) {
                    next = std::min(next, total);
                } else if (fewest_[r + 1] < best) {
                    best = fewest_[r + 1];
                    best_end = r;
                }
            }
        } else {
            for (std::int32_t r = l; r < end; ++r) {
                cost += difference_[r];
                const auto above = cost > threshold ? cost : kForever;
                next = above < next ? above : next;
                const auto blocks = cost > threshold ? kNever : fewest_[r + 1];
                best_end = blocks < best ? r : best_end;
                best = blocks < best ? blocks : best;
            }
        }
        fewest_[l] = best >= kNever ? kNever : best + 1;
        last_of_first_[l] = best_end;
    }
    next_threshold_ = next;
    return fewest_[0];
}

void Slicer::blocks(std::span<const Node> order, std::vector<std::int32_t>& block) const {
    block.resize(order.size());
    std::int32_t number = 0;
    for (std::int32_t l = 0; l < instance_.n; ++number) {
        const auto last = last_of_first_[l];
        for (; l <= last; ++l) block[order[l]] = number;
    }
}

Picoseconds Slicer::optimum(std::span<const Node> order, std::int32_t k, Picoseconds lower,
                            Picoseconds upper, std::vector<std::int32_t>& block) {
    // lower is feasible or below the optimum at all times; found is the best known bottleneck.
    Picoseconds found = upper == kForever ? kForever : upper + 1;
    Picoseconds step = std::max<Picoseconds>(1, lower / 16);
    while (lower < found) {
        // Gallop upwards until something is feasible (wide windows are dear), then bisect.
        Picoseconds middle = 0;
        if (found == kForever || found > upper) {
            middle = std::min(upper, lower > kForever - step ? kForever - 1 : lower + step);
            step *= 2;
        } else {
            middle = lower + (found - lower) / 2;
            if (middle >= found) middle = found - 1;
        }
        if (pass(order, middle) <= k) {
            blocks(order, block);
            std::int32_t count = 0;
            for (const auto b : block) count = std::max(count, b + 1);
            const auto costs = block_costs(instance_, block, count);
            found = *std::max_element(costs.begin(), costs.end());
        } else {
            lower = std::max(middle + 1, next_threshold_);
            if (middle >= upper) break;
        }
    }
    return found;
}

Picoseconds slice_directly(const Instance& g, std::span<const Node> order, std::int32_t k) {
    const auto n = static_cast<std::size_t>(g.n);
    std::vector<std::size_t> position(n);
    for (std::size_t i = 0; i < n; ++i) position[order[i]] = i;
    // Each tensor is paid on rectangles of (l, r): sent where l <= producer <= r < last use,
    // received where previous use < l <= use <= r.  Corners first, then two-dimensional sums.
    const std::size_t width = n + 1;
    std::vector<Picoseconds> cost(width * width, 0);
    const auto rectangle = [&](std::size_t l0, std::size_t l1, std::size_t r0, std::size_t r1,
                               Picoseconds c) {
        cost[l0 * width + r0] += c;
        cost[l0 * width + r1] -= c;
        cost[l1 * width + r0] -= c;
        cost[l1 * width + r1] += c;
    };
    std::vector<std::size_t> uses;
    for (Tensor t = 0; t < g.tensors(); ++t) {
        const auto p = position[g.producer[t]];
        uses.clear();
        for (const auto u : g.consumers[t]) uses.push_back(position[u]);
        std::sort(uses.begin(), uses.end());
        rectangle(0, p + 1, p, uses.back(), g.cost[t]);
        auto previous = p;
        for (const auto use : uses) {
            rectangle(previous + 1, use + 1, use, n, g.cost[t]);
            previous = use;
        }
    }
    for (std::size_t l = 0; l < n; ++l)
        for (std::size_t r = 1; r < n; ++r) cost[l * width + r] += cost[l * width + r - 1];
    for (std::size_t l = 1; l < n; ++l)
        for (std::size_t r = 0; r < n; ++r) cost[l * width + r] += cost[(l - 1) * width + r];
    for (std::size_t l = 0; l < n; ++l) {
        Picoseconds sum = 0;
        for (std::size_t r = l; r < n; ++r) cost[l * width + r] += sum += g.work[order[r]];
    }
    // least[r] = least bottleneck of positions 0 .. r - 1 in at most b blocks.
    std::vector<Picoseconds> least(n + 1, kForever), now(n + 1, kForever);
    least[0] = 0;
    for (std::int32_t b = 0; b < k; ++b) {
        now = least;
        for (std::size_t r = 1; r <= n; ++r)
            for (std::size_t l = 0; l < r; ++l)
                now[r] = std::min(now[r], std::max(least[l], cost[l * width + r - 1]));
        std::swap(least, now);
    }
    return least[n];
}

}  // namespace stagewright
