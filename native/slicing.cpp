// SPDX-License-Identifier: Apache-2.0
#include "slicing.hpp"

#include <algorithm>

namespace stagewright {

namespace {

constexpr Picoseconds kForever = std::numeric_limits<Picoseconds>::max();
constexpr Picoseconds kFar = kForever / 2;  // a cost above all, with room for a row's changes
constexpr std::int32_t kChunkBits = 4;
constexpr std::int32_t kChunk = 1 << kChunkBits;
constexpr Picoseconds kNarrow = 40;  // stop enclosing at a fortieth of the lower bound

/// The blocks of a suffix and where its first block ends, in one number: fewer blocks come first,
/// then the shorter block.
constexpr std::int64_t kNothing = std::numeric_limits<std::int64_t>::max();
std::int64_t packed(std::int32_t blocks, std::int32_t position) {
    return std::int64_t{blocks} << 32 | position;
}

/// Positions of whole chunks that hold n of them.
std::size_t in_chunks(Node n) {
    return ((static_cast<std::size_t>(n) >> kChunkBits) + 1) << kChunkBits;
}

}  // namespace

Slicer::Slicer(const Instance& instance)
    : instance_(instance),
      changes_end_(static_cast<std::size_t>(instance.n) + 1, 0),
      base_(static_cast<std::size_t>(instance.n), 0),
      work_before_(static_cast<std::size_t>(instance.n) + 1, 0),
      difference_(in_chunks(instance.n), 0),
      chunks_(in_chunks(instance.n) >> kChunkBits),
      after_(in_chunks(instance.n), kNothing),
      fewest_(static_cast<std::size_t>(instance.n) + 1, 0),
      last_of_first_(static_cast<std::size_t>(instance.n) + 1, 0),
      next_use_(static_cast<std::size_t>(instance.tensors()), instance.n),
      last_use_(static_cast<std::size_t>(instance.tensors()), 0) {
    if (instance.has_memory) {
        param_difference_.assign(static_cast<std::size_t>(instance.n) + 1, 0);
        next_param_use_.assign(instance.memory.param_bytes.size(), instance.n);
        param_changes_end_.assign(static_cast<std::size_t>(instance.n) + 1, 0);
        param_base_.assign(static_cast<std::size_t>(instance.n), 0);
        working_set_.assign(static_cast<std::size_t>(instance.n), 0);
    }
}

std::int32_t Slicer::pass(std::span<const Node> order, Picoseconds threshold, std::int32_t k) {
    prepare(order);
    return run(threshold, k);
}

std::int32_t Slicer::run(Picoseconds threshold, std::int32_t k) {
    ++passes_;
    return instance_.has_memory ? run<true>(threshold, k) : run<false>(threshold, k);
}

/// Lists the changes of the row at each l, for all passes over this order.
void Slicer::prepare(std::span<const Node> order) {
    const auto& g = instance_;
    const std::int32_t n = g.n;
    std::fill(next_use_.begin(), next_use_.end(), n);
    changes_.clear();
    for (std::int32_t l = 0; l < n; ++l) work_before_[l + 1] = work_before_[l] + g.work[order[l]];
    for (std::int32_t l = n - 1; l >= 0; --l) {
        const Node v = order[l];
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

void Slicer::begin_pass() {
    // What lies left of l is nothing yet: then chunks can be read whole.
    std::ranges::fill(difference_, 0);
    std::ranges::fill(chunks_, Chunk{});
    std::ranges::fill(after_, kNothing);
    held_ = {};
    fewest_[instance_.n] = 0;
}

/// Turns the row f(l + 1, .) into f(l, .).
template <bool kWithMemory>
void Slicer::move_left(std::int32_t l) {
    const auto base = base_[l];
    difference_[l] = base;
    chunks_[l >> kChunkBits].sum += base;
    auto at_end = base;   // f(l, r) - f(l + 1, r) for the largest r: the least there is
    auto at_held = base;  // ... and for the end of the block that is held
    for (auto i = changes_end_[l + 1]; i < changes_end_[l]; ++i) {
        const auto [position, amount] = changes_[i];
        auto& chunk = chunks_[position >> kChunkBits];
        difference_[position] += amount;
        chunk.sum += amount;
        chunk.lowest += amount;  // amounts are negative, so this stays below the chunk's values
        at_end += amount;
        at_held += position <= held_.end ? amount : 0;
    }
    held_.cost += at_held;
    held_.barred += at_end;
    if constexpr (kWithMemory) {
        param_difference_[l] = param_base_[l];
        for (auto i = param_changes_end_[l + 1]; i < param_changes_end_[l]; ++i)
            param_difference_[param_changes_[i].position] += param_changes_[i].amount;
    }
}

/// Most work that at most so many blocks of cost <= threshold can hold.
Picoseconds Slicer::capacity(std::int32_t blocks, Picoseconds threshold) {
    if (blocks <= 0) return 0;
    return threshold > kForever / blocks ? kForever : threshold * blocks;
}

/// Fewest blocks of cost <= threshold that can hold so much work.
std::int32_t Slicer::blocks_for(Picoseconds work, Picoseconds threshold) {
    if (work == 0) return 0;
    if (threshold == 0) return kNever;
    return static_cast<std::int32_t>(std::min<Picoseconds>((work - 1) / threshold + 1, kNever));
}

template <bool kWithMemory>
std::int32_t Slicer::run(Picoseconds threshold, std::int32_t k) {
    const std::int32_t n = instance_.n;
    begin_pass();
    std::int32_t end = n;  // work of l .. end - 1 is at most the threshold
    for (std::int32_t l = n - 1; l >= 0; --l) {
        move_left<kWithMemory>(l);
        if constexpr (!kWithMemory) {
            after_[l] = packed(fewest_[l + 1], l);
            auto& chunk = chunks_[l >> kChunkBits];
            chunk.least = std::min(chunk.least, fewest_[l + 1]);
            if (held_.cost <= threshold && held_.barred > threshold) {
                fewest_[l] = held_.blocks + 1;
                last_of_first_[l] = held_.end;
                continue;
            }
        }
        while (end > l && work_before_[end] - work_before_[l] > threshold) --end;
        const auto enough =
            kWithMemory ? scan_with_memory(l, end, threshold) : scan_chunks(l, end, threshold);
        // The block that holds l ends in the window, so the blocks up to its end hold at least the
        // work up to l, and at least `enough` follow.
        if (enough >= kNever || work_before_[l + 1] > capacity(k - enough, threshold)) {
            std::fill(fewest_.begin(), fewest_.begin() + l + 1, kNever);
            return kNever;
        }
    }
    return fewest_[0];
}

/// Finds a first block l .. r, r < end, that leaves the fewest blocks, the shortest of them, and holds
/// it.  Returns the least of fewest_[r + 1] whether or not l .. r is cheap enough.
std::int32_t Slicer::scan_chunks(std::int32_t l, std::int32_t end, Picoseconds threshold) {
    const std::int32_t first = l >> kChunkBits;
    const std::int32_t last = (end - 1) >> kChunkBits;
    auto enough = kNever;
    Picoseconds start = 0;
    for (auto c = first; c <= last; ++c) {
        chunks_[c].start = start;
        start += chunks_[c].sum;
        enough = std::min(enough, chunks_[c].least);
    }
    fewest_[l] = kNever;
    held_ = {};
    auto barred = kFar;
    for (auto target = enough, next = kNever; target < kNever; target = next, next = kNever) {
        // Whatever leaves fewer blocks than target is too dear, by at least barred - threshold.
        held_.barred = barred;
        for (auto c = first; c <= last; ++c) {
            auto& chunk = chunks_[c];
            if (chunk.least > target) {
                next = std::min(next, chunk.least);
                continue;
            }
            if (chunk.start + chunk.lowest > threshold) {
                barred = std::min(barred, chunk.start + chunk.lowest);
                continue;
            }
            const auto found = scan_chunk(c, target, threshold);
            if (found.best < packed(target + 1, 0)) {
                held_.blocks = target;
                held_.end = static_cast<std::int32_t>(found.best & 0xFFFFFFFF);
                held_.cost = found.cost;
                fewest_[l] = target + 1;
                last_of_first_[l] = held_.end;
                return enough;
            }
            barred = std::min(barred, found.barred);
            next = std::min(next, found.next);
        }
    }
    return enough;
}

/// The best of a chunk among the ends that leave at most `target` blocks.
Slicer::Scanned Slicer::scan_chunk(std::int32_t c, std::int32_t target, Picoseconds threshold) {
    auto& chunk = chunks_[c];
    const auto* difference = &difference_[c << kChunkBits];
    const auto* after = &after_[c << kChunkBits];
    const auto limit = packed(target + 1, 0);
    Picoseconds costs[kChunk];
    Scanned found{kNothing, 0, kFar, kNever};
    auto cost = chunk.start;
    auto lowest = kForever;
    auto beyond = kNothing;
    for (std::int32_t i = 0; i < kChunk; ++i) {
        cost += difference[i];
        costs[i] = cost;
        lowest = std::min(lowest, cost);
        found.best = std::min(found.best, cost > threshold ? kNothing : after[i]);
        found.barred = std::min(found.barred, after[i] < limit ? cost : kFar);
        beyond = std::min(beyond, after[i] < limit ? kNothing : after[i]);
    }
    chunk.lowest = lowest - chunk.start;
    found.next = static_cast<std::int32_t>(std::min(beyond >> 32, std::int64_t{kNever}));
    if (found.best != kNothing) found.cost = costs[found.best & (kChunk - 1)];
    return found;
}

/// Sets fewest_[l] and last_of_first_[l]; returns the least of fewest_[r + 1] for l <= r < end.
std::int32_t Slicer::scan_with_memory(std::int32_t l, std::int32_t end, Picoseconds threshold) {
    const auto& m = instance_.memory;
    Picoseconds cost = 0;
    Bytes params = 0;
    Bytes largest = 0;
    std::int32_t best = kNever;
    std::int32_t enough = kNever;
    for (std::int32_t r = l; r < end; ++r) {
        cost += difference_[r];
        params += param_difference_[r];
        largest = std::max(largest, working_set_[r]);
        const auto overflow = m.overflow(params + largest);
        if (overflow > threshold) break;  // what a block holds grows with it
        enough = std::min(enough, fewest_[r + 1]);
        if (fewest_[r + 1] >= best || cost + overflow > threshold) continue;
        best = fewest_[r + 1];
        last_of_first_[l] = r;
    }
    fewest_[l] = best >= kNever ? kNever : best + 1;
    return enough;
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
    begin_pass();
    std::int32_t end = n;
    value_.clear();
    choice_.clear();
    value_start_.assign(static_cast<std::size_t>(n) + 1, 0);
    for (std::int32_t l = n - 1; l >= 0; --l) {
        move_left<kWithMemory>(l);
        while (end > l && work_before_[end] - work_before_[l] > threshold) --end;
        // Suffixes from l that leave the work before them too few blocks do not matter.
        const auto most = k - blocks_for(work_before_[l], threshold);
        const auto least = high_.fewest[l];
        const auto count = std::min(low_.fewest[l] - 1, most) - least + 1;
        const auto begin = static_cast<std::int64_t>(value_.size());
        value_start_[l] = begin;
        if (count <= 0) continue;
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
                const auto overflow = g.memory.overflow(params + largest);
                if (overflow > threshold) break;
                total += overflow;
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
    const bool enough = run(threshold, k) <= k;
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
            test(std::max(lower, low_.threshold) + step, k);
        if (low_.threshold < 0) test(lower, k);
    }
    while (low_.threshold >= 0 &&
           high_.threshold - low_.threshold > std::max(width, low_.threshold / kNarrow))
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
        for (std::size_t l = 0; l < n; ++l)
            for (std::size_t r = l + 1; r <= n; ++r)
                now[r] = std::min(now[r], std::max(least[l], cost[l * width + r - 1]));
        std::swap(least, now);
    }
    return least[n];
}

}  // namespace stagewright
