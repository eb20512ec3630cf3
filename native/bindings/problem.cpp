// SPDX-License-Identifier: Apache-2.0
// The problem and the costs of its blocks.
#include "common.hpp"

#include "alive.hpp"
#include "spill.hpp"

void bind_problem(nb::module_& m) {
    nb::class_<Cancel>(m, "Cancel",
                       "Ends the native calls that were given it, from another thread.")
        .def(nb::init<>())
        .def("set", [](Cancel& self) { self.flag = true; })
        .def_prop_ro("is_set", [](const Cancel& self) { return self.flag.load(); });
    nb::class_<Gauge>(m, "Gauge", "What the native call that was given it has shown so far.")
        .def(nb::init<>())
        .def_prop_ro("reached", [](const Gauge& self) { return self.reached.load(); });
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
                self.memory.capacity = capacity;
                self.memory.bandwidth = bandwidth;
                self.memory.param_bytes = as_vector(param_bytes);
                self.memory.params_of = as_ragged(param_offsets, params);
                self.memory.working_set = as_vector(working_set);
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
        .def(
            "set_limit",
            [](sw::Instance& self, std::int64_t limit, std::int64_t refusal,
               std::int64_t per_byte) {
                if (!self.has_memory || limit < 0 || refusal <= 0 || per_byte <= 0)
                    throw std::invalid_argument(
                        "limit: expected set_memory() before, and numbers above 0");
                self.memory.limit = limit;
                self.memory.refusal = refusal;
                self.memory.per_byte = per_byte;
            },
            "limit"_a, "refusal"_a, "per_byte"_a,
            "Let a block that holds more than `limit` bytes cost `refusal` more, and `per_byte` "
            "for "
            "each byte\n"
            "above the limit.")
        .def(
            "set_alive",
            [](sw::Instance& self, const sw::TensorUses& flow, const Int64Array& member_offsets,
               const Int32Array& members) {
                const auto rows = as_ragged(member_offsets, members);
                if (!self.has_memory || rows.size() != self.n)
                    throw std::invalid_argument(
                        "alive: expected set_memory() before, and one row of members per node");
                for (const auto v : rows.values)
                    if (v < 0 || v >= flow.n)
                        throw std::invalid_argument("alive: unknown node of the graph");
                nb::gil_scoped_release release;
                self.alive = std::make_shared<const sw::Alive>(flow, rows);
            },
            "flow"_a, "member_offsets"_a.noconvert(), "members"_a.noconvert(),
            "Let the bounds of wide graphs count what is surely alive while nodes of the graph "
            "run.")
        .def_prop_ro("num_nodes", [](const sw::Instance& self) { return self.n; });
    m.def(
        "held_at_least",
        [](const sw::Instance& g, const Int32Array& nodes) {
            std::vector<sw::Word> set(sw::words_for(g.n), 0);
            for (const auto v : as_span(nodes)) {
                if (v < 0 || v >= g.n)
                    throw std::invalid_argument("nodes: expected numbers from 0 to n - 1");
                sw::insert(set.data(), v);
            }
            sw::Spill spill(g);
            return spill.binds() ? spill.held(set.data()) : 0;
        },
        "instance"_a, "nodes"_a.noconvert(),
        "Bytes that a block of these nodes holds at least, in any order: parameters, and what is "
        "alive\n"
        "at once; 0 where memory does not bind.");
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
