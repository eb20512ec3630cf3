// SPDX-License-Identifier: Apache-2.0
// Devices that run several stages: nodes are assigned to devices, in any way, such that the busiest device is
// as little busy as possible.  A device pays for its work and for each tensor once when it receives it and once
// when it sends it.
#pragma once

#include <cstdint>
#include <vector>

#include "placement.hpp"
#include "stop.hpp"

namespace stagewright {

/// How long to search, and from where.
struct SharingSearch {
    std::vector<std::int32_t> counts;  // devices per type
    std::vector<std::int32_t> start;   // the device of each node; empty for none
    std::uint64_t seed = 0;
    std::int32_t rounds = 8;        // annealings, each from the best assignment so far
    std::int64_t proposals = 1000;  // of each round
    Picoseconds floor = 0;          // good enough: a lower bound of every assignment
};

/// The best assignment found; `fits` says whether every device keeps its limit of memory.
struct SharingResult {
    bool fits = false;
    Picoseconds value = 0;             // the load of the busiest device
    std::vector<std::int32_t> device;  // per node
};

/// Simulated annealing (Kirkpatrick, Gelatt and Vecchi 1983) over moves and swaps of nodes; the energy is the sum
/// of the twelfth powers of the loads, which the busiest devices rule.  The same for a seed on every run,
/// unless `stop` ends it.  Memory counts the parameters of a device and its largest working set, a lower
/// bound of what it holds.
SharingResult share_devices(const Placement& placement, const SharingSearch& search, Stop& stop);

/// The best assignment whose busiest device is less busy than `below`, over all assignments; `device` is empty if
/// there is none.
struct SharingProof {
    bool complete = false;  // all were looked at
    Picoseconds value = 0;
    std::vector<std::int32_t> device;
    std::int64_t steps = 0;
};

/// Branch and bound: units by falling work, each on every device that stays below what was found; of devices of one
/// type that have nothing yet one is as good as another.  What a device does only grows as units are added.
/// Memory as in share_devices.
SharingProof best_sharing(const Placement& placement, const std::vector<std::int32_t>& counts,
                          Picoseconds below, std::int64_t most_steps, Stop& stop);

}  // namespace stagewright
