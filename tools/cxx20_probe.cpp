// SPDX-License-Identifier: Apache-2.0
// Compiles if and only if the compiler and its standard library know the parts of C++20 that the core uses.
#include <version>

#include <bit>
#include <compare>
#include <concepts>
#include <cstdint>
#include <span>

template <std::integral T>
constexpr int bits(std::span<const T> values) {
    int sum = 0;
    for (const T value : values) sum += std::popcount(static_cast<std::uint64_t>(value));
    return sum;
}

struct Pair {
    int first, second;
    constexpr auto operator<=>(const Pair&) const = default;
};

int main() {
    const int values[] = {1, 3};
    return bits(std::span<const int>(values)) == 3 && Pair{1, 2} < Pair{2, 1} ? 0 : 1;
}
