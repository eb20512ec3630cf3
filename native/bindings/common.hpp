// SPDX-License-Identifier: Apache-2.0
// What all bindings share: arrays in and out, signals, checks of arguments.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <optional>
#include <string>
#include <tuple>

#include "instance.hpp"
#include "stop.hpp"

namespace nb = nanobind;
using namespace nb::literals;
namespace sw = stagewright;

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
inline sw::Ragged as_ragged(const Int64Array& offsets, const Int32Array& values) {
    sw::Ragged rows{as_vector(offsets), as_vector(values)};
    if (rows.offsets.empty() || rows.offsets.front() != 0 ||
        rows.offsets.back() != static_cast<std::int64_t>(rows.values.size()))
        throw std::invalid_argument("offsets must run from 0 to the number of values");
    for (std::size_t i = 1; i < rows.offsets.size(); ++i)
        if (rows.offsets[i] < rows.offsets[i - 1])
            throw std::invalid_argument("offsets must not decrease");
    return rows;
}
inline Int32Result as_array(std::vector<std::int32_t> values) {
    auto* held = new std::vector<std::int32_t>(std::move(values));
    nb::capsule owner(held,
                      [](void* p) noexcept { delete static_cast<std::vector<std::int32_t>*>(p); });
    return Int32Result(held->data(), {held->size()}, owner);
}

// Set by one thread, ends calls in others.
struct Cancel {
    std::atomic<bool> flag = false;
};

// What a call has shown so far, for other threads to read.
struct Gauge {
    std::atomic<std::int64_t> reached = 0;
};

// When a native call ends.  Without a Cancel it asks for Ctrl-C itself, at most every 20 ms: the pending
// KeyboardInterrupt is swallowed here and remembered in `interrupted`; a search that is stopped returns the
// best it has, and the caller decides.  With one, signals are the business of whoever may set it, and
// "interrupted" says that it was set.
class Signals {
   public:
    Signals(const Cancel* cancel, std::int64_t work, Gauge* gauge = nullptr)
        : cancel_(cancel), work_(work), gauge_(gauge) {}

    sw::Stop stop(double seconds) {
        auto stop = silent(seconds);
        if (gauge_ != nullptr) stop.tell_to(&gauge_->reached);
        return stop;
    }
    [[nodiscard]] bool interrupted() const {
        return interrupted_ || (cancel_ != nullptr && cancel_->flag);
    }

   private:
    sw::Stop silent(double seconds) {
        if (cancel_ != nullptr) return {seconds, {}, &cancel_->flag, work_};
        return {seconds,
                [this] {
                    nb::gil_scoped_acquire gil;
                    if (PyErr_CheckSignals() == 0) return false;
                    PyErr_Clear();
                    return interrupted_ = true;
                },
                nullptr, work_};
    }

    const Cancel* cancel_;
    std::int64_t work_;
    Gauge* gauge_;
    bool interrupted_ = false;
};

constexpr auto kEndless = sw::Stop::kEndless;

inline std::int32_t checked_order(const sw::Instance& g, std::span<const std::int32_t> order) {
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

inline std::vector<std::int32_t> checked_plan(const sw::Instance& g,
                                              std::span<const std::int32_t> block, std::int32_t k) {
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

void bind_problem(nb::module_& m);
void bind_search(nb::module_& m);
void bind_improve(nb::module_& m);
void bind_exact(nb::module_& m);
void bind_placement(nb::module_& m);
void bind_bounds(nb::module_& m);
