// SPDX-License-Identifier: Apache-2.0
// The program over ideals and least peaks.
#include "common.hpp"

#include "ideals.hpp"
#include "peak.hpp"

namespace {

void bind_peaks(nb::module_& m) {
    nb::class_<sw::TensorUses>(m, "TensorUses", "The tensors of a cost graph, for peak memory.")
        .def(
            "__init__",
            [](sw::TensorUses* self, std::int32_t nodes, const Int32Array& producer,
               const Int64Array& bytes, const Int64Array& consumer_offsets,
               const Int32Array& consumers) {
                new (self) sw::TensorUses(nodes, as_vector(producer), as_vector(bytes),
                                          as_ragged(consumer_offsets, consumers));
            },
            "nodes"_a, "producer"_a.noconvert(), "bytes"_a.noconvert(),
            "consumer_offsets"_a.noconvert(), "consumers"_a.noconvert(),
            "producer: int32[t]. bytes: int64[t] >= 0. consumers: int32 rows per tensor.");
    m.def(
        "order_stage",
        [](const sw::TensorUses& flow, const Int32Array& stage, std::int64_t enough,
           std::int64_t most, std::int64_t max_states, double seconds, const Cancel* cancel,
           std::int64_t work) {
            std::vector<char> seen(static_cast<std::size_t>(flow.n), 0);
            for (const auto v : as_span(stage))
                if (v < 0 || v >= flow.n || seen[v]++)
                    throw std::invalid_argument("stage: expected nodes, each once");
            Signals signals(cancel, work);
            sw::PeakSearch::Result result;
            {
                nb::gil_scoped_release release;
                auto stop = signals.stop(seconds);
                result =
                    sw::PeakSearch(flow).search(as_span(stage), enough, most, max_states, stop);
            }
            return std::make_tuple(result.lower, as_array(std::move(result.order)),
                                   signals.interrupted());
        },
        "flow"_a, "stage"_a.noconvert(), "enough"_a = 0,
        "most"_a = std::numeric_limits<std::int64_t>::max(), "max_states"_a = 20'000,
        "seconds"_a = 1e9, "cancel"_a = nb::none(), "work"_a = kEndless,
        "An order of least peak of a convex stage; peaks <= `enough` are equally good: (lower "
        "bound of the\n"
        "peak unless that is <= `enough`, order, empty if none within `most` was found, "
        "interrupted).  With more states than `max_states` the order need not be the best.");
}

void bind_optimum(nb::class_<sw::IdealGraph>& graph) {
    graph.def(
        "optimum",
        [](sw::IdealGraph& self, std::int32_t k, std::int64_t lower, std::int64_t guess,
           std::int64_t upper, double seconds, const Cancel* cancel, std::int64_t work) {
            if (!self.complete())
                throw std::invalid_argument("optimum: the ideals are not complete");
            if (self.with_memory())
                throw std::invalid_argument("optimum: expected an instance without memory");
            sw::IdealGraph::Optimum found;
            Signals signals(cancel, work);
            {
                nb::gil_scoped_release release;
                auto stop = signals.stop(seconds);
                found = self.optimum(k, lower, guess, upper, stop);
            }
            return std::make_tuple(found.lower, found.upper, as_array(std::move(found.block)),
                                   signals.interrupted());
        },
        "k"_a, "lower"_a, "guess"_a, "upper"_a, "seconds"_a = 1e9, "cancel"_a = nb::none(),
        "work"_a = kEndless,
        "The least bottleneck of at most k blocks, where it is below `upper`: (lower bound, cost "
        "of "
        "the best\n"
        "plan or `upper`, block of each node, empty if none was found, interrupted). `lower`: a "
        "valid lower bound.\n"
        "guess: where to look first. No memory.");
}

void bind_pursuit(nb::module_& m) {
    nb::class_<sw::IdealPursuit>(m, "IdealPursuit",
                                 "The least bottleneck over the ideals of a graph, found in steps.")
        .def(
            "__init__",
            [](sw::IdealPursuit* self, sw::IdealGraph& graph, std::int32_t k,
               std::int64_t tree_after) {
                if (!graph.complete())
                    throw std::invalid_argument("IdealPursuit: the ideals are not complete");
                if (graph.with_memory())
                    throw std::invalid_argument(
                        "IdealPursuit: expected an instance without memory");
                new (self) sw::IdealPursuit(graph, k, tree_after);
            },
            "graph"_a, "k"_a, "tree_after"_a = -1, nb::keep_alive<1, 2>())
        .def_prop_ro("too_large", &sw::IdealPursuit::too_large)
        .def(
            "go_on",
            [](sw::IdealPursuit& self, std::int64_t lower, std::int64_t guess, std::int64_t upper,
               double seconds, const Cancel* cancel, std::int64_t work) {
                sw::IdealGraph::Optimum found;
                Signals signals(cancel, work);
                {
                    nb::gil_scoped_release release;
                    auto stop = signals.stop(seconds);
                    found = self.go_on(lower, guess, upper, stop);
                }
                return std::make_tuple(found.lower, found.upper, as_array(std::move(found.block)),
                                       signals.interrupted());
            },
            "lower"_a, "guess"_a, "upper"_a, "seconds"_a = 1e9, "cancel"_a = nb::none(),
            "work"_a = kEndless,
            "As IdealGraph.optimum, going on where the last step stopped. Neither bound may be "
            "weaker "
            "than\n"
            "before.");
}

}  // namespace

void bind_exact(nb::module_& m) {
    nb::class_<sw::IdealGraph> graph(m, "IdealGraph",
                                     "All ideals of an instance and the exact program over them.");
    graph
        .def(
            "__init__",
            [](sw::IdealGraph* self, const sw::Instance& g, std::int64_t max_ideals,
               std::int64_t max_bytes, double seconds, const Cancel* cancel, std::int64_t work) {
                Signals signals(cancel, work);
                nb::gil_scoped_release release;
                auto stop = signals.stop(seconds);
                new (self) sw::IdealGraph(g, max_ideals, max_bytes, stop);
            },
            "instance"_a, "max_ideals"_a, "max_bytes"_a, "seconds"_a = 1e9, "cancel"_a = nb::none(),
            "work"_a = kEndless, nb::keep_alive<1, 2>())
        .def(
            "list",
            [](sw::IdealGraph& self, std::int64_t max_ideals, std::int64_t max_bytes,
               double seconds, const Cancel* cancel, std::int64_t work) {
                Signals signals(cancel, work);
                nb::gil_scoped_release release;
                auto stop = signals.stop(seconds);
                self.list(max_ideals, max_bytes, stop);
            },
            "max_ideals"_a, "max_bytes"_a, "seconds"_a = 1e9, "cancel"_a = nb::none(),
            "work"_a = kEndless, "Go on with the list where it ended.")
        .def_prop_ro("complete", &sw::IdealGraph::complete)
        .def_prop_ro("too_large", &sw::IdealGraph::too_large)
        .def_prop_ro("count", &sw::IdealGraph::count)
        .def_prop_ro("pairs", &sw::IdealGraph::pairs)
        .def(
            "count_peaks",
            [](sw::IdealGraph& self, std::shared_ptr<sw::TensorUses> flow,
               const Int64Array& member_offsets, const Int32Array& members,
               std::int64_t max_states) {
                for (const auto v : as_span(members))
                    if (v < 0 || v >= flow->n) throw std::invalid_argument("members: unknown node");
                self.count_peaks(std::move(flow), as_ragged(member_offsets, members), max_states);
            },
            "flow"_a, "member_offsets"_a.noconvert(), "members"_a.noconvert(), "max_states"_a,
            "Let overflow count the least peak of a block over all orders of its nodes. members: "
            "int32\n"
            "rows, the nodes of the flow in each node of the instance. max_states: limit of one "
            "block's search.")
        .def_prop_ro("doubts", &sw::IdealGraph::doubts)
        .def_prop_ro("searches", &sw::IdealGraph::searches)
        .def(
            "decide",
            [](sw::IdealGraph& self, std::int32_t k, std::int64_t threshold, double seconds,
               const Cancel* cancel, std::int64_t work, bool certain) {
                if (!self.complete())
                    throw std::invalid_argument("decide: the ideals are not complete");
                std::vector<std::int32_t> block;
                auto answer = sw::Answer::unknown;
                Signals signals(cancel, work);
                {
                    nb::gil_scoped_release release;
                    auto stop = signals.stop(seconds);
                    answer = self.decide(k, threshold, block, stop, certain);
                }
                static constexpr const char* kNames[] = {"yes", "no", "unknown"};
                return std::make_tuple(std::string(kNames[static_cast<int>(answer)]),
                                       as_array(std::move(block)), signals.interrupted());
            },
            "k"_a, "threshold"_a, "seconds"_a = 1e9, "cancel"_a = nb::none(), "work"_a = kEndless,
            "certain"_a = false,
            "Is there a plan of at most k blocks of cost <= threshold: ('yes' | 'no' | 'unknown', "
            "block of\n"
            "each node on yes, interrupted). Blocks whose least peak stays open (`doubts`) are let "
            "through,\n"
            "or refused with `certain`.");
    bind_optimum(graph);
    bind_pursuit(m);
    bind_peaks(m);
}
