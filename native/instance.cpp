// SPDX-License-Identifier: Apache-2.0
#include "instance.hpp"

#include <algorithm>

namespace stagewright {

Ragged Ragged::transposed(std::int32_t columns) const {
    Ragged out;
    out.offsets.assign(static_cast<std::size_t>(columns) + 1, 0);
    for (const auto v : values) ++out.offsets[static_cast<std::size_t>(v) + 1];
    for (std::size_t i = 1; i < out.offsets.size(); ++i) out.offsets[i] += out.offsets[i - 1];
    out.values.resize(values.size());
    auto next = out.offsets;
    for (std::int32_t row = 0; row < size(); ++row)
        for (const auto v : (*this)[row])
            out.values[static_cast<std::size_t>(next[static_cast<std::size_t>(v)]++)] = row;
    return out;
}

namespace {

void check_range(std::span<const std::int32_t> values, std::int32_t limit, const char* what) {
    for (const auto v : values)
        if (v < 0 || v >= limit)
            throw std::invalid_argument(std::string(what) + ": index " + std::to_string(v) +
                                        " is not in 0.." + std::to_string(limit - 1));
}

Ragged successors_of(const Instance& g, std::span<const Node> tails, std::span<const Node> heads) {
    std::vector<std::vector<Node>> rows(static_cast<std::size_t>(g.n));
    for (Tensor t = 0; t < g.tensors(); ++t) {
        auto& row = rows[static_cast<std::size_t>(g.producer[static_cast<std::size_t>(t)])];
        const auto users = g.consumers[t];
        row.insert(row.end(), users.begin(), users.end());
    }
    for (std::size_t i = 0; i < tails.size(); ++i)
        rows[static_cast<std::size_t>(tails[i])].push_back(heads[i]);
    Ragged out;
    for (auto& row : rows) {
        std::sort(row.begin(), row.end());
        row.erase(std::unique(row.begin(), row.end()), row.end());
        out.values.insert(out.values.end(), row.begin(), row.end());
        out.offsets.push_back(static_cast<std::int64_t>(out.values.size()));
    }
    return out;
}

void check_acyclic(const Instance& g) {
    std::vector<std::int32_t> missing(static_cast<std::size_t>(g.n), 0);
    for (const auto v : g.successors.values) ++missing[static_cast<std::size_t>(v)];
    std::vector<Node> ready;
    for (Node v = 0; v < g.n; ++v)
        if (missing[static_cast<std::size_t>(v)] == 0) ready.push_back(v);
    std::size_t done = 0;
    while (done < ready.size())
        for (const auto u : g.successors[ready[done++]])
            if (--missing[static_cast<std::size_t>(u)] == 0) ready.push_back(u);
    if (ready.size() != static_cast<std::size_t>(g.n))
        throw std::invalid_argument("instance: the precedence edges form a cycle");
}

}  // namespace

Instance make_instance(std::vector<Picoseconds> work, std::vector<Node> producer,
                       std::vector<Picoseconds> cost, Ragged consumers,
                       std::span<const Node> edge_tails, std::span<const Node> edge_heads) {
    Instance g;
    g.n = static_cast<Node>(work.size());
    g.work = std::move(work);
    g.producer = std::move(producer);
    g.cost = std::move(cost);
    g.consumers = std::move(consumers);
    if (g.cost.size() != g.producer.size() || g.consumers.size() != g.tensors())
        throw std::invalid_argument("instance: producer, cost and consumers differ in length");
    if (edge_tails.size() != edge_heads.size())
        throw std::invalid_argument("instance: edge tails and heads differ in length");
    check_range(g.producer, g.n, "producer");
    check_range(g.consumers.values, g.n, "consumers");
    check_range(edge_tails, g.n, "edge tails");
    check_range(edge_heads, g.n, "edge heads");
    g.reads = g.consumers.transposed(g.n);
    Ragged producer_rows;
    for (const auto p : g.producer) {
        producer_rows.values.push_back(p);
        producer_rows.offsets.push_back(static_cast<std::int64_t>(producer_rows.values.size()));
    }
    g.writes = producer_rows.transposed(g.n);
    g.successors = successors_of(g, edge_tails, edge_heads);
    g.predecessors = g.successors.transposed(g.n);
    for (const auto w : g.work) g.total_work += w;
    check_acyclic(g);
    return g;
}

std::vector<Picoseconds> block_costs(const Instance& g, std::span<const std::int32_t> block,
                                     std::int32_t blocks) {
    std::vector<Picoseconds> total(static_cast<std::size_t>(blocks), 0);
    for (Node v = 0; v < g.n; ++v)
        total[static_cast<std::size_t>(block[static_cast<std::size_t>(v)])] +=
            g.work[static_cast<std::size_t>(v)];
    std::vector<std::int32_t> touched;
    for (Tensor t = 0; t < g.tensors(); ++t) {
        const auto home = block[static_cast<std::size_t>(g.producer[static_cast<std::size_t>(t)])];
        touched.clear();
        for (const auto u : g.consumers[t]) {
            const auto b = block[static_cast<std::size_t>(u)];
            if (b != home) touched.push_back(b);
        }
        if (touched.empty()) continue;
        std::sort(touched.begin(), touched.end());
        touched.erase(std::unique(touched.begin(), touched.end()), touched.end());
        touched.push_back(home);
        for (const auto b : touched)
            total[static_cast<std::size_t>(b)] += g.cost[static_cast<std::size_t>(t)];
    }
    if (!g.has_memory) return total;
    const auto& m = g.memory;
    std::vector<Bytes> params(static_cast<std::size_t>(blocks), 0);
    std::vector<Bytes> largest(static_cast<std::size_t>(blocks), 0);
    std::vector<std::vector<Node>> users(m.param_bytes.size());
    for (Node v = 0; v < g.n; ++v) {
        auto& set = largest[static_cast<std::size_t>(block[static_cast<std::size_t>(v)])];
        set = std::max(set, m.working_set[static_cast<std::size_t>(v)]);
        for (const auto p : m.params_of[v]) users[static_cast<std::size_t>(p)].push_back(v);
    }
    for (std::size_t p = 0; p < users.size(); ++p) {
        touched.clear();
        for (const auto v : users[p]) touched.push_back(block[static_cast<std::size_t>(v)]);
        std::sort(touched.begin(), touched.end());
        touched.erase(std::unique(touched.begin(), touched.end()), touched.end());
        for (const auto b : touched) params[static_cast<std::size_t>(b)] += m.param_bytes[p];
    }
    for (std::size_t b = 0; b < total.size(); ++b) total[b] += m.overflow(params[b] + largest[b]);
    return total;
}

}  // namespace stagewright
