// SPDX-License-Identifier: Apache-2.0
// The problem as the native code sees it: a DAG of contracted nodes with exact integer costs.
// Knows nothing of Python.  Times are int64 picoseconds, sizes int64 bytes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace stagewright {

using Picoseconds = std::int64_t;
using Bytes = std::int64_t;
using Node = std::int32_t;
using Tensor = std::int32_t;

/// Rows of unequal length: row i is values[offsets[i] .. offsets[i + 1]).
struct Ragged {
    std::vector<std::int64_t> offsets{0};
    std::vector<std::int32_t> values;

    [[nodiscard]] std::span<const std::int32_t> operator[](std::int32_t row) const {
        const auto begin = static_cast<std::size_t>(offsets[static_cast<std::size_t>(row)]);
        const auto end = static_cast<std::size_t>(offsets[static_cast<std::size_t>(row) + 1]);
        return {values.data() + begin, end - begin};
    }
    [[nodiscard]] std::int32_t size() const {
        return static_cast<std::int32_t>(offsets.size()) - 1;
    }

    /// Row j of the result lists the rows of *this that contain j, in increasing order.
    [[nodiscard]] Ragged transposed(std::int32_t columns) const;
};

/// What one device can hold, and what does not fit; absent when memory cannot bind.
struct Memory {
    Bytes capacity = 0;
    Bytes bandwidth = 0;             // bytes per second of the link that spilled bytes take
    std::vector<Bytes> param_bytes;  // per parameter
    Ragged params_of;                // node -> parameters it uses
    std::vector<Bytes> working_set;  // per node: bytes alive at least while it runs

    /// ceil(excess / bandwidth) in picoseconds, 0 when nothing is spilled.
    [[nodiscard]] Picoseconds overflow(Bytes held) const {
        if (held <= capacity) return 0;
        __extension__ using Wide = __int128;
        const Wide spilled = static_cast<Wide>(held - capacity) * 1'000'000'000'000;
        return static_cast<Picoseconds>((spilled + bandwidth - 1) / bandwidth);
    }

    /// The most bytes whose overflow is <= `time`, which is >= 0.
    [[nodiscard]] Bytes most_held(Picoseconds time) const {
        __extension__ using Wide = __int128;
        const Wide held = capacity + static_cast<Wide>(time) * bandwidth / 1'000'000'000'000;
        return static_cast<Bytes>(std::min<Wide>(held, std::numeric_limits<Bytes>::max()));
    }
};

/// Immutable; every constraint has been compiled into contracted nodes and precedence edges.
struct Instance {
    Node n = 0;
    std::vector<Picoseconds> work;
    std::vector<Node> producer;       // per tensor
    std::vector<Picoseconds> cost;    // per tensor, paid by each block that cuts it
    Ragged consumers;                 // tensor -> nodes, never its producer, never empty
    Ragged reads;                     // node -> tensors it consumes
    Ragged writes;                    // node -> tensors it produces
    Ragged successors, predecessors;  // precedence: tensors and further edges, deduplicated
    bool has_memory = false;
    Memory memory;
    Picoseconds total_work = 0;

    [[nodiscard]] Tensor tensors() const { return static_cast<Tensor>(producer.size()); }
};

/// Builds the derived rows; throws std::invalid_argument on references out of range or a cycle.
Instance make_instance(std::vector<Picoseconds> work, std::vector<Node> producer,
                       std::vector<Picoseconds> cost, Ragged consumers,
                       std::span<const Node> edge_tails, std::span<const Node> edge_heads);

/// f(S) per block in the relaxed form that the native code optimises: work + io + overflow of
/// parameters plus the largest single working set.  `block` numbers blocks 0 .. blocks - 1.
std::vector<Picoseconds> block_costs(const Instance& instance, std::span<const std::int32_t> block,
                                     std::int32_t blocks);

}  // namespace stagewright
