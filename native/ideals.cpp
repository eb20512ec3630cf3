// SPDX-License-Identifier: Apache-2.0
#include "ideals.hpp"

#include <algorithm>
#include <bit>
#include <numeric>
#include <utility>

#include "random.hpp"

namespace stagewright {

namespace {

constexpr std::int64_t kIdeal = 150;  // work per ideal and node added to it, see Stop::spend
constexpr std::size_t kMostKept = std::size_t{1}
                                  << 22U;  // tensors of lists kept between questions: 64 MiB

bool has(const std::vector<std::uint64_t>& bits, Node v) {
    return (bits[static_cast<std::size_t>(v) >> 6U] >> (static_cast<unsigned>(v) & 63U)) & 1U;
}

}  // namespace

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
struct IdealGraph::Made {
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
struct IdealGraph::Listing {
    std::vector<std::uint64_t> key;            // per node
    std::vector<std::uint64_t> hash{0};        // per ideal
    std::vector<std::vector<Node>> ready{{}};  // per ideal of the current size
    std::vector<std::vector<Node>> next_ready;
    std::vector<std::int32_t> table;
    std::size_t mask = 0;
    std::int64_t begin = 0, end = 0,
                 next = 0;     // of the current size; what comes above `next` is next
    std::int64_t passing = 0;  // bytes that only this size and the next one need
    Node size = -1;
    Made made;
};

IdealGraph::IdealGraph(const Instance& instance, std::int64_t max_ideals, std::int64_t max_bytes,
                       Stop& stop)
    : instance_(instance), words_((instance.n + 63) / 64), listing_(std::make_unique<Listing>()) {
    auto& l = *listing_;
    Random random(1);
    for (Node v = 0; v < instance.n; ++v) {
        l.key.push_back(random.next());
        if (instance.predecessors[v].empty()) l.ready[0].push_back(v);
    }
    append({}, 0);
    work_.push_back(0);
    live_.push_back(0);
    cover_start_.push_back(0);
    list(max_ideals, max_bytes, stop);
}

IdealGraph::~IdealGraph() = default;

void IdealGraph::list(std::int64_t max_ideals, std::int64_t max_bytes, Stop& stop) {
    if (complete_) return;
    too_large_ = false;
    auto& l = *listing_;
    while (l.size < instance_.n) {
        if (l.next == l.end) {
            // The next size.
            auto& rows = l.size < 0 ? l.ready : l.next_ready;
            std::size_t slots = 0;
            for (const auto& row : rows) slots += row.size();
            const auto passing =
                static_cast<std::int64_t>(4 * std::bit_ceil(2 * slots + 2) + 4 * slots);
            if (kept() + passing > max_bytes) {
                too_large_ = true;
                return;
            }
            l.passing = passing;
            if (l.size >= 0) l.ready = std::exchange(l.next_ready, {});
            l.table.assign(std::bit_ceil(2 * slots + 2), -1);
            l.mask = l.table.size() - 1;
            l.begin = l.end;
            l.end = count();
            if (++l.size == instance_.n) break;
        }
        while (l.next < l.end) {
            too_large_ = count() > max_ideals || kept() + l.passing > max_bytes;
            if (too_large_ || stop()) return;
            list_above(l.next, stop);
            ++l.next;
        }
    }
    too_large_ = count() > max_ideals;
    if (too_large_) return;
    cover_start_.push_back(static_cast<std::int64_t>(cover_node_.size()));
    complete_ = true;
    listing_.reset();
}

/// Lists the ideals with one node more.
void IdealGraph::list_above(std::int64_t i, Stop& stop) {
    const auto& g = instance_;
    auto& l = *listing_;
    auto& row = l.ready[i - l.begin];
    for (const Node v : row) {
        const auto w = window(i);
        stop.spend(kIdeal + w.end - w.first);
        const auto h = l.hash[i] ^ l.key[v];
        l.made.set_to(w, v);
        std::size_t slot = h & l.mask;
        while (l.table[slot] >= 0 &&
               (l.hash[l.table[slot]] != h || !l.made.equals(window(l.table[slot]))))
            slot = (slot + 1) & l.mask;
        if (l.table[slot] < 0) {
            l.table[slot] = static_cast<std::int32_t>(count());
            append(l.made.words, l.made.first);
            l.hash.push_back(h);
            work_.push_back(work_[i] + g.work[v]);
            auto live = live_[i];
            for (const auto t : g.writes[v]) live += g.cost[t];
            for (const auto t : g.reads[v]) {
                const auto users = g.consumers[t];
                if (std::all_of(users.begin(), users.end(), [&](Node u) { return l.made.has(u); }))
                    live -= g.cost[t];
            }
            live_.push_back(live);
            auto& list = l.next_ready.emplace_back();
            for (const Node u : row)
                if (u != v) list.push_back(u);
            for (const Node u : g.successors[v]) {
                const auto before = g.predecessors[u];
                if (std::all_of(before.begin(), before.end(),
                                [&](Node p) { return l.made.has(p); }))
                    list.push_back(u);
            }
            l.passing += static_cast<std::int64_t>(4 * list.capacity() + sizeof(list));
            stop.spend(static_cast<std::int64_t>(list.size()));
        }
        cover_ideal_.push_back(l.table[slot]);
        cover_node_.push_back(v);
    }
    row = {};
    cover_start_.push_back(static_cast<std::int64_t>(cover_node_.size()));
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
        // Whoever is not done with the old lists keeps them.
        if (lists_->size() > kMostKept) lists_ = std::make_shared<LiveLists>(instance_);
        return;
    }
    lists_ = std::make_shared<LiveLists>(instance_);
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
