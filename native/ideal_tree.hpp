// SPDX-License-Identifier: Apache-2.0
// Ideals in a binary tree, to find which of them others reach with a block of cost <= T, many at a time.
//
// Let m_t(I) be the consumers of tensor t outside I if its producer is inside, else 0.  For I within J
//     f(J \ I) = work(J) - work(I) + sum over t of c(t) [m_t(I) differs from m_t(J)],
// for t is paid where it is live at one of the two only, and where some but not all of its missing consumers lie
// between.  A part of the tree holds the ideals with and without certain nodes of the graph.  Take two parts: on a tensor
// t where all ideals of the one agree on m_t, all of the other do, and not on the same, every block between them pays
// c(t).  That sum, the least work between them, and the nodes that all of the one hold and none of the
// other show that no block leads from one to the other; else the larger part is divided.  Both ends descend together, so
// one look settles many pairs.
//
// The search goes by layers: which ideals do those that u blocks reach, and not fewer, reach with one more?
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

    IdealTree(const Instance& instance, std::span<const Item> items);

    /// So many blocks reach an item, which is no longer looked for.
    void reach(std::int32_t item, std::int32_t blocks);
    /// No plan passes through the item: it is not looked for.
    void close(std::int32_t item);
    [[nodiscard]] bool is_open(std::int32_t item) const { return open_[leaf_[item]] > 0; }

    /// Parts that hold every item once, for sweeps of bounded length.
    [[nodiscard]] std::int32_t units() const { return static_cast<std::int32_t>(units_.size()); }

    /// Looks for the open items of a unit that those in `layer`, the blocks that reach them, reach with a block of
    /// cost <= threshold, behind them (`inside`: they lie within) or before.  Calls found(open, reached) where it is nearly sure
    /// of a block; if that agrees, the open one is reached by one block more.
    template <class Found>
    void sweep(std::int32_t unit, std::int32_t layer, Picoseconds threshold, bool inside,
               Found&& found) {
        threshold_ = threshold;
        layer_ = layer;
        inside_ = inside;
        descend(0, theirs_);
        Picoseconds paid = 0;
        for (const auto part : path_to(units_[unit])) paid += descend(part, mine_);
        look(units_[unit], 0, paid, found);
        for (const auto part : path_to(units_[unit])) ascend(part, mine_);
        ascend(0, theirs_);
    }

    /// Pairs of parts looked at so far, and tensors compared there.
    std::int64_t looks = 0;

   private:
    static constexpr std::uint8_t kMixed = 255;  // no common number, or too large a one

    struct Part {
        std::int32_t begin, end;  // places in order_
        std::int32_t parent;
        std::int32_t child = -1;  // the other one is behind it; -1: a single item
        Picoseconds least_work = 0, most_work = 0;
        std::int64_t agreed_begin = 0, agreed_end = 0;
    };
    struct Agreed {
        Tensor tensor;
        std::uint8_t missing;
    };

    void bound(std::int32_t part, std::span<const Item> items);
    [[nodiscard]] Node divider(std::int32_t part, std::span<const Item> items) const;
    void split(std::int32_t part, std::span<const Item> items);
    /// What the items of a part agree on; lists it for the parts below.
    std::vector<std::uint8_t> agree(std::int32_t part, std::span<const Item> items);
    void list(std::int32_t part, const std::vector<std::uint8_t>& mine, const std::uint8_t* outer);
    [[nodiscard]] std::vector<std::int32_t> path_to(std::int32_t part) const;
    [[nodiscard]] bool nested(std::int32_t mine, std::int32_t theirs) const;

    /// Enters a part on one side; what more is known to be paid.
    Picoseconds descend(std::int32_t part, std::vector<std::uint8_t>& side) {
        const auto& other = &side == &mine_ ? theirs_ : mine_;
        const auto& p = parts_[part];
        Picoseconds paid = 0;
        for (auto a = p.agreed_begin; a < p.agreed_end; ++a) {
            const auto [tensor, missing] = agreed_[a];
            side[tensor] = missing;
            const auto there = other[tensor];
            paid += there != kMixed && there != missing ? g_.cost[tensor] : 0;
        }
        looks += p.agreed_end - p.agreed_begin;
        return paid;
    }
    void ascend(std::int32_t part, std::vector<std::uint8_t>& side) {
        const auto& p = parts_[part];
        for (auto a = p.agreed_begin; a < p.agreed_end; ++a) side[agreed_[a].tensor] = kMixed;
    }

    template <class Found>
    void look(std::int32_t mine, std::int32_t theirs, Picoseconds paid, Found& found) {
        ++looks;
        if (open_[mine] == 0 || !((layers_[theirs] >> bit(layer_)) & 1U)) return;
        const auto& m = parts_[mine];
        const auto& t = parts_[theirs];
        const auto& lower = inside_ ? t : m;
        const auto& upper = inside_ ? m : t;
        if (upper.most_work < lower.least_work) return;
        if (paid + std::max<Picoseconds>(upper.least_work - lower.most_work, 0) > threshold_)
            return;
        if (!nested(mine, theirs)) return;
        if (m.child < 0 && t.child < 0) {
            const auto open = order_[m.begin], reached = order_[t.begin];
            if (blocks_[reached] == layer_ && found(open, reached)) reach(open, layer_ + 1);
            return;
        }
        const bool divide_mine =
            m.child >= 0 && (t.child < 0 || m.end - m.begin > t.end - t.begin);
        auto& side = divide_mine ? mine_ : theirs_;
        const auto child = divide_mine ? m.child : t.child;
        for (const auto part : {child + 1, child}) {
            const auto more = descend(part, side);
            look(divide_mine ? part : mine, divide_mine ? theirs : part, paid + more, found);
            ascend(part, side);
        }
    }

    /// Where a number of blocks is noted in a word; the last bit stands for many.
    static unsigned bit(std::int32_t blocks) {
        return static_cast<unsigned>(std::min<std::int32_t>(blocks, 63));
    }

    const Instance& g_;
    std::int32_t words_;
    std::vector<Part> parts_;
    std::vector<std::uint64_t> common_, any_;  // words_ per part: nodes that all of its items hold, that some do
    std::vector<Agreed> agreed_;               // tensors on which a part agrees and its parent does not
    std::vector<std::int32_t> order_;          // items, those of a part together
    std::vector<std::int32_t> leaf_;           // per item
    std::vector<std::int32_t> blocks_;         // per item; -1: not reached
    std::vector<std::uint64_t> layers_;        // per part, of its items
    std::vector<std::int32_t> open_;           // per part, items that are looked for
    std::vector<std::int32_t> units_;
    // The sweep: numbers known at both ends.
    std::vector<std::uint8_t> mine_, theirs_;
    Picoseconds threshold_ = 0;
    std::int32_t layer_ = 0;
    bool inside_ = true;
};

}  // namespace stagewright
