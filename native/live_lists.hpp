// SPDX-License-Identifier: Apache-2.0
// The tensors that are made inside an ideal and needed outside: what a boundary there sends.
#pragma once

#include <span>
#include <vector>

#include "instance.hpp"

namespace stagewright {

/// A set of nodes that is full up to some word of 64 nodes and empty from another one on.
struct IdealWindow {
    const std::uint64_t* words;
    std::int32_t first;  // words before are full
    std::int32_t end;    // words from here on are empty

    [[nodiscard]] bool has(Node v) const {
        const auto word = v >> 6;
        if (word < first) return true;
        return word < end && ((words[word - first] >> (v & 63)) & 1U) != 0;
    }
};

/// A tensor that costs something, made inside an ideal and needed outside, with the number of consumers still
/// missing.  For I within J, equal numbers mean that no consumer lies in J \ I.
struct LiveTensor {
    Tensor tensor;
    std::int32_t missing;
    Picoseconds cost;
};

/// Lists of live tensors, made when first asked for and kept, since every threshold and every number of
/// blocks asks for much the same ideals.
class LiveLists {
   public:
    explicit LiveLists(const Instance& instance);

    /// Makes the list of an ideal unless it is there.
    void make(std::int64_t ideal, const IdealWindow& window);

    /// A list that was made, by increasing tensor; valid until the next one is made.
    [[nodiscard]] std::span<const LiveTensor> of(std::int64_t ideal) const {
        const auto& row = rows_[static_cast<std::size_t>(ideal)];
        return {all_.data() + row.begin, static_cast<std::size_t>(row.size)};
    }

    /// Tensors in all lists together.
    [[nodiscard]] std::size_t size() const { return all_.size(); }

   private:
    struct Row {
        std::int64_t begin = 0;
        std::int32_t size = -1;
    };

    const Instance& instance_;
    std::vector<std::vector<Tensor>>
        spanning_;  // per word: tensors made before it, used in or behind it
    std::vector<Row> rows_;
    std::vector<LiveTensor> all_;
};

}  // namespace stagewright
