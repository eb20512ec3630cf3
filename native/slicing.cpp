// SPDX-License-Identifier: Apache-2.0
#include "slicing.hpp"

#include <algorithm>

namespace stagewright {

namespace {

constexpr Picoseconds kForever = std::numeric_limits<Picoseconds>::max();
constexpr std::int32_t kChunkBits = 4;
constexpr std::int32_t kChunk = 1 << kChunkBits;
constexpr Picoseconds kNarrow = 40;  // stop enclosing at a fortieth of the lower bound

}  // namespace

Slicer::Slicer(const Instance& instance)
    : instance_(instance),
      changes_end_(static_cast<std::size_t>(instance.n), 0),
      base_(static_cast<std::size_t>(instance.n), 0),
      work_(static_cast<std::size_t>(instance.n), 0),
      difference_(static_cast<std::size_t>(instance.n) + 1, 0),
      chunk_sum_((static_cast<std::size_t>(instance.n) >> kChunkBits) + 1, 0),
      chunk_start_(chunk_sum_.size() + 1, 0),
      fewest_(static_cast<std::size_t>(instance.n) + 1, 0),
      last_of_first_(static_cast<std::size_t>(instance.n) + 1, 0),
      least_queue_(static_cast<std::size_t>(instance.n) + 1, 0),
      next_use_(static_cast<std::size_t>(instance.tensors()), instance.n),
      last_use_(static_cast<std::size_t>(instance.tensors()), 0) {
    if (instance.has_memory) {
        param_difference_.assign(static_cast<std::size_t>(instance.n) + 1, 0);
        next_param_use_.assign(instance.memory.param_bytes.size(), instance.n);
        param_changes_end_.assign(static_cast<std::size_t>(instance.n), 0);
        param_base_.assign(static_cast<std::size_t>(instance.n), 0);
        working_set_.assign(static_cast<std::size_t>(instance.n), 0);
    }
}

std::int32_t Slicer::pass(std::span<const Node> order, Picoseconds threshold) {
    prepare(order);
    return run(threshold);
}

std::int32_t Slicer::run(Picoseconds threshold) {
    ++passes_;
    return instance_.has_memory ? run<true>(threshold) : run<false>(threshold);
}

/// Lists the changes of the row at each l, for all passes over this order.
void Slicer::prepare(std::span<const Node> order) {
    const auto& g = instance_;
    const std::int32_t n = g.n;
    std::fill(next_use_.begin(), next_use_.end(), n);
    changes_.clear();
    for (std::int32_t l = n - 1; l >= 0; --l) {
        const Node v = order[l];
        work_[l] = g.work[v];
        Picoseconds base = g.work[v];
        for (const auto t : g.reads[v]) {
            // Received by every block that starts at l and ends before the next consumer, which
            // already counts it.
            const auto c = g.cost[t];
            base += c;
            if (next_use_[t] < n) {
                changes_.push_back({next_use_[t], -c});
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
            changes_.push_back({last_use_[t], -c});
            changes_.push_back({next_use_[t], -c});
        }
        base_[l] = base;
        changes_end_[l] = static_cast<std::int32_t>(changes_.size());
    }
    if (g.has_memory) prepare_memory(order);
}

void Slicer::prepare_memory(std::span<const Node> order) {
    const auto& m = instance_.memory;
    const std::int32_t n = instance_.n;
    std::fill(next_param_use_.begin(), next_param_use_.end(), n);
    param_changes_.clear();
    for (std::int32_t l = n - 1; l >= 0; --l) {
        Bytes base = 0;
        for (const auto p : m.params_of[order[l]]) {
            base += m.param_bytes[p];
            if (next_param_use_[p] < n)
                param_changes_.push_back({next_param_use_[p], -m.param_bytes[p]});
            next_param_use_[p] = l;
        }
        param_base_[l] = base;
        param_changes_end_[l] = static_cast<std::int32_t>(param_changes_.size());
        working_set_[l] = m.working_set[order[l]];
    }
}

/// Turns the row f(l + 1, .) into f(l, .).
template <bool kWithMemory>
void Slicer::move_left(std::int32_t l) {
    const std::int32_t n = instance_.n;
    if ((l & (kChunk - 1)) == kChunk - 1 || l == n - 1) chunk_sum_[l >> kChunkBits] = 0;
    difference_[l] = base_[l];
    chunk_sum_[l >> kChunkBits] += base_[l];
    for (auto i = l + 1 < n ? changes_end_[l + 1] : 0; i < changes_end_[l]; ++i) {
        difference_[changes_[i].position] += changes_[i].amount;
        chunk_sum_[changes_[i].position >> kChunkBits] += changes_[i].amount;
    }
    if constexpr (kWithMemory) {
        param_difference_[l] = param_base_[l];
        for (auto i = l + 1 < n ? param_changes_end_[l + 1] : 0; i < param_changes_end_[l]; ++i)
            param_difference_[param_changes_[i].position] += param_changes_[i].amount;
    }
}

template <bool kWithMemory>
std::int32_t Slicer::run(Picoseconds threshold) {
    const std::int32_t n = instance_.n;
    Picoseconds window_work = 0;  // work of positions l .. end - 1
    std::int32_t end = n;
    fewest_[n] = 0;
    // Sliding minimum of fewest_ over l + 1 .. end: candidates from right to left, decreasing values
    // are kept in least_queue_[head .. tail - 1].
    std::int32_t head = 0;
    std::int32_t tail = 0;
    for (std::int32_t l = n - 1; l >= 0; --l) {
        move_left<kWithMemory>(l);
        window_work += work_[l];
        while (end > l && window_work > threshold) window_work -= work_[--end];
        while (tail > head && fewest_[least_queue_[tail - 1]] >= fewest_[l + 1]) --tail;
        least_queue_[tail++] = l + 1;
        while (head < tail && least_queue_[head] > end) ++head;
        fewest_[l] = kNever;
        if (end == l) continue;
        if constexpr (kWithMemory) {
            scan_with_memory(l, end, threshold);
        } else {
            scan_chunks(l, end, threshold, fewest_[least_queue_[head]]);
        }
    }
    return fewest_[0];
}

/// Sets fewest_[l] and last_of_first_[l] from the blocks l .. r with r < end, farthest chunk first;
/// `enough` is the least value of fewest_ over l + 1 .. end.
void Slicer::scan_chunks(std::int32_t l, std::int32_t end, Picoseconds threshold,
                         std::int32_t enough) {
    if (enough >= kNever) return;
    const std::int32_t first = l >> kChunkBits;
    const std::int32_t last = (end - 1) >> kChunkBits;
    Picoseconds start = 0;
    for (auto c = first; c <= last; ++c) {
        chunk_start_[c] = start;
        start += chunk_sum_[c];
    }
    std::int32_t best = kNever;
    std::int32_t best_end = l;
    for (auto c = last; c >= first; --c) {
        auto cost = chunk_start_[c];
        const auto from = std::max(l, c << kChunkBits);
        const auto to = std::min(end, (c + 1) << kChunkBits);
        for (auto r = from; r < to; ++r) {
            cost += difference_[r];
            const auto blocks = cost > threshold ? kNever : fewest_[r + 1];
            best_end = blocks < best ? r : best_end;
            best = blocks < best ? blocks : best;
        }
        if (best == enough) break;
    }
    if (best >= kNever) return;
    fewest_[l] = best + 1;
    last_of_first_[l] = best_end;
}

void Slicer::scan_with_memory(std::int32_t l, std::int32_t end, Picoseconds threshold) {
    const auto& m = instance_.memory;
    Picoseconds cost = 0;
    Bytes params = 0;
    Bytes largest = 0;
    std::int32_t best = kNever;
    for (std::int32_t r = l; r < end; ++r) {
        cost += difference_[r];
        params += param_difference_[r];
        largest = std::max(largest, working_set_[r]);
        if (fewest_[r + 1] >= best || cost > threshold) continue;
        if (cost + m.overflow(params + largest) > threshold) continue;
        best = fewest_[r + 1];
        last_of_first_[l] = r;
    }
    fewest_[l] = best >= kNever ? kNever : best + 1;
}

void Slicer::blocks(std::span<const Node> order, std::vector<std::int32_t>& block) const {
    block.resize(order.size());
    std::int32_t number = 0;
    for (std::int32_t l = 0; l < instance_.n; ++number) {
        const auto last = last_of_first_[l];
        for (; l <= last; ++l) block[order[l]] = number;
    }
}

void Slicer::keep(Kept& kept, Picoseconds threshold) {
    kept.threshold = threshold;
    kept.fewest.swap(fewest_);
    kept.last_of_first.swap(last_of_first_);
    fewest_.resize(kept.fewest.size());
    last_of_first_.resize(kept.last_of_first.size());
}

/// Least bottleneck of the suffix from l in at most so many blocks, rounded up to the low threshold;
/// kForever when it exceeds the high one.
Picoseconds Slicer::value_of(std::int32_t l, std::int32_t blocks) const {
    if (blocks >= low_.fewest[l]) return low_.threshold;
    if (blocks < high_.fewest[l]) return kForever;
    return value_[value_start_[l] + blocks - high_.fewest[l]];
}

template <bool kWithMemory>
Picoseconds Slicer::run_values(std::int32_t k) {
    const auto& g = instance_;
    const std::int32_t n = g.n;
    const auto threshold = high_.threshold;
    Picoseconds window_work = 0;
    std::int32_t end = n;
    value_.clear();
    choice_.clear();
    value_start_.assign(static_cast<std::size_t>(n) + 1, 0);
    for (std::int32_t l = n - 1; l >= 0; --l) {
        move_left<kWithMemory>(l);
        window_work += work_[l];
        while (end > l && window_work > threshold) window_work -= work_[--end];
        const auto least = high_.fewest[l];
        const auto count = std::min(low_.fewest[l] - 1, k) - least + 1;
        const auto begin = static_cast<std::int64_t>(value_.size());
        value_start_[l] = begin;
        if (least > k || count <= 0) continue;
        value_.resize(value_.size() + count, kForever);
        choice_.resize(value_.size(), l);
        Picoseconds cost = 0;
        Bytes params = 0;
        Bytes largest = 0;
        for (std::int32_t r = l; r < end; ++r) {
            cost += difference_[r];
            auto total = cost;
            if constexpr (kWithMemory) {
                params += param_difference_[r];
                largest = std::max(largest, working_set_[r]);
                total += g.memory.overflow(params + largest);
            }
            if (total > threshold) continue;
            for (auto i = std::max(0, high_.fewest[r + 1] + 1 - least); i < count; ++i) {
                const auto value = std::max(total, value_of(r + 1, least + i - 1));
                if (value >= value_[begin + i]) continue;
                value_[begin + i] = value;
                choice_[begin + i] = r;
            }
        }
    }
    return value_of(0, k);
}

void Slicer::follow_values(std::span<const Node> order, std::int32_t k,
                           std::vector<std::int32_t>& block) const {
    block.resize(order.size());
    auto left = k;
    std::int32_t number = 0;
    for (std::int32_t l = 0; l < instance_.n; ++number, --left) {
        const auto last = left >= low_.fewest[l]
                              ? low_.last_of_first[l]
                              : choice_[value_start_[l] + left - high_.fewest[l]];
        for (; l <= last; ++l) block[order[l]] = number;
    }
}

bool Slicer::test(Picoseconds threshold, std::int32_t k) {
    const bool enough = run(threshold) <= k;
    keep(enough ? high_ : low_, threshold);
    return enough;
}

/// Encloses the optimum by low_ and high_ up to `width`; false when it is above `upper`.
bool Slicer::enclose(std::int32_t k, Picoseconds lower, Picoseconds upper, Picoseconds width) {
    low_.threshold = high_.threshold = -1;
    // With an upper bound the question is mostly whether the order beats it at all; if so, then
    // mostly not by much.  Without, gallop upwards, since wide windows are dear.
    if (upper != kForever) {
        if (!test(upper, k)) return false;
        for (auto step = width; high_.threshold > lower && low_.threshold < 0; step *= 2)
            test(std::max(lower, high_.threshold - step), k);
    } else {
        for (auto step = std::max<Picoseconds>(1, lower / 8); high_.threshold < 0; step *= 2)
            test(low_.threshold < 0 ? lower + step : low_.threshold + step, k);
        if (low_.threshold < 0) test(lower, k);
    }
    while (low_.threshold >= 0 && high_.threshold - low_.threshold > width)
        test(low_.threshold + (high_.threshold - low_.threshold) / 2, k);
    return true;
}

Picoseconds Slicer::optimum(std::span<const Node> order, std::int32_t k, Picoseconds lower,
                            Picoseconds upper, std::vector<std::int32_t>& block) {
    prepare(order);
    if (!enclose(k, std::min(lower, upper), upper, std::max<Picoseconds>(1, lower / kNarrow)))
        return upper + 1;
    if (low_.threshold < 0) {
        // The lower bound itself is feasible.
        fewest_.swap(high_.fewest);
        last_of_first_.swap(high_.last_of_first);
        blocks(order, block);
        return high_.threshold;
    }
    const auto value = instance_.has_memory ? run_values<true>(k) : run_values<false>(k);
    follow_values(order, k, block);
    return value;
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
