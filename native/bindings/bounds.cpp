// SPDX-License-Identifier: Apache-2.0
// Lower bounds.
#include "common.hpp"

#include "anchor.hpp"
#include "average.hpp"
#include "cover_bound.hpp"
#include "must_link.hpp"
#include "skeleton.hpp"

namespace {

void bind_skeleton(nb::module_& m) {
    nb::class_<sw::Skeleton>(m, "Skeleton", "Lower bounds of an instance by interval refinement.")
        .def(nb::init<const sw::Instance&>(), "instance"_a, nb::keep_alive<1, 2>(),
             nb::call_guard<nb::gil_scoped_release>())
        .def(
            "bound",
            [](sw::Skeleton& self, std::int32_t k, std::int64_t lower, std::int64_t upper,
               std::int64_t max_bytes, double seconds, const Cancel* cancel, std::int64_t work,
               Gauge* gauge) {
                if (k < 1) throw std::invalid_argument("k: expected at least one block");
                sw::SkeletonBound found;
                bool more = false;
                Signals signals(cancel, work, gauge);
                {
                    nb::gil_scoped_release release;
                    auto stop = signals.stop(seconds);
                    found = self.bound(k, lower, upper, max_bytes, stop);
                    more = stop.now();
                }
                return std::make_tuple(found.value, found.closed, found.states, found.arcs,
                                       found.cuts, as_array(std::move(found.plan)),
                                       signals.interrupted(), more);
            },
            "k"_a, "lower"_a, "upper"_a, "max_bytes"_a = std::int64_t{1} << 30, "seconds"_a = 1e9,
            "cancel"_a = nb::none(), "work"_a = kEndless, "gauge"_a = nb::none(),
            "Raise the proven bound `lower` towards `upper`, the cost of a plan: (value ps, "
            "closed, states,\n"
            "arcs, cuts, block of each node in a plan below `upper` met on the way or none, "
            "interrupted, more:\n"
            "stopped before it was done). gauge: takes every bound that is shown on the way.\n"
            "Closed: the plan of cost `upper` is optimal.");
    m.def(
        "must_link",
        [](const sw::Instance& g, std::int64_t threshold, double seconds, const Cancel* cancel,
           std::int64_t work) {
            sw::MustLink found;
            Signals signals(cancel, work);
            {
                nb::gil_scoped_release release;
                auto stop = signals.stop(seconds);
                found = sw::must_link(g, threshold, stop);
            }
            std::vector<std::tuple<std::int32_t, std::int32_t>> pairs(found.pairs.begin(),
                                                                      found.pairs.end());
            return std::make_tuple(std::move(pairs), found.impossible, found.cuts, found.complete);
        },
        "instance"_a, "threshold"_a, "seconds"_a = 1e9, "cancel"_a = nb::none(),
        "work"_a = kEndless,
        "What shares a block in every plan of bottleneck <= threshold: ([(node, node)], "
        "impossible, cuts,\n"
        "complete). Impossible: there is no such plan. Complete: nothing cut it short.");
}

void bind_cover(nb::module_& m) {
    nb::class_<sw::Cover>(m, "Cover", "Lower bounds of an instance by covering it with blocks.")
        .def(nb::init<const sw::Instance&>(), "instance"_a, nb::keep_alive<1, 2>(),
             nb::call_guard<nb::gil_scoped_release>())
        .def(
            "bound",
            [](sw::Cover& self, std::int32_t k, std::int64_t lower, std::int64_t upper,
               double seconds, const Cancel* cancel, std::int64_t work, Gauge* gauge) {
                if (k < 1) throw std::invalid_argument("k: expected at least one block");
                sw::CoverBound found;
                Signals signals(cancel, work, gauge);
                {
                    nb::gil_scoped_release release;
                    auto stop = signals.stop(seconds);
                    found = self.bound(k, lower, upper, stop);
                }
                return std::make_tuple(found.value, found.exhausted, found.looked, found.cuts,
                                       found.blocks, signals.interrupted());
            },
            "k"_a, "lower"_a, "upper"_a, "seconds"_a = 1e9, "cancel"_a = nb::none(),
            "work"_a = kEndless, "gauge"_a = nb::none(),
            "Raise the proven bound `lower` towards `upper`, the cost of a plan: (value ps, "
            "exhausted,\n"
            "subproblems, cuts, blocks known, interrupted). Exhausted: more time would not help.");
}

void bind_average(nb::module_& m) {
    m.def(
        "average_bound",
        [](const sw::Instance& g, std::int32_t k, std::int64_t lower, std::int64_t enough,
           double seconds, const Cancel* cancel, std::int64_t work) {
            if (k < 1) throw std::invalid_argument("k: expected at least one block");
            sw::AverageBound found;
            Signals signals(cancel, work);
            {
                nb::gil_scoped_release release;
                auto stop = signals.stop(seconds);
                found = sw::average_bound(g, k, lower, enough, stop);
            }
            return std::make_tuple(found.value, found.boundary, found.looked, found.cuts,
                                   found.complete, as_array(std::move(found.plan)),
                                   signals.interrupted());
        },
        "instance"_a, "k"_a, "lower"_a, "enough"_a = kEndless, "seconds"_a = 1e9,
        "cancel"_a = nb::none(), "work"_a = kEndless,
        "Raise the proven bound `lower` to at most `enough` by what blocks on either side of a "
        "boundary cost on "
        "average:\n"
        "(value ps, blocks before that boundary, subproblems, cuts, complete, plan, "
        "interrupted).\n"
        "The plan is the best one met for two blocks, otherwise none.");
}

}  // namespace

void bind_bounds(nb::module_& m) {
    bind_skeleton(m);
    bind_cover(m);
    bind_average(m);
    m.def(
        "anchor_bound",
        [](const sw::Instance& g, const Int64Array& ceiling, std::int64_t enough, double seconds,
           const Cancel* cancel, std::int64_t work, Gauge* gauge) {
            if (ceiling.shape(0) != static_cast<std::size_t>(g.n))
                throw std::invalid_argument("ceiling: expected one value per node");
            Signals signals(cancel, work, gauge);
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
        "cancel"_a = nb::none(), "work"_a = kEndless, "gauge"_a = nb::none(),
        "The anchor bound: (value ps, anchor, [(tensor, node, amount)], flows, complete, "
        "interrupted).");
}
