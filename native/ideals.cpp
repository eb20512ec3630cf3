// SPDX-License-Identifier: Apache-2.0
#include "ideals.hpp"

#include <algorithm>
#include <bit>
#include <numeric>

#include "random.hpp"

namespace stagewright {

namespace {

constexpr std::int64_t kIdeal = 150;  // work per ideal and node added to it, see Stop::spend

bool has(const std::vector<std::uint64_t>& bits, Node v) {
    return (bits[static_cast<std::size_t>(v) >> 6U] >> (static_cast<unsigned>(v) & 63U)) & 1U;
}

}  // namespace

IdealGraph::IdealGraph(const Instance& instance, std::int64_t max_ideals, std::int64_t max_bytes,
                       Stop& stop)
    : instance_(instance), words_((instance.n + 63) / 64) {
    enumerate(max_ideals, max_bytes, stop);
}

void IdealGraph::expand(std::int64_t ideal, std::vector<std::uint64_t>& bits) const {
    const auto w = window(ideal);
    bits.assign(static_cast<std::size_t>(words_), 0);
    std::fill_n(bits.begin(), w.first, ~std::uint64_t{0});
    std::copy(w.words, w.words + (w.end - w.first), bits.begin() + w.first);
}

void IdealGraph::append(const std::vector<std::uint64_t>& words, std::int32_t first) {
    bits_.insert(bits_.end(), words.begin(), words.end());
    window_start_.push_back(static_cast<std::int64_t>(bits_.size()));
    first_word_.push_back(first);
}

/// One ideal under construction: its window, in the only form that equal ideals can have.
struct IdealGraph::Listing {
    std::vector<std::uint64_t> words;
    std::int32_t first = 0;

    void set_to(const IdealWindow& from, Node added) {
        words.assign(from.words, from.words + (from.end - from.first));
        first = from.first;
        const auto word = added >> 6;
        if (word >= first + static_cast<std::int32_t>(words.size()))
            words.resize(word - first + 1, 0);
        words[word - first] |= std::uint64_t{1} << (added & 63);
        std::size_t full = 0;
        while (full < words.size() && words[full] == ~std::uint64_t{0}) ++full;
        words.erase(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(full));
        first += static_cast<std::int32_t>(full);
    }

    [[nodiscard]] bool has(Node v) const {
        const auto word = (v >> 6) - first;
        if (word < 0) return true;
        if (word >= static_cast<std::int32_t>(words.size())) return false;
        return (words[word] >> (v & 63)) & 1U;
    }

    [[nodiscard]] bool equals(const IdealWindow& other) const {
        return first == other.first &&
               static_cast<std::int32_t>(words.size()) == other.end - other.first &&
               std::equal(words.begin(), words.end(), other.words);
    }
};

// Ideals of s nodes make those of s + 1, so only one size at a time needs a hash table.
// The table compares whole bit sets: an equal hash alone is no proof of equality.  Nodes are
// numbered along a topological order, so an ideal is full up to some word and empty soon after;
// only the words between are stored.
void IdealGraph::enumerate(std::int64_t max_ideals, std::int64_t max_bytes, Stop& stop) {
    const auto& g = instance_;
    std::vector<std::uint64_t> key(static_cast<std::size_t>(g.n));
    Random random(1);
    for (auto& k : key) k = random.next();
    std::vector<std::uint64_t> hash{0};
    std::vector<std::vector<Node>> ready(1);  // per ideal of the current size
    for (Node v = 0; v < g.n; ++v)
        if (g.predecessors[v].empty()) ready[0].push_back(v);
    append({}, 0);
    work_.push_back(0);
    live_.push_back(0);
    cover_start_.push_back(0);
    std::vector<std::int32_t> table;
    Listing made;
    std::int64_t begin = 0;
    for (Node size = 0; size < g.n; ++size) {
        const std::int64_t end = count();
        std::vector<std::vector<Node>> next_ready;
        std::size_t slots = 0;
        for (const auto& row : ready) slots += row.size();
        // What only this size and the next one need, beside what is kept.
        auto passing = static_cast<std::int64_t>(4 * std::bit_ceil(2 * slots + 2) + 4 * slots);
        if (passing > max_bytes) {
            too_large_ = true;
            return;
        }
        table.assign(std::bit_ceil(2 * slots + 2), -1);
        const std::size_t mask = table.size() - 1;
        for (std::int64_t i = begin; i < end; ++i) {
            const auto row = std::move(ready[i - begin]);
            for (const Node v : row) {
                const auto w = window(i);
                stop.spend(kIdeal + w.end - w.first);
                if (stop()) return;
                const auto h = hash[i] ^ key[v];
                made.set_to(w, v);
                std::size_t slot = h & mask;
                while (table[slot] >= 0 &&
                       (hash[table[slot]] != h || !made.equals(window(table[slot]))))
                    slot = (slot + 1) & mask;
                if (table[slot] < 0) {
                    const auto kept = static_cast<std::int64_t>(
                        8 * (bits_.size() + cover_node_.size()) + 80 * work_.size());
                    if (count() >= max_ideals || kept + passing > max_bytes) {
                        too_large_ = true;
                        return;
                    }
                    table[slot] = static_cast<std::int32_t>(count());
                    append(made.words, made.first);
                    hash.push_back(h);
                    work_.push_back(work_[i] + g.work[v]);
                    auto live = live_[i];
                    for (const auto t : g.writes[v]) live += g.cost[t];
                    for (const auto t : g.reads[v]) {
                        const auto users = g.consumers[t];
                        if (std::all_of(users.begin(), users.end(),
                                        [&](Node u) { return made.has(u); }))
                            live -= g.cost[t];
                    }
                    live_.push_back(live);
                    auto& list = next_ready.emplace_back();
                    for (const Node u : row)
                        if (u != v) list.push_back(u);
                    for (const Node u : g.successors[v]) {
                        const auto before = g.predecessors[u];
                        if (std::all_of(before.begin(), before.end(),
                                        [&](Node p) { return made.has(p); }))
                            list.push_back(u);
                    }
                    passing += static_cast<std::int64_t>(4 * list.capacity() + sizeof(list));
                    stop.spend(static_cast<std::int64_t>(list.size()));
                }
                cover_ideal_.push_back(table[slot]);
                cover_node_.push_back(v);
            }
            cover_start_.push_back(static_cast<std::int64_t>(cover_node_.size()));
        }
        begin = end;
        ready = std::move(next_ready);
    }
    cover_start_.push_back(static_cast<std::int64_t>(cover_node_.size()));
    complete_ = true;
}

Answer IdealGraph::decide(std::int32_t k, Picoseconds threshold, std::vector<std::int32_t>& block,
                          Stop& stop, bool certain) {
    certain_ = certain;
    doubts_ = 0;
    prepare_questions();
    return instance_.has_memory ? decide_with_memory(k, threshold, block, stop)
                                : decide_by_scan(k, threshold, block, stop);
}

void IdealGraph::prepare_questions() {
    if (lists_) {
        lists_->trim();
        return;
    }
    lists_ = std::make_unique<LiveLists>(instance_);
    by_work_.resize(static_cast<std::size_t>(count() - 1));
    std::iota(by_work_.begin(), by_work_.end(), 0);
    // Ideals are numbered by size, so what lies within an ideal comes before it.
    std::stable_sort(by_work_.begin(), by_work_.end(),
                     [&](auto a, auto b) { return work_[a] < work_[b]; });
}

void IdealGraph::blocks_of_chain(const std::vector<std::int32_t>& chain,
                                 std::vector<std::int32_t>& block) const {
    block.assign(static_cast<std::size_t>(instance_.n), -1);
    std::vector<std::uint64_t> inside;
    for (std::size_t b = 0; b < chain.size(); ++b) {
        expand(chain[b], inside);
        for (Node v = 0; v < instance_.n; ++v)
            if (block[v] < 0 && has(inside, v)) block[v] = static_cast<std::int32_t>(b);
    }
}

}  // namespace stagewright
