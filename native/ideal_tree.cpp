// SPDX-License-Identifier: Apache-2.0
#include "ideal_tree.hpp"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <limits>
#include <numeric>

namespace stagewright {

namespace {

constexpr std::int32_t kUnit = 512;    // items of a unit, at most
constexpr std::int32_t kSample = 128;  // of them decide where a part is divided

}  // namespace

IdealTree::IdealTree(const Instance& instance, std::span<const Item> items, Stop& stop)
    : g_(instance),
      words_((instance.n + 63) / 64),
      order_(items.size()),
      leaf_(items.size()),
      blocks_(items.size(), -1),
      mine_(static_cast<std::size_t>(instance.tensors()), kMixed),
      theirs_(mine_) {
    std::iota(order_.begin(), order_.end(), 0);
    parts_.push_back({0, static_cast<std::int32_t>(items.size()), -1});
    for (std::size_t part = 0; part < parts_.size(); ++part) {
        if (stop()) return;
        bound(static_cast<std::int32_t>(part), items);
        split(static_cast<std::int32_t>(part), items);
    }
    list(0, agree(0, items, stop), nullptr);
    if (stop.now()) return;
    layers_.assign(parts_.size(), 0);
    for (std::size_t part = 0; part < parts_.size(); ++part) {
        const auto& p = parts_[part];
        open_.push_back(p.end - p.begin);
        if (open_.back() <= kUnit && (p.parent < 0 || open_[p.parent] > kUnit))
            units_.push_back(static_cast<std::int32_t>(part));
    }
    whole_ = true;
}

void IdealTree::bound(std::int32_t part, std::span<const Item> items) {
    auto& p = parts_[part];
    const auto base = common_.size();
    common_.resize(base + static_cast<std::size_t>(words_), ~std::uint64_t{0});
    any_.resize(base + static_cast<std::size_t>(words_), 0);
    p.least_work = std::numeric_limits<Picoseconds>::max();
    p.most_work = 0;
    for (auto at = p.begin; at < p.end; ++at) {
        const auto& item = items[order_[at]];
        p.least_work = std::min(p.least_work, item.work);
        p.most_work = std::max(p.most_work, item.work);
        const auto& w = item.window;
        for (std::int32_t i = 0; i < words_; ++i) {
            const auto word = i < w.first ? ~std::uint64_t{0}
                              : i < w.end ? w.words[i - w.first]
                                          : std::uint64_t{0};
            common_[base + i] &= word;
            any_[base + i] |= word;
        }
    }
}

/// The node of the graph that divides the items of the part most evenly.
Node IdealTree::divider(std::int32_t part, std::span<const Item> items) const {
    const auto& p = parts_[part];
    const auto base = static_cast<std::size_t>(part) * words_;
    const auto size = p.end - p.begin;
    const auto sample = std::min(size, kSample);
    Node best = -1;
    auto best_distance = std::numeric_limits<std::int32_t>::max();
    for (std::int32_t i = 0; i < words_; ++i)
        for (auto open = any_[base + i] & ~common_[base + i]; open != 0; open &= open - 1) {
            const auto v = static_cast<Node>(64 * i + std::countr_zero(open));
            std::int32_t with = 0;
            for (std::int32_t s = 0; s < sample; ++s) {
                const auto at = p.begin + static_cast<std::int64_t>(s) * size / sample;
                with += items[order_[at]].window.has(v) ? 1 : 0;
            }
            const auto distance = std::abs(2 * with - sample);
            if (distance < best_distance) {
                best_distance = distance;
                best = v;
            }
        }
    return best;
}

void IdealTree::split(std::int32_t part, std::span<const Item> items) {
    const auto [begin, end] = std::pair(parts_[part].begin, parts_[part].end);
    if (end - begin == 1) {
        leaf_[order_[begin]] = part;
        return;
    }
    const auto v = divider(part, items);  // some item holds it and some does not
    const auto middle = static_cast<std::int32_t>(
        std::stable_partition(order_.begin() + begin, order_.begin() + end,
                              [&](auto item) { return !items[item].window.has(v); }) -
        order_.begin());
    parts_[part].child = static_cast<std::int32_t>(parts_.size());
    parts_.push_back({begin, middle, part});
    parts_.push_back({middle, end, part});
}

/// Lists the tensors on which the items of a part agree and those of its parent do not.
void IdealTree::list(std::int32_t part, const std::vector<std::uint8_t>& mine,
                     const std::uint8_t* outer) {
    auto& p = parts_[part];
    p.agreed_begin = static_cast<std::int64_t>(agreed_.size());
    constexpr std::size_t kStride = 8;
    for (std::size_t t = 0; t < mine.size(); t += kStride) {
        const auto end = std::min(t + kStride, mine.size());
        // The parent agrees on most.
        if (outer != nullptr && std::find(outer + t, outer + end, kMixed) == outer + end) continue;
        for (auto i = t; i < end; ++i)
            if (mine[i] != kMixed && (outer == nullptr || outer[i] == kMixed) && g_.cost[i] > 0)
                agreed_.push_back({static_cast<Tensor>(i), mine[i]});
    }
    p.agreed_end = static_cast<std::int64_t>(agreed_.size());
}

// The parts are as deep as the graph has nodes, at most.
std::vector<std::uint8_t> IdealTree::agree(std::int32_t part, std::span<const Item> items,
                                           Stop& stop) {
    const auto p = parts_[part];
    std::vector<std::uint8_t> mine(static_cast<std::size_t>(g_.tensors()), 0);
    if (stop()) return mine;
    if (p.child < 0) {
        for (const auto& live : items[order_[p.begin]].live)
            mine[live.tensor] =
                static_cast<std::uint8_t>(std::min<std::int32_t>(live.missing, kMixed));
        return mine;
    }
    const auto left = agree(p.child, items, stop);
    const auto right = agree(p.child + 1, items, stop);
    for (std::size_t t = 0; t < mine.size(); ++t) mine[t] = left[t] == right[t] ? left[t] : kMixed;
    list(p.child, left, mine.data());
    list(p.child + 1, right, mine.data());
    return mine;
}

std::vector<std::int32_t> IdealTree::path_to(std::int32_t part) const {
    std::vector<std::int32_t> path;
    for (; part >= 0; part = parts_[part].parent) path.push_back(part);
    std::reverse(path.begin(), path.end());
    return path;
}

/// Whether some ideal of the one may lie within some of the other.
bool IdealTree::nested(std::int32_t mine, std::int32_t theirs) const {
    const auto* lower = common_.data() + static_cast<std::size_t>(inside_ ? theirs : mine) * words_;
    const auto* upper = any_.data() + static_cast<std::size_t>(inside_ ? mine : theirs) * words_;
    for (std::int32_t i = 0; i < words_; ++i)
        if (lower[i] & ~upper[i]) return false;
    return true;
}

void IdealTree::reach(std::int32_t item, std::int32_t blocks) {
    close(item);
    blocks_[item] = blocks;
    const auto mark = std::uint64_t{1} << bit(blocks);
    for (auto part = leaf_[item]; part >= 0 && !(layers_[part] & mark); part = parts_[part].parent)
        layers_[part] |= mark;
}

void IdealTree::close(std::int32_t item) {
    if (!is_open(item)) return;
    for (auto part = leaf_[item]; part >= 0; part = parts_[part].parent) --open_[part];
}

}  // namespace stagewright
