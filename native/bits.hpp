// SPDX-License-Identifier: Apache-2.0
// Sets of nodes as rows of 64-bit words, for where a set is compared, merged and kept by the million.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "instance.hpp"

namespace stagewright {

using Word = std::uint64_t;

inline std::size_t words_for(Node n) { return (static_cast<std::size_t>(n) + 63) / 64; }
inline bool contains(const Word* set, Node v) {
    return (set[static_cast<std::size_t>(v) >> 6U] >> (static_cast<unsigned>(v) & 63U)) & 1U;
}
inline void insert(Word* set, Node v) {
    set[static_cast<std::size_t>(v) >> 6U] |= Word{1} << (static_cast<unsigned>(v) & 63U);
}
inline bool meet(const Word* a, const Word* b, std::size_t words) {
    for (std::size_t i = 0; i < words; ++i)
        if ((a[i] & b[i]) != 0) return true;
    return false;
}
inline bool subset(const Word* a, const Word* b, std::size_t words) {
    for (std::size_t i = 0; i < words; ++i)
        if ((a[i] & ~b[i]) != 0) return false;
    return true;
}

/// Calls `visit` with each node of the word at index i.
template <class Visit>
void each_node(Word word, std::size_t i, Visit&& visit) {
    for (; word != 0; word &= word - 1)
        visit(static_cast<Node>(i * 64 + static_cast<std::size_t>(std::countr_zero(word))));
}

}  // namespace stagewright
