// SPDX-License-Identifier: Apache-2.0
// The problem as the native code sees it: a DAG of contracted nodes with exact integer costs.
// Knows nothing of Python.  Times are int64 picoseconds, sizes int64 bytes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
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
///
/// A hard limit becomes a step in the cost: a block that holds more costs at least `refusal`, which is more than
/// any block that fits, and `per_byte` for each byte above.  So whatever minimises costs first looks for a
/// plan that fits, then for the best one; and "none of cost < refusal" proves that none fits.
struct Memory {
    Bytes capacity = 0;
    Bytes bandwidth = 0;  // bytes per second of the link that spilled bytes take
    Bytes limit = std::numeric_limits<Bytes>::max();
    Picoseconds refusal = std::numeric_limits<Picoseconds>::max();
    Picoseconds per_byte = 0;
    std::vector<Bytes> param_bytes;  // per parameter
    Ragged params_of;                // node -> parameters it uses
    std::vector<Bytes> working_set;  // per node: bytes alive at least while it runs

    /// ceil(excess / bandwidth) in picoseconds, 0 when nothing is spilled; and the step at the hard limit.
    [[nodiscard]] Picoseconds overflow(Bytes held) const {
        const auto refused = held > limit ? refusal + (held - limit) * per_byte : 0;
        if (held <= capacity) return refused;
        __extension__ using Wide = __int128;
        const Wide spilled = static_cast<Wide>(held - capacity) * 1'000'000'000'000;
        return refused + static_cast<Picoseconds>((spilled + bandwidth - 1) / bandwidth);
    }

    /// The most bytes whose overflow is <= `time`, which is >= 0.
    [[nodiscard]] Bytes most_held(Picoseconds time) const {
        __extension__ using Wide = __int128;
        const Wide held = capacity + static_cast<Wide>(time) * bandwidth / 1'000'000'000'000;
        auto most = static_cast<Bytes>(std::min<Wide>(held, std::numeric_limits<Bytes>::max()));
        if (most <= limit) return most;
        auto fits = limit;
        most = std::min(most, limit + (time < refusal ? 0 : (time - refusal) / per_byte));
        while (fits < most) {
            const auto middle = fits + (most - fits + 1) / 2;
            if (overflow(middle) <= time)
                fits = middle;
            else
                most = middle - 1;
        }
        return fits;
    }
};

struct Alive;

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
    std::shared_ptr<const Alive> alive;  // null: not counted, working sets are
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
