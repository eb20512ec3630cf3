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
#include "stop.hpp"

namespace stagewright {

class IdealTree {
   public:
    /// What the tree needs of an ideal.
    struct Item {
        IdealWindow window;
        Picoseconds work;
        std::span<const LiveTensor> live;
    };

    /// Of many items it takes a second; stopped before, it is not whole and of no use.
    IdealTree(const Instance& instance, std::span<const Item> items, Stop& stop);
    [[nodiscard]] bool whole() const { return whole_; }

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
        enter(parts_[0], theirs_);
        const auto path = path_to(units_[unit]);
        Picoseconds paid = 0;
        for (const auto part : path) {
            paid += paid_more(parts_[part], theirs_);
            enter(parts_[part], mine_);
        }
        if (possible(units_[unit], 0, paid)) look(units_[unit], 0, paid, found);
        for (const auto part : path) leave(parts_[part], mine_);
        leave(parts_[0], theirs_);
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
    std::vector<std::uint8_t> agree(std::int32_t part, std::span<const Item> items, Stop& stop);
    void list(std::int32_t part, const std::vector<std::uint8_t>& mine, const std::uint8_t* outer);
    [[nodiscard]] std::vector<std::int32_t> path_to(std::int32_t part) const;
    [[nodiscard]] bool nested(std::int32_t mine, std::int32_t theirs) const;

    /// What more is surely paid when one side enters a part.
    [[nodiscard]] Picoseconds paid_more(const Part& p, const std::vector<std::uint8_t>& other) {
        Picoseconds paid = 0;
        for (auto a = p.agreed_begin; a < p.agreed_end; ++a) {
            const auto [tensor, missing] = agreed_[a];
            const auto there = other[tensor];
            paid += there != kMixed && there != missing ? g_.cost[tensor] : 0;
        }
        looks += p.agreed_end - p.agreed_begin;
        return paid;
    }
    void enter(const Part& p, std::vector<std::uint8_t>& side) {
        for (auto a = p.agreed_begin; a < p.agreed_end; ++a)
            side[agreed_[a].tensor] = agreed_[a].missing;
    }
    void leave(const Part& p, std::vector<std::uint8_t>& side) {
        for (auto a = p.agreed_begin; a < p.agreed_end; ++a) side[agreed_[a].tensor] = kMixed;
    }

    /// Looks for the open items of one part that those of another reach, the smaller parts of both entered.
    template <class Found>
    void look(std::int32_t mine, std::int32_t theirs, Picoseconds paid, Found& found) {
        const auto& m = parts_[mine];
        const auto& t = parts_[theirs];
        if (m.child < 0 && t.child < 0) {
            const auto open = order_[m.begin], reached = order_[t.begin];
            if (blocks_[reached] == layer_ && found(open, reached)) reach(open, layer_ + 1);
            return;
        }
        const bool divide_mine = m.child >= 0 && (t.child < 0 || m.end - m.begin > t.end - t.begin);
        auto& side = divide_mine ? mine_ : theirs_;
        const auto& other = divide_mine ? theirs_ : mine_;
        const auto child = divide_mine ? m.child : t.child;
        for (const auto part : {child + 1, child}) {
            const auto one = divide_mine ? part : mine, two = divide_mine ? theirs : part;
            if (!possible(one, two, paid)) continue;
            const auto more = paid + paid_more(parts_[part], other);
            if (more + between(one, two) > threshold_) continue;
            enter(parts_[part], side);
            look(one, two, more, found);
            leave(parts_[part], side);
        }
    }

    /// The least work of a block between two parts, at least 0.
    [[nodiscard]] Picoseconds between(std::int32_t mine, std::int32_t theirs) const {
        const auto& lower = parts_[inside_ ? theirs : mine];
        const auto& upper = parts_[inside_ ? mine : theirs];
        return std::max<Picoseconds>(upper.least_work - lower.most_work, 0);
    }

    [[nodiscard]] bool possible(std::int32_t mine, std::int32_t theirs, Picoseconds paid) {
        ++looks;
        if (open_[mine] == 0 || !((layers_[theirs] >> bit(layer_)) & 1U)) return false;
        const auto& lower = parts_[inside_ ? theirs : mine];
        const auto& upper = parts_[inside_ ? mine : theirs];
        return upper.most_work >= lower.least_work && paid + between(mine, theirs) <= threshold_ &&
               nested(mine, theirs);
    }

    /// Where a number of blocks is noted in a word; the last bit stands for many.
    static unsigned bit(std::int32_t blocks) {
        return static_cast<unsigned>(std::min<std::int32_t>(blocks, 63));
    }

    const Instance& g_;
    std::int32_t words_;
    bool whole_ = false;
    std::vector<Part> parts_;
    std::vector<std::uint64_t> common_,
        any_;                     // words_ per part: nodes that all of its items hold, that some do
    std::vector<Agreed> agreed_;  // tensors on which a part agrees and its parent does not
    std::vector<std::int32_t> order_;    // items, those of a part together
    std::vector<std::int32_t> leaf_;     // per item
    std::vector<std::int32_t> blocks_;   // per item; -1: not reached
    std::vector<std::uint64_t> layers_;  // per part, of its items
    std::vector<std::int32_t> open_;     // per part, items that are looked for
    std::vector<std::int32_t> units_;
    // The sweep: numbers known at both ends.
    std::vector<std::uint8_t> mine_, theirs_;
    Picoseconds threshold_ = 0;
    std::int32_t layer_ = 0;
    bool inside_ = true;
};

}  // namespace stagewright
