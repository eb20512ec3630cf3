// SPDX-License-Identifier: Apache-2.0
// Orders, their slicing, and the searches.
#include "common.hpp"

#include "genetic.hpp"
#include "order_search.hpp"
#include "orders.hpp"
#include "priorities.hpp"
#include "slicing.hpp"
#include "window_search.hpp"

namespace {

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
           const std::optional<Int32Array>& start, const std::optional<Int32Array>& order,
           std::int64_t restarts, std::int64_t local_moves, std::uint64_t seed, double seconds,
           const Cancel* cancel, std::int64_t work) {
            if (g.n == 0) throw std::invalid_argument("instance: no nodes");
            sw::Incumbent best;
            Signals signals(cancel, work);
            const auto from = start ? as_vector(*start) : std::vector<std::int32_t>{};
            if (start && from.size() != static_cast<std::size_t>(g.n))
                throw std::invalid_argument("start: expected one block number per node");
            const auto own = order ? as_vector(*order) : std::vector<sw::Node>{};
            if (order && own.size() != static_cast<std::size_t>(g.n))
                throw std::invalid_argument("order: expected each node once");
            {
                nb::gil_scoped_release release;
                auto stop = signals.stop(seconds);
                best =
                    sw::search_orders(g, k, lower, from, {restarts, local_moves, seed}, stop, own);
            }
            return std::make_tuple(best.bottleneck, as_array(std::move(best.block)),
                                   best.evaluations, signals.interrupted());
        },
        "instance"_a, "k"_a, "lower"_a, "start"_a.noconvert() = nb::none(),
        "order"_a.noconvert() = nb::none(), "restarts"_a = 64, "local_moves"_a = 4000, "seed"_a = 0,
        "seconds"_a = 1e9, "cancel"_a = nb::none(), "work"_a = kEndless,
        "Search over topological orders: (bottleneck ps, block of each node, evaluations, "
        "interrupted).\n"
        "order: int32[n], a topological order to slice beside those that are drawn.");
    m.def(
        "search_windows",
        [](const sw::Instance& g, std::int32_t k, std::int64_t lower, const Int32Array& start,
           std::int64_t rounds, std::uint64_t seed, double seconds, const Cancel* cancel,
           std::int64_t work) {
            if (k < 1) throw std::invalid_argument("k: expected at least 1");
            sw::Incumbent best;
            Signals signals(cancel, work);
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
        "seed"_a = 0, "seconds"_a = 1e9, "cancel"_a = nb::none(), "work"_a = kEndless,
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
           std::uint64_t seed, double seconds, const Cancel* cancel, std::int64_t work) {
            checked_start(g, std::nullopt);
            sw::Evolved best;
            Signals signals(cancel, work);
            {
                nb::gil_scoped_release release;
                auto stop = signals.stop(seconds);
                best = sw::random_orders(g, k, lower, count, seed, stop);
            }
            return as_tuple(std::move(best), signals);
        },
        "instance"_a, "k"_a, "lower"_a, "count"_a, "seed"_a = 0, "seconds"_a = 1e9,
        "cancel"_a = nb::none(), "work"_a = kEndless,
        "The best of `count` random Kahn orders; returns what `evolve` returns.");
    m.def(
        "evolve",
        [](const sw::Instance& g, std::int32_t k, std::int64_t lower,
           const std::optional<Int32Array>& start, const std::vector<Int32Array>& orders,
           std::int32_t population, std::int32_t generations, std::int32_t elites,
           std::int32_t mutants, double bias, std::int32_t islands, std::int32_t migration,
           std::int32_t migrants, bool guided, std::uint64_t seed, std::int32_t threads,
           double seconds, const Cancel* cancel, std::int64_t work) {
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
            Signals signals(cancel, work);
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
        "cancel"_a = nb::none(), "work"_a = kEndless,
        "Biased random-key genetic search: (bottleneck ps, block of each node, evaluations, "
        "decoded,\n"
        "optima computed, interrupted).");
}

}  // namespace

void bind_search(nb::module_& m) {
    bind_slicing(m);
    bind_genetic(m);
}
