// SPDX-License-Identifier: Apache-2.0
// Ideals in a binary tree, to find those that reach a given one with a block of cost <= T without looking at all.
//
// Let m_t(I) be the consumers of tensor t outside I if its producer is inside, else 0.  For I within J
//     f(J \ I) = work(J) - work(I) + sum over t of c(t) [m_t(I) differs from m_t(J)],
// for t is paid where it is live at one of the two only, and where some but not all of its missing consumers lie
// between.  A node of the tree holds the ideals with and without certain nodes of the graph; where all of them agree on m_t
// and J does not, each of them pays c(t).  That sum, the most work in the tree's node, the nodes that all of its
// ideals hold and the fewest blocks that reach one of them show that none of them will do.
#pragma once

#include <span>
#include <vector>

#include "instance.hpp"
#include "live_lists.hpp"

namespace stagewright {

class IdealTree {
   public:
    /// What the tree needs of an ideal.
    struct Item {
        IdealWindow window;
        Picoseconds work;
        std::span<const LiveTensor> live;
    };

    /// At first all are out of reach: so many blocks or more.
    IdealTree(const Instance& instance, std::span<const Item> items, std::int32_t out_of_reach);

    /// So many blocks reach an item.
    void reach(std::int32_t item, std::int32_t blocks);

    struct Query {
        IdealWindow window;
        Picoseconds work;
        const std::int32_t* missing;  // per tensor: m_t of the ideal that is asked about
        Picoseconds threshold;
        bool inside;  // the items are within that ideal, not it within them
    };

    /// Calls test(item) for items that may be reached by fewer than `below` blocks and a block of cost <= threshold
    /// away.  `test` returns whether the item will do; then only those that fewer blocks reach are of interest.
    template <class Test>
    void search(const Query& query, std::int32_t below, Test&& test);

    std::int64_t looks = 0;  // nodes of the tree and tensors there so far

   private:
    struct Part {
        std::int32_t begin, end;          // places in order_
        std::int32_t parent, child = -1;  // the other child is behind it
        Picoseconds least_work, most_work;
        std::int64_t agreed_begin = 0, agreed_end = 0;
    };
    struct Agreed {
        Tensor tensor;
        std::int32_t missing;
        Picoseconds cost;
    };

    void split(std::int32_t part, std::span<const Item> items);
    [[nodiscard]] Node divider(std::int32_t part, std::span<const Item> items) const;
    void bound(std::int32_t part, std::span<const Item> items);
    /// What the items of a part and those of its children agree on, 255 where they do not.
    std::vector<std::uint8_t> agree(std::int32_t part, std::span<const Item> items);
    void list(std::int32_t part, const std::vector<std::uint8_t>& mine, const std::uint8_t* outer);
    [[nodiscard]] bool nested(std::int32_t part, const Query& query) const;

    const Instance& g_;
    std::int32_t words_;
    std::vector<Part> parts_;
    std::vector<std::uint64_t> common_,
        any_;                     // words_ per part: nodes that all of its items hold, that some do
    std::vector<Agreed> agreed_;  // tensors on which a part agrees and its parent does not
    std::vector<std::int32_t> order_;   // items, those of a part together
    std::vector<std::int32_t> leaf_;    // per item
    std::vector<std::int32_t> blocks_;  // per item
    std::vector<std::int32_t> fewest_;  // per part
    std::vector<std::pair<std::int32_t, Picoseconds>>
        open_;  // parts, with what tensors cost at least
};

template <class Test>
void IdealTree::search(const Query& query, std::int32_t below, Test&& test) {
    const auto enter = [&](std::int32_t part, Picoseconds paid) {
        ++looks;
        const auto& p = parts_[part];
        if (fewest_[part] >= below) return;
        const auto work = query.inside ? query.work - p.most_work : p.least_work - query.work;
        paid += std::max<Picoseconds>(work, 0);
        if (paid > query.threshold || !nested(part, query)) return;
        paid -= std::max<Picoseconds>(work, 0);
        looks += p.agreed_end - p.agreed_begin;
        for (auto a = p.agreed_begin; a < p.agreed_end; ++a)
            paid += query.missing[agreed_[a].tensor] != agreed_[a].missing ? agreed_[a].cost : 0;
        if (paid + std::max<Picoseconds>(work, 0) <= query.threshold) open_.push_back({part, paid});
    };
    open_.clear();
    enter(0, 0);
    while (!open_.empty()) {
        const auto [part, paid] = open_.back();
        open_.pop_back();
        if (fewest_[part] >= below) continue;
        const auto child = parts_[part].child;
        if (child < 0) {
            for (auto at = parts_[part].begin; at < parts_[part].end; ++at) {
                const auto item = order_[at];
                if (blocks_[item] < below && test(item)) below = blocks_[item];
            }
            continue;
        }
        // What fewer blocks reach is looked at first, so that it settles the rest.
        const bool swapped = fewest_[child] < fewest_[child + 1];
        enter(swapped ? child + 1 : child, paid);
        enter(swapped ? child : child + 1, paid);
    }
}

}  // namespace stagewright
