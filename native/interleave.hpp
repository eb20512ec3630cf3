// SPDX-License-Identifier: Apache-2.0
// Plans whose devices hold several chunks of the pipeline each, in rounds: stage s is on device s mod p.
//
// What counts is the sum of a device's chunks, which no state of the program over ideals holds.  So it keeps
// labels: per stage and ideal the loads of all devices so far, none of which is nowhere less than another one.
#pragma once

#include "placement.hpp"

namespace stagewright {

/// Which device each stage is on, counted from the end that the program starts at.
struct Interleaving {
    std::int32_t devices = 1;
    std::vector<std::int32_t> owner;    // per transition's start: the device of that stage
    std::vector<std::int32_t> resting;  // ... and the microbatches that it holds when most are held
    std::vector<char> runs;             // ... and whether it runs that stage at such a moment
    std::vector<Bytes> limit;           // per device: more is refused
};

struct InterleavingQuestion {
    Picoseconds below = 0;        // the load of every device
    Picoseconds stage_below = 0;  // what each stage takes
    std::int64_t width =
        0;  // labels kept per stage and ideal; with none, only the least sum is found
    std::int64_t most_labels = 0;  // in all; more count as not kept
};

struct InterleavingPlan {
    Answer answer = Answer::unknown;
    Picoseconds value = 0;
    std::vector<std::int32_t> block;       // per node
    std::vector<std::int32_t> transition;  // per stage
    bool complete = true;                  // no label was left out for its number
    std::int64_t labels = 0;
};

/// A plan of exactly one block per stage with all loads < `below` and all stages < `stage_below`: yes with the best
/// one kept, no if there is none at all, unknown if labels were left out or it was stopped.  Of a complete search the plan is the best of all.
///
/// Transitions lead from a state to the next one.  A device holds at least the state of all its chunks and what
/// rests of the microbatches in flight at one moment, which is what is held against its limit.
InterleavingPlan best_interleaving(const Placement& placement, const Interleaving& interleaving,
                                   const IdealGraph& ideals, const InterleavingQuestion& question,
                                   Stop& stop);

}  // namespace stagewright
