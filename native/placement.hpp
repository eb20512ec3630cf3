// SPDX-License-Identifier: Apache-2.0
// Plans for devices of several kinds: the exact program over ideals, its state extended by the devices used.
//
// Which devices are in use is a small acyclic automaton: its states say what is used so far, a transition
// puts one more stage on a device.  In any order along the pipeline the states are the numbers used of each
// kind; in a fixed order they are places.  The program knows only states and transitions.
#pragma once

#include <limits>
#include <vector>

#include "ideals.hpp"
#include "instance.hpp"
#include "stop.hpp"

namespace stagewright {

/// What a stage costs on one type of device between its two links.
struct StageType {
    std::vector<Picoseconds> work;                       // per node; -1 where it cannot run
    std::vector<Picoseconds> receive, send;              // per tensor
    Bytes capacity = std::numeric_limits<Bytes>::max();  // bytes above are streamed ...
    Bytes bandwidth = 1;                                 // ... at this rate
    Bytes limit = std::numeric_limits<Bytes>::max();     // more is refused
    // Training: devices that share a stage (work and prices are divided already), bytes held per byte of
    // parameters, what adding gradients up takes per byte of them, and whether the stage keeps what it
    // received instead of what its backward nodes need.
    std::int64_t replicas = 1, state_factor = 1, sync = 0, sync_per = 1;
    bool recompute = false;

    [[nodiscard]] Picoseconds overflow(Bytes held) const {
        if (held <= capacity) return 0;
        const auto spilled = times(held - capacity, 1'000'000'000'000, bandwidth);
        return (spilled + replicas - 1) / replicas;
    }
    [[nodiscard]] Picoseconds sync_time(Bytes params) const {
        return times(params, sync, sync_per);
    }

   private:
    static Picoseconds times(Bytes bytes, std::int64_t rate, std::int64_t per) {
        __extension__ using Wide = __int128;
        return static_cast<Picoseconds>((static_cast<Wide>(bytes) * rate + per - 1) / per);
    }
};

struct Transition {
    std::int32_t from, to, type;  // states are numbered so that from < to
    std::int32_t kept = 0;        // microbatches that the stage keeps beside the one that it runs
};

/// Nodes, precedence and tensors; a tensor's producer need not come before its consumers (training).
struct Placement {
    Node n = 0;
    std::vector<Node> producer;
    Ragged consumers;  // tensor -> nodes, never its producer, never empty
    std::vector<Bytes> param_bytes;
    Ragged params_of;
    std::vector<Bytes> working_set;  // bytes held at least while a node runs
    std::vector<Bytes> kept_bytes;   // what stages keep of a microbatch in flight ...
    Ragged kept_of;                  // ... node -> which of it; no rows where nothing is kept
    std::vector<Bytes> fed_bytes;    // per tensor, kept by a stage that received it and recomputes
    std::vector<Bytes>
        back_bytes;  // per tensor, held between the passes by a stage that receives it
    std::vector<StageType> types;
    std::vector<Transition> transitions;
    std::int32_t states = 1;
    bool overlap = false;  // a stage takes the longest of compute, receive, send; else their sum
};

/// Throws std::invalid_argument where rows, sizes or references do not fit together.
void check_placement(const Placement& placement);

/// A stage of the best plan: the transition it takes; `block` numbers them along the pipeline.
struct PlacementPlan {
    Answer answer = Answer::unknown;
    Picoseconds value = 0;
    std::vector<std::int32_t> block;       // per node
    std::vector<std::int32_t> transition;  // per stage
    std::int64_t pairs = 0;                // pairs of ideals looked at
};

/// What to look for.
struct PlacementQuestion {
    Picoseconds below =
        0;  // the value of the plan: its longest stage, or the sum of all with `sum`
    bool sum = false;
    Picoseconds stage_below = 0;  // every stage
    std::vector<std::int64_t>
        weight;  // per state; the least of a plan's end comes first, then its value
};

/// The best plan of a value < `below` whose stages all are < `stage_below`: yes with it, no if there is none,
/// unknown if stopped.
///
/// Memory counts the parameters of a stage (times the state factor), what it keeps of the microbatches in flight, and
/// of the one that it runs the same or its largest working set: a lower bound of what it holds.
PlacementPlan best_placement(const Placement& placement, const IdealGraph& ideals,
                             const PlacementQuestion& question, Stop& stop);

}  // namespace stagewright
