// SPDX-License-Identifier: Apache-2.0
#include "common.hpp"
#include "corridor.hpp"
#include "local_search.hpp"
#include "multilevel.hpp"

void bind_improve(nb::module_& m) {
    m.def(
        "search_locally",
        [](const sw::Instance& g, std::int32_t k, std::int64_t lower, const Int32Array& start,
           std::int64_t moves, bool lexicographic, double heat, std::uint64_t seed, double seconds,
           const Cancel* cancel, std::int64_t work) {
            if (k < 1) throw std::invalid_argument("k: expected at least 1");
            const auto from = checked_plan(g, as_span(start), k);
            const auto objective =
                lexicographic ? sw::Objective::lexicographic : sw::Objective::smoothed;
            sw::Incumbent best;
            Signals signals(cancel, work);
            {
                nb::gil_scoped_release release;
                auto stop = signals.stop(seconds);
                best = sw::search_locally(g, k, lower, from, {moves, objective, heat, seed}, stop);
            }
            return std::make_tuple(best.bottleneck, as_array(std::move(best.block)),
                                   best.evaluations, signals.interrupted());
        },
        "instance"_a, "k"_a, "lower"_a, "start"_a.noconvert(), "moves"_a = 1'000'000,
        "lexicographic"_a = false, "heat"_a = 1.0, "seed"_a = 0, "seconds"_a = 1e9,
        "cancel"_a = nb::none(), "work"_a = kEndless,
        "Improve a plan by moves of nodes: (bottleneck ps, block of each node, moves, "
        "interrupted).");
    m.def(
        "search_corridor",
        [](const sw::Instance& g, std::int32_t k, std::int64_t lower, const Int32Array& start,
           std::int64_t first_width, std::int64_t last_width, std::int64_t max_ideals,
           std::int64_t patience, std::int64_t rounds, std::uint64_t seed, double seconds,
           const Cancel* cancel, std::int64_t work) {
            if (k < 1) throw std::invalid_argument("k: expected at least 1");
            const auto from = checked_plan(g, as_span(start), k);
            const sw::CorridorLimits limits{first_width, last_width, max_ideals,
                                            patience,    rounds,     seed};
            sw::CorridorFound best;
            Signals signals(cancel, work);
            {
                nb::gil_scoped_release release;
                auto stop = signals.stop(seconds);
                best = sw::search_corridor(g, k, lower, from, limits, stop);
            }
            return std::make_tuple(best.bottleneck, as_array(std::move(best.block)),
                                   best.evaluations, best.width, best.exhaustive,
                                   signals.interrupted());
        },
        "instance"_a, "k"_a, "lower"_a, "start"_a.noconvert(), "first_width"_a = 32,
        "last_width"_a = 2000, "max_ideals"_a = 30'000, "patience"_a = 3, "rounds"_a = 1000,
        "seed"_a = 0, "seconds"_a = 1e9, "cancel"_a = nb::none(), "work"_a = kEndless,
        "Improve a plan by the exact program near its boundaries: (bottleneck ps, block of each\n"
        "node, ideals, last width, whether it held every plan, interrupted).");
    m.def(
        "search_levels",
        [](const sw::Instance& g, std::int32_t k, std::int64_t lower,
           const std::optional<Int32Array>& start, std::int64_t cycles, std::int64_t windows,
           std::int64_t moves_per_node, std::uint64_t seed, double seconds, const Cancel* cancel,
           std::int64_t work) {
            if (k < 1) throw std::invalid_argument("k: expected at least 1");
            if (g.n == 0) throw std::invalid_argument("instance: no nodes");
            const auto from =
                start ? checked_plan(g, as_span(*start), k) : std::vector<std::int32_t>{};
            sw::Incumbent best;
            Signals signals(cancel, work);
            {
                nb::gil_scoped_release release;
                auto stop = signals.stop(seconds);
                best = sw::search_levels(g, k, lower, from, {cycles, windows, moves_per_node, seed},
                                         stop);
            }
            return std::make_tuple(best.bottleneck, as_array(std::move(best.block)),
                                   best.evaluations, signals.interrupted());
        },
        "instance"_a, "k"_a, "lower"_a, "start"_a.noconvert() = nb::none(), "cycles"_a = 10,
        "windows"_a = 2000, "moves_per_node"_a = 30, "seed"_a = 0, "seconds"_a = 1e9,
        "cancel"_a = nb::none(), "work"_a = kEndless,
        "Multilevel search: (bottleneck ps, block of each node, evaluations, interrupted).");
}
