// SPDX-License-Identifier: Apache-2.0
// The only file that includes Python's headers.  It translates; it computes nothing.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <string>
#include <tuple>

#include "anchor.hpp"
#include "genetic.hpp"
#include "ideals.hpp"
#include "must_link.hpp"
#include "order_search.hpp"
#include "orders.hpp"
#include "peak.hpp"
#include "priorities.hpp"
#include "skeleton.hpp"
#include "slicing.hpp"
#include "window_search.hpp"

namespace nb = nanobind;
using namespace nb::literals;
namespace sw = stagewright;

namespace {

using Int64Array = nb::ndarray<const std::int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Int32Array = nb::ndarray<const std::int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using UInt32Array = nb::ndarray<const std::uint32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Int32Result = nb::ndarray<nb::numpy, std::int32_t, nb::ndim<1>>;

template <class Array>
auto as_span(const Array& array) {
    return std::span(array.data(), array.shape(0));
}
template <class Array>
auto as_vector(const Array& array) {
    const auto s = as_span(array);
    return std::vector<std::remove_cv_t<typename decltype(s)::element_type>>(s.begin(), s.end());
}
sw::Ragged as_ragged(const Int64Array& offsets, const Int32Array& values) {
    sw::Ragged rows{as_vector(offsets), as_vector(values)};
    if (rows.offsets.empty() || rows.offsets.front() != 0 ||
        rows.offsets.back() != static_cast<std::int64_t>(rows.values.size()))
        throw std::invalid_argument("offsets must run from 0 to the number of values");
    for (std::size_t i = 1; i < rows.offsets.size(); ++i)
        if (rows.offsets[i] < rows.offsets[i - 1])
            throw std::invalid_argument("offsets must not decrease");
    return rows;
}
Int32Result as_array(std::vector<std::int32_t> values) {
    auto* held = new std::vector<std::int32_t>(std::move(values));
    nb::capsule owner(held,
                      [](void* p) noexcept { delete static_cast<std::vector<std::int32_t>*>(p); });
    return Int32Result(held->data(), {held->size()}, owner);
}

// Asked at most every 20 ms.  The pending KeyboardInterrupt is swallowed here and remembered in
// `interrupted`: a search that is stopped returns the best it has, and the caller decides.
class Signals {
   public:
    sw::Stop stop(double seconds) {
        return {seconds, [this] {
                    nb::gil_scoped_acquire gil;
                    if (PyErr_CheckSignals() == 0) return false;
                    PyErr_Clear();
                    return interrupted_ = true;
                }};
    }
    [[nodiscard]] bool interrupted() const { return interrupted_; }

   private:
    bool interrupted_ = false;
};

std::int32_t checked_order(const sw::Instance& g, std::span<const std::int32_t> order) {
    std::vector<std::int32_t> position(static_cast<std::size_t>(g.n), -1);
    if (order.size() != static_cast<std::size_t>(g.n))
        throw std::invalid_argument("order: expected every node once");
    for (std::size_t i = 0; i < order.size(); ++i) {
        if (order[i] < 0 || order[i] >= g.n || position[order[i]] >= 0)
            throw std::invalid_argument("order: expected every node once");
        position[order[i]] = static_cast<std::int32_t>(i);
    }
    for (sw::Node v = 0; v < g.n; ++v)
        for (const auto u : g.successors[v])
            if (position[u] < position[v])
                throw std::invalid_argument("order: a node comes before its producer");
    return g.n;
}

std::vector<std::int32_t> checked_plan(const sw::Instance& g, std::span<const std::int32_t> block,
                                       std::int32_t k) {
    if (g.n == 0 || block.size() != static_cast<std::size_t>(g.n))
        throw std::invalid_argument("start: expected one block number per node");
    for (sw::Node v = 0; v < g.n; ++v) {
        if (block[v] < 0 || block[v] >= std::min(k, g.n))
            throw std::invalid_argument("start: expected block numbers from 0 to min(k, n) - 1");
        for (const auto u : g.successors[v])
            if (block[u] < block[v])
                throw std::invalid_argument("start: a node is in a block before its producer's");
    }
    return {block.begin(), block.end()};
}

void bind_instance(nb::module_& m) {
    nb::class_<sw::Instance>(m, "Instance", "A reduced problem: contracted nodes, exact costs.")
        .def(
            "__init__",
            [](sw::Instance* self, const Int64Array& work, const Int32Array& producer,
               const Int64Array& cost, const Int64Array& consumer_offsets,
               const Int32Array& consumers, const Int32Array& edge_tails,
               const Int32Array& edge_heads) {
                new (self) sw::Instance(
                    sw::make_instance(as_vector(work), as_vector(producer), as_vector(cost),
                                      as_ragged(consumer_offsets, consumers), as_span(edge_tails),
                                      as_span(edge_heads)));
            },
            "work"_a.noconvert(), "producer"_a.noconvert(), "cost"_a.noconvert(),
            "consumer_offsets"_a.noconvert(), "consumers"_a.noconvert(), "edge_tails"_a.noconvert(),
            "edge_heads"_a.noconvert(),
            "work: int64[n] ps. producer: int32[t]. cost: int64[t] ps. consumers: int32 rows per "
            "tensor.\n"
            "edge_tails, edge_heads: further precedence edges.")
        .def(
            "set_memory",
            [](sw::Instance& self, std::int64_t capacity, std::int64_t bandwidth,
               const Int64Array& param_bytes, const Int64Array& param_offsets,
               const Int32Array& params, const Int64Array& working_set) {
                self.memory = {capacity, bandwidth, as_vector(param_bytes),
                               as_ragged(param_offsets, params), as_vector(working_set)};
                if (self.memory.params_of.size() != self.n ||
                    self.memory.working_set.size() != static_cast<std::size_t>(self.n) ||
                    bandwidth <= 0)
                    throw std::invalid_argument(
                        "memory: expected one row of parameters and one working set per node");
                for (const auto p : self.memory.params_of.values)
                    if (p < 0 || static_cast<std::size_t>(p) >= self.memory.param_bytes.size())
                        throw std::invalid_argument("memory: unknown parameter");
                self.has_memory = true;
            },
            "capacity"_a, "bandwidth"_a, "param_bytes"_a.noconvert(), "param_offsets"_a.noconvert(),
            "params"_a.noconvert(), "working_set"_a.noconvert(),
            "Give each device `capacity` bytes; what exceeds it crosses a link of `bandwidth` "
            "bytes/s.\n"
            "params: int32 rows per node. working_set: int64[n] bytes held at least while a node "
            "runs.")
        .def_prop_ro("num_nodes", [](const sw::Instance& self) { return self.n; });
    m.def(
        "block_costs",
        [](const sw::Instance& g, const Int32Array& block) {
            std::int32_t blocks = 0;
            if (block.shape(0) != static_cast<std::size_t>(g.n))
                throw std::invalid_argument("block: expected one number per node");
            for (const auto b : as_span(block)) {
                if (b < 0 || b >= g.n)
                    throw std::invalid_argument("block: expected numbers from 0 to n - 1");
                blocks = std::max(blocks, b + 1);
            }
            return sw::block_costs(g, as_span(block), blocks);
        },
        "instance"_a, "block"_a.noconvert(),
        "Cost of each block in picoseconds; overflow counts parameters and the largest working "
        "set.");
}

void bind_slicing(nb::module_& m) {
    m.def(
        "random_order",
        [](const sw::Instance& g, const std::string& kind, std::uint64_t seed) {
            const auto k = kind == "random"        ? sw::OrderKind::random
                           : kind == "depth_first" ? sw::OrderKind::depth_first
                           : kind == "reversed_depth_first"
                               ? sw::OrderKind::reversed_depth_first
                               : throw std::invalid_argument(
                                     "kind: random, depth_first or reversed_depth_first");
            sw::Random random(seed);
            std::vector<sw::Node> order;
            sw::OrderMaker(g).make(k, random, order);
            return as_array(std::move(order));
        },
        "instance"_a, "kind"_a, "seed"_a, "A topological order: int32[n].");
    m.def(
        "slice_order",
        [](const sw::Instance& g, const Int32Array& order, std::int32_t k, std::int64_t lower,
           std::optional<std::int64_t> upper) {
            checked_order(g, as_span(order));
            std::vector<std::int32_t> block;
            std::int64_t value = 0;
            std::int64_t passes = 0;
            const auto limit = upper.value_or(std::numeric_limits<std::int64_t>::max());
            {
                nb::gil_scoped_release release;
                sw::Slicer slicer(g);
                value = slicer.optimum(as_span(order), k, lower, limit, block);
                passes = slicer.passes();
            }
            return std::make_tuple(value, as_array(std::move(block)), passes);
        },
        "instance"_a, "order"_a.noconvert(), "k"_a, "lower"_a = 0, "upper"_a = nb::none(),
        "Optimal slicing of an order: (bottleneck ps, block of each node, passes). No block when\n"
        "nothing is <= upper.");
    m.def(
        "slice_pass",
        [](const sw::Instance& g, const Int32Array& order, std::int64_t threshold,
           std::int32_t repeat) {
            checked_order(g, as_span(order));
            nb::gil_scoped_release release;
            sw::Slicer slicer(g);
            std::int32_t blocks = 0;
            for (std::int32_t i = 0; i < repeat; ++i)
                blocks = slicer.pass(as_span(order), threshold);
            return blocks;
        },
        "instance"_a, "order"_a.noconvert(), "threshold"_a, "repeat"_a = 1,
        "Fewest blocks of cost <= threshold, or a number above n; `repeat` is for timing.");
    m.def(
        "slice_directly",
        [](const sw::Instance& g, const Int32Array& order, std::int32_t k) {
            checked_order(g, as_span(order));
            nb::gil_scoped_release release;
            return sw::slice_directly(g, as_span(order), k);
        },
        "instance"_a, "order"_a.noconvert(), "k"_a,
        "The O(n^2 k) method as published, for comparison: bottleneck in ps. Ignores memory.");
    m.def(
        "search_orders",
        [](const sw::Instance& g, std::int32_t k, std::int64_t lower,
           const std::optional<Int32Array>& start, std::int64_t restarts, std::int64_t local_moves,
           std::uint64_t seed, double seconds) {
            if (g.n == 0) throw std::invalid_argument("instance: no nodes");
            sw::Incumbent best;
            Signals signals;
            const auto from = start ? as_vector(*start) : std::vector<std::int32_t>{};
            if (start && from.size() != static_cast<std::size_t>(g.n))
                throw std::invalid_argument("start: expected one block number per node");
            {
                nb::gil_scoped_release release;
                auto stop = signals.stop(seconds);
                best = sw::search_orders(g, k, lower, from, {restarts, local_moves, seed}, stop);
            }
            return std::make_tuple(best.bottleneck, as_array(std::move(best.block)),
                                   best.evaluations, signals.interrupted());
        },
        "instance"_a, "k"_a, "lower"_a, "start"_a.noconvert() = nb::none(), "restarts"_a = 64,
        "local_moves"_a = 4000, "seed"_a = 0, "seconds"_a = 1e9,
        "Search over topological orders: (bottleneck ps, block of each node, evaluations, "
        "interrupted).");
    m.def(
        "search_windows",
        [](const sw::Instance& g, std::int32_t k, std::int64_t lower, const Int32Array& start,
           std::int64_t rounds, std::uint64_t seed, double seconds) {
            if (k < 1) throw std::invalid_argument("k: expected at least 1");
            sw::Incumbent best;
            Signals signals;
            const auto from = checked_plan(g, as_span(start), k);
            {
                nb::gil_scoped_release release;
                auto stop = signals.stop(seconds);
                best = sw::search_windows(g, k, lower, from, {rounds, seed}, stop);
            }
            return std::make_tuple(best.bottleneck, as_array(std::move(best.block)),
                                   best.evaluations, signals.interrupted());
        },
        "instance"_a, "k"_a, "lower"_a, "start"_a.noconvert(), "rounds"_a = 1'000'000'000,
        "seed"_a = 0, "seconds"_a = 1e9,
        "Improve a plan window by window: (bottleneck ps, block of each node, rounds, "
        "interrupted).");
}

std::vector<std::int32_t> checked_start(const sw::Instance& g,
                                        const std::optional<Int32Array>& start) {
    if (g.n == 0) throw std::invalid_argument("instance: no nodes");
    if (!start) return {};
    if (start->shape(0) != static_cast<std::size_t>(g.n))
        throw std::invalid_argument("start: expected one block number per node");
    return as_vector(*start);
}

auto as_tuple(sw::Evolved best, const Signals& signals) {
    return std::make_tuple(best.bottleneck, as_array(std::move(best.block)), best.evaluations,
                           best.decoded, best.optima, signals.interrupted());
}

void bind_genetic(nb::module_& m) {
    m.def(
        "priority_order",
        [](const sw::Instance& g, const UInt32Array& keys) {
            if (keys.shape(0) != static_cast<std::size_t>(g.n))
                throw std::invalid_argument("keys: expected one per node");
            std::vector<sw::Node> order;
            sw::PriorityDecoder(g).decode(as_span(keys), order);
            return as_array(std::move(order));
        },
        "instance"_a, "keys"_a.noconvert(),
        "Kahn's order that takes the ready node of least key: int32[n].");
    m.def(
        "guided_order",
        [](const sw::Instance& g, const std::string& guide) {
            static constexpr const char* kNames[] = {"depth_first", "breadth_first",
                                                     "heaviest_path", "balanced_work"};
            std::vector<sw::Node> order;
            for (const auto value : sw::kGuides)
                if (guide == kNames[static_cast<int>(value)]) sw::guided_order(g, value, order);
            if (order.size() != static_cast<std::size_t>(g.n))
                throw std::invalid_argument(
                    "guide: depth_first, breadth_first, heaviest_path or balanced_work");
            return as_array(std::move(order));
        },
        "instance"_a, "guide"_a, "A deterministic topological order: int32[n].");
    m.def(
        "random_orders",
        [](const sw::Instance& g, std::int32_t k, std::int64_t lower, std::int64_t count,
           std::uint64_t seed, double seconds) {
            checked_start(g, std::nullopt);
            sw::Evolved best;
            Signals signals;
            {
                nb::gil_scoped_release release;
                auto stop = signals.stop(seconds);
                best = sw::random_orders(g, k, lower, count, seed, stop);
            }
            return as_tuple(std::move(best), signals);
        },
        "instance"_a, "k"_a, "lower"_a, "count"_a, "seed"_a = 0, "seconds"_a = 1e9,
        "The best of `count` random Kahn orders; returns what `evolve` returns.");
    m.def(
        "evolve",
        [](const sw::Instance& g, std::int32_t k, std::int64_t lower,
           const std::optional<Int32Array>& start, const std::vector<Int32Array>& orders,
           std::int32_t population, std::int32_t generations, std::int32_t elites,
           std::int32_t mutants, double bias, std::int32_t islands, std::int32_t migration,
           std::int32_t migrants, bool guided, std::uint64_t seed, std::int32_t threads,
           double seconds) {
            const auto from = checked_start(g, start);
            std::vector<std::vector<sw::Node>> given;
            for (const auto& order : orders) {
                checked_order(g, as_span(order));
                given.push_back(as_vector(order));
            }
            if (!(bias >= 0 && bias <= 1)) throw std::invalid_argument("bias: expected 0 to 1");
            const sw::GeneticSettings settings{population,
                                               generations,
                                               elites,
                                               mutants,
                                               static_cast<std::uint32_t>(bias * 65536 + 0.5),
                                               islands,
                                               migration,
                                               migrants,
                                               guided,
                                               seed,
                                               threads};
            sw::Evolved best;
            Signals signals;
            {
                nb::gil_scoped_release release;
                auto stop = signals.stop(seconds);
                best = sw::evolve(g, k, lower, from, given, settings, stop);
            }
            return as_tuple(std::move(best), signals);
        },
        "instance"_a, "k"_a, "lower"_a, "start"_a.noconvert() = nb::none(),
        "orders"_a = std::vector<Int32Array>{}, nb::kw_only(), "population"_a, "generations"_a,
        "elites"_a, "mutants"_a, "bias"_a, "islands"_a = 1, "migration"_a = 10, "migrants"_a = 2,
        "guided"_a = false, "seed"_a = 0, "threads"_a = 1, "seconds"_a = 1e9,
        "Biased random-key genetic search: (bottleneck ps, block of each node, evaluations, "
        "decoded,\n"
        "optima computed, interrupted).");
}

void bind_peaks(nb::module_& m) {
    nb::class_<sw::TensorFlow>(m, "TensorFlow", "The tensors of a cost graph, for peak memory.")
        .def(
            "__init__",
            [](sw::TensorFlow* self, std::int32_t nodes, const Int32Array& producer,
               const Int64Array& bytes, const Int64Array& consumer_offsets,
               const Int32Array& consumers) {
                new (self) sw::TensorFlow(nodes, as_vector(producer), as_vector(bytes),
                                          as_ragged(consumer_offsets, consumers));
            },
            "nodes"_a, "producer"_a.noconvert(), "bytes"_a.noconvert(),
            "consumer_offsets"_a.noconvert(), "consumers"_a.noconvert(),
            "producer: int32[t]. bytes: int64[t] >= 0. consumers: int32 rows per tensor.");
    m.def(
        "order_stage",
        [](const sw::TensorFlow& flow, const Int32Array& stage, std::int64_t enough,
           std::int64_t most, std::int64_t max_states, double seconds) {
            std::vector<char> seen(static_cast<std::size_t>(flow.n), 0);
            for (const auto v : as_span(stage))
                if (v < 0 || v >= flow.n || seen[v]++)
                    throw std::invalid_argument("stage: expected nodes, each once");
            Signals signals;
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
        "seconds"_a = 1e9,
        "An order of least peak of a convex stage; peaks <= `enough` are equally good: (lower "
        "bound of the\n"
        "peak unless that is <= `enough`, order, empty if none was found, interrupted).");
}

void bind_exact(nb::module_& m) {
    nb::class_<sw::IdealGraph>(m, "IdealGraph",
                               "All ideals of an instance and the exact program over them.")
        .def(
            "__init__",
            [](sw::IdealGraph* self, const sw::Instance& g, std::int64_t max_ideals,
               std::int64_t max_bytes, double seconds) {
                Signals signals;
                nb::gil_scoped_release release;
                auto stop = signals.stop(seconds);
                new (self) sw::IdealGraph(g, max_ideals, max_bytes, stop);
            },
            "instance"_a, "max_ideals"_a, "max_bytes"_a, "seconds"_a = 1e9, nb::keep_alive<1, 2>())
        .def_prop_ro("complete", &sw::IdealGraph::complete)
        .def_prop_ro("count", &sw::IdealGraph::count)
        .def_prop_ro("pairs", &sw::IdealGraph::pairs)
        .def(
            "count_peaks",
            [](sw::IdealGraph& self, std::shared_ptr<sw::TensorFlow> flow,
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
               bool certain) {
                if (!self.complete())
                    throw std::invalid_argument("decide: the ideals are not complete");
                std::vector<std::int32_t> block;
                auto answer = sw::Answer::unknown;
                Signals signals;
                {
                    nb::gil_scoped_release release;
                    auto stop = signals.stop(seconds);
                    answer = self.decide(k, threshold, block, stop, certain);
                }
                static constexpr const char* kNames[] = {"yes", "no", "unknown"};
                return std::make_tuple(std::string(kNames[static_cast<int>(answer)]),
                                       as_array(std::move(block)), signals.interrupted());
            },
            "k"_a, "threshold"_a, "seconds"_a = 1e9, "certain"_a = false,
            "Is there a plan of at most k blocks of cost <= threshold: ('yes' | 'no' | 'unknown', "
            "block of\n"
            "each node on yes, interrupted). Blocks whose least peak stays open (`doubts`) are let "
            "through,\n"
            "or refused with `certain`.");
    bind_peaks(m);
}

void bind_bounds(nb::module_& m) {
    m.def(
        "anchor_bound",
        [](const sw::Instance& g, const Int64Array& ceiling, std::int64_t enough, double seconds) {
            if (ceiling.shape(0) != static_cast<std::size_t>(g.n))
                throw std::invalid_argument("ceiling: expected one value per node");
            Signals signals;
            sw::AnchorBound bound;
            auto above = as_vector(ceiling);
            {
                nb::gil_scoped_release release;
                auto stop = signals.stop(seconds);
                bound = sw::anchor_bound(g, std::move(above), enough, stop);
            }
            std::vector<std::tuple<std::int32_t, std::int32_t, std::int64_t>> flow;
            for (const auto& e : bound.flow) flow.emplace_back(e.tensor, e.node, e.amount);
            return std::make_tuple(bound.value, bound.anchor, std::move(flow), bound.flows,
                                   bound.complete, signals.interrupted());
        },
        "instance"_a, "ceiling"_a.noconvert(), "enough"_a, "seconds"_a = 1e9,
        "The anchor bound: (value ps, anchor, [(tensor, node, amount)], flows, complete, "
        "interrupted).");
}

void bind_skeleton(nb::module_& m) {
    nb::class_<sw::Skeleton>(m, "Skeleton", "Lower bounds of an instance by interval refinement.")
        .def(nb::init<const sw::Instance&>(), "instance"_a, nb::keep_alive<1, 2>(),
             nb::call_guard<nb::gil_scoped_release>())
        .def(
            "bound",
            [](sw::Skeleton& self, std::int32_t k, std::int64_t lower, std::int64_t upper,
               std::int64_t max_bytes, double seconds) {
                if (k < 1) throw std::invalid_argument("k: expected at least one block");
                sw::SkeletonBound found;
                Signals signals;
                {
                    nb::gil_scoped_release release;
                    auto stop = signals.stop(seconds);
                    found = self.bound(k, lower, upper, max_bytes, stop);
                }
                return std::make_tuple(found.value, found.closed, found.states, found.arcs,
                                       found.cuts, as_array(std::move(found.plan)),
                                       signals.interrupted());
            },
            "k"_a, "lower"_a, "upper"_a, "max_bytes"_a = std::int64_t{1} << 30, "seconds"_a = 1e9,
            "Raise the proven bound `lower` towards `upper`, the cost of a plan: (value ps, "
            "closed, states,\n"
            "arcs, cuts, block of each node in a plan below `upper` met on the way or none, "
            "interrupted).\n"
            "Closed: the plan of cost `upper` is optimal.");
    m.def(
        "must_link",
        [](const sw::Instance& g, std::int64_t threshold, double seconds) {
            sw::MustLink found;
            Signals signals;
            {
                nb::gil_scoped_release release;
                auto stop = signals.stop(seconds);
                found = sw::must_link(g, threshold, stop);
            }
            std::vector<std::tuple<std::int32_t, std::int32_t>> pairs(found.pairs.begin(),
                                                                      found.pairs.end());
            return std::make_tuple(std::move(pairs), found.impossible, found.cuts,
                                   signals.interrupted());
        },
        "instance"_a, "threshold"_a, "seconds"_a = 1e9,
        "What shares a block in every plan of bottleneck <= threshold: ([(node, node)], "
        "impossible, cuts,\n"
        "interrupted). Impossible: there is no such plan.");
}

}  // namespace

NB_MODULE(_native, m) {
    m.doc() = "Stagewright's native core.";
    m.def(
        "version", [] { return std::string(STAGEWRIGHT_VERSION); },
        "Version of the package this module was built for.");
    bind_instance(m);
    bind_slicing(m);
    bind_genetic(m);
    bind_exact(m);
    bind_bounds(m);
    bind_skeleton(m);
}
