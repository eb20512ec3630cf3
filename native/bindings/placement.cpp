// SPDX-License-Identifier: Apache-2.0
// Plans for devices of several kinds.
#include "common.hpp"

#include "interleave.hpp"
#include "placement.hpp"
#include "placement_merges.hpp"
#include "sharing.hpp"

void bind_placement(nb::module_& m) {
    nb::class_<sw::Placement>(m, "Placement", "A problem for devices of several kinds.")
        .def(
            "__init__",
            [](sw::Placement* self, std::int32_t nodes, const Int32Array& producer,
               const Int64Array& consumer_offsets, const Int32Array& consumers,
               const Int64Array& param_bytes, const Int64Array& param_offsets,
               const Int32Array& params, const Int64Array& working_set, std::int32_t states,
               const Int32Array& transitions, bool overlap) {
                sw::Placement p;
                p.n = nodes;
                p.producer = as_vector(producer);
                p.consumers = as_ragged(consumer_offsets, consumers);
                p.param_bytes = as_vector(param_bytes);
                p.params_of = as_ragged(param_offsets, params);
                p.working_set = as_vector(working_set);
                p.states = states;
                p.overlap = overlap;
                const auto flat = as_span(transitions);
                if (flat.size() % 4 != 0)
                    throw std::invalid_argument("transitions: expected rows of four");
                for (std::size_t i = 0; i < flat.size(); i += 4) {
                    p.transitions.push_back({flat[i], flat[i + 1], flat[i + 2], flat[i + 3]});
                    if (flat[i + 2] < 0) throw std::invalid_argument("transitions: unknown type");
                    p.types.resize(
                        std::max(p.types.size(), static_cast<std::size_t>(flat[i + 2]) + 1));
                }
                new (self) sw::Placement(std::move(p));
            },
            "nodes"_a, "producer"_a.noconvert(), "consumer_offsets"_a.noconvert(),
            "consumers"_a.noconvert(), "param_bytes"_a.noconvert(), "param_offsets"_a.noconvert(),
            "params"_a.noconvert(), "working_set"_a.noconvert(), "states"_a,
            "transitions"_a.noconvert(), "overlap"_a,
            "producer: int32[t]. consumers: int32 rows per tensor. params: int32 rows per node. "
            "working_set: int64[n] bytes.\n"
            "transitions: int32[4 m], rows (from, to, type, kept) sorted by from < to, below "
            "`states`; kept counts the\n"
            "microbatches that a stage keeps beside the one that it runs.")
        .def(
            "set_type",
            [](sw::Placement& self, std::size_t number, const Int64Array& work,
               const Int64Array& receive, const Int64Array& send, std::int64_t capacity,
               std::int64_t bandwidth, std::int64_t limit, std::int64_t replicas,
               std::int64_t state_factor, std::int64_t sync, std::int64_t sync_per,
               bool recompute) {
                if (number >= self.types.size())
                    throw std::invalid_argument("type: no transition leads to it");
                auto& type = self.types[number];
                type.work = as_vector(work);
                type.receive = as_vector(receive);
                type.send = as_vector(send);
                type.capacity = capacity;
                type.bandwidth = bandwidth;
                type.limit = limit;
                type.replicas = replicas;
                type.state_factor = state_factor;
                type.sync = sync;
                type.sync_per = sync_per;
                type.recompute = recompute;
            },
            "number"_a, "work"_a.noconvert(), "receive"_a.noconvert(), "send"_a.noconvert(),
            "capacity"_a, "bandwidth"_a, "limit"_a, "replicas"_a, "state_factor"_a, "sync"_a,
            "sync_per"_a, "recompute"_a,
            "work: int64[n] ps, -1 where it cannot run. receive, send: int64[t] ps. capacity, "
            "limit: bytes.\n"
            "sync / sync_per: ps per byte of parameters.")
        .def(
            "set_kept",
            [](sw::Placement& self, const Int64Array& kept_bytes, const Int64Array& offsets,
               const Int32Array& kept, const Int64Array& fed_bytes, const Int64Array& back_bytes) {
                self.kept_bytes = as_vector(kept_bytes);
                self.kept_of = as_ragged(offsets, kept);
                self.fed_bytes = as_vector(fed_bytes);
                self.back_bytes = as_vector(back_bytes);
            },
            "kept_bytes"_a.noconvert(), "offsets"_a.noconvert(), "kept"_a.noconvert(),
            "fed_bytes"_a.noconvert(), "back_bytes"_a.noconvert(),
            "What stages keep of microbatches in flight: bytes, int32 rows per node of them, and "
            "per tensor\n"
            "the bytes that a stage that received it keeps if it recomputes, and holds between its "
            "passes.")
        .def(
            "merges",
            [](const sw::Placement& self, const Int64Array& offsets, const Int32Array& after) {
                return as_array(sw::merge_placement(self, as_ragged(offsets, after)));
            },
            "offsets"_a.noconvert(), "after"_a.noconvert(),
            "Merge nodes where that costs no block more: int32[n], equal for nodes that are one. "
            "after: int32 rows\n"
            "per node, those whose block is the same or a later one; nodes are in topological "
            "order.")
        .def(
            "best",
            [](sw::Placement& self, const sw::IdealGraph& ideals, std::int64_t below,
               std::int64_t stage_below, bool sum, const Int64Array& weight, double seconds,
               const Cancel* cancel, std::int64_t work) {
                sw::check_placement(self);
                sw::PlacementPlan plan;
                const sw::PlacementQuestion question{below, sum, stage_below, as_vector(weight)};
                Signals signals(cancel, work);
                {
                    nb::gil_scoped_release release;
                    auto stop = signals.stop(seconds);
                    plan = sw::best_placement(self, ideals, question, stop);
                }
                static constexpr const char* kNames[] = {"yes", "no", "unknown"};
                return std::make_tuple(std::string(kNames[static_cast<int>(plan.answer)]),
                                       plan.value, as_array(std::move(plan.block)),
                                       as_array(std::move(plan.transition)), plan.pairs,
                                       signals.interrupted());
            },
            "ideals"_a, "below"_a, "stage_below"_a, "sum"_a, "weight"_a.noconvert(),
            "seconds"_a = 1e9, "cancel"_a = nb::none(), "work"_a = kEndless,
            "The best plan of value < `below` and stages < `stage_below`: ('yes' | 'no' | "
            "'unknown', "
            "value ps,\n"
            "block of each node, transition of each block, pairs of ideals looked at, "
            "interrupted). The "
            "value is\n"
            "that of the longest stage, or the sum of all. weight: int64[states] or empty; its "
            "least "
            "comes first.\n"
            "Memory counts parameters and the largest working set of a stage.")
        .def(
            "interleave",
            [](sw::Placement& self, const sw::IdealGraph& ideals, std::int32_t devices,
               const Int32Array& owner, const Int32Array& resting, const Int32Array& runs,
               const Int64Array& limit, std::int64_t below, std::int64_t stage_below,
               std::int64_t width, std::int64_t most_labels, double seconds, const Cancel* cancel,
               std::int64_t work) {
                sw::check_placement(self);
                const auto now = as_span(runs);
                const sw::Interleaving rounds{devices,
                                              as_vector(owner),
                                              as_vector(resting),
                                              {now.begin(), now.end()},
                                              as_vector(limit)};
                const sw::InterleavingQuestion question{below, stage_below, width, most_labels};
                sw::InterleavingPlan plan;
                Signals signals(cancel, work);
                {
                    nb::gil_scoped_release release;
                    auto stop = signals.stop(seconds);
                    plan = sw::best_interleaving(self, rounds, ideals, question, stop);
                }
                static constexpr const char* kNames[] = {"yes", "no", "unknown"};
                return std::make_tuple(std::string(kNames[static_cast<int>(plan.answer)]),
                                       plan.value, as_array(std::move(plan.block)),
                                       as_array(std::move(plan.transition)), plan.complete,
                                       plan.labels, signals.interrupted());
            },
            "ideals"_a, "devices"_a, "owner"_a.noconvert(), "resting"_a.noconvert(),
            "runs"_a.noconvert(), "limit"_a.noconvert(), "below"_a, "stage_below"_a, "width"_a,
            "most_labels"_a, "seconds"_a = 1e9, "cancel"_a = nb::none(), "work"_a = kEndless,
            "A plan whose devices take turns, all < `below` ps and each stage < `stage_below`: "
            "('yes' | 'no' | "
            "'unknown', load of\n"
            "the busiest ps, block of each node, transition of each block, whether no label was "
            "left out, labels,\n"
            "interrupted). owner, resting, runs: int32[states - 1], device of each stage, "
            "microbatches that rest\n"
            "there, and whether it runs while they do. "
            "limit: int64[devices] bytes. width: labels per stage and ideal.")
        .def(
            "share",
            [](sw::Placement& self, const Int32Array& counts, const Int32Array& start,
               std::uint64_t seed, std::int32_t rounds, std::int64_t proposals, std::int64_t floor,
               double seconds, const Cancel* cancel, std::int64_t work) {
                const sw::SharingSearch search{
                    as_vector(counts), as_vector(start), seed, rounds, proposals, floor};
                sw::SharingResult found;
                Signals signals(cancel, work);
                {
                    nb::gil_scoped_release release;
                    auto stop = signals.stop(seconds);
                    found = sw::share_devices(self, search, stop);
                }
                return std::make_tuple(found.fits, found.value, as_array(std::move(found.device)),
                                       signals.interrupted());
            },
            "counts"_a.noconvert(), "start"_a.noconvert(), "seed"_a, "rounds"_a, "proposals"_a,
            "floor"_a, "seconds"_a = 1e9, "cancel"_a = nb::none(), "work"_a = kEndless,
            "Assign nodes to devices that run several stages: (fits its limits of memory, load of "
            "the busiest\n"
            "device in ps, device of each node, interrupted). counts: int32[types], devices of "
            "each. start:\n"
            "int32[n] or empty. floor: ps at which to stop. Transitions are not looked at.")
        .def(
            "best_share",
            [](sw::Placement& self, const Int32Array& counts, std::int64_t below,
               std::int64_t most_steps, double seconds, const Cancel* cancel, std::int64_t work) {
                sw::SharingProof proof;
                Signals signals(cancel, work);
                {
                    nb::gil_scoped_release release;
                    auto stop = signals.stop(seconds);
                    proof = sw::best_sharing(self, as_vector(counts), below, most_steps, stop);
                }
                return std::make_tuple(proof.complete, proof.value,
                                       as_array(std::move(proof.device)), proof.steps,
                                       signals.interrupted());
            },
            "counts"_a.noconvert(), "below"_a, "most_steps"_a, "seconds"_a = 1e9,
            "cancel"_a = nb::none(), "work"_a = kEndless,
            "The best assignment to shared devices with all loads < `below` ps: (whether all were "
            "looked at,\n"
            "its value or `below`, device of each node or empty, steps, interrupted).");
}
