// SPDX-License-Identifier: Apache-2.0
#include "partition.hpp"

#include <algorithm>

namespace stagewright {

namespace {

std::vector<std::int32_t> pins_per_tensor(const Instance& g) {
    std::vector<std::int32_t> sizes(static_cast<std::size_t>(g.tensors()));
    for (Tensor t = 0; t < g.tensors(); ++t)
        sizes[t] = static_cast<std::int32_t>(g.consumers[t].size()) + 1;
    return sizes;
}

std::vector<std::int32_t> users_per_param(const Instance& g) {
    std::vector<std::int32_t> sizes(g.memory.param_bytes.size(), 0);
    if (g.has_memory)
        for (const auto p : g.memory.params_of.values) ++sizes[p];
    return sizes;
}

}  // namespace

PinTable::PinTable(std::span<const std::int32_t> row_sizes, std::int32_t blocks)
    : start_{0}, spread_(row_sizes.size(), 0) {
    for (const auto size : row_sizes) start_.push_back(start_.back() + std::min(size, blocks));
    pins_.resize(static_cast<std::size_t>(start_.back()));
}

void PinTable::clear() { std::fill(spread_.begin(), spread_.end(), 0); }

std::int32_t PinTable::count(std::int32_t row, std::int32_t block) const {
    const auto* pins = pins_.data() + start_[row];
    for (std::int32_t i = 0; i < spread_[row]; ++i)
        if (pins[i].block == block) return pins[i].count;
    return 0;
}

void PinTable::add(std::int32_t row, std::int32_t block) {
    auto* pins = pins_.data() + start_[row];
    for (std::int32_t i = 0; i < spread_[row]; ++i)
        if (pins[i].block == block) {
            ++pins[i].count;
            return;
        }
    pins[spread_[row]++] = {block, 1};
}

void PinTable::remove(std::int32_t row, std::int32_t block) {
    auto* pins = pins_.data() + start_[row];
    std::int32_t i = 0;
    while (pins[i].block != block) ++i;
    if (--pins[i].count == 0) pins[i] = pins[--spread_[row]];
}

Partition::Partition(const Instance& instance, std::int32_t blocks)
    : instance_(instance),
      block_(static_cast<std::size_t>(instance.n), 0),
      base_(static_cast<std::size_t>(blocks), 0),
      cost_(static_cast<std::size_t>(blocks), 0),
      tensors_(pins_per_tensor(instance), blocks),
      params_(users_per_param(instance), blocks) {
    if (instance.has_memory) {
        param_bytes_.resize(static_cast<std::size_t>(blocks));
        working_sets_.resize(static_cast<std::size_t>(blocks));
    }
    for (auto& rows : border_) rows.resize(static_cast<std::size_t>(blocks));
    for (auto& counts : inside_) counts.resize(block_.size());
    for (auto& places : place_) places.assign(block_.size(), -1);
}

void Partition::assign(std::span<const std::int32_t> block) {
    const auto& g = instance_;
    block_.assign(block.begin(), block.end());
    tensors_.clear();
    params_.clear();
    cost_ = block_costs(g, block_, blocks());
    base_ = cost_;
    for (Tensor t = 0; t < g.tensors(); ++t) {
        tensors_.add(t, block_[g.producer[t]]);
        for (const auto u : g.consumers[t]) tensors_.add(t, block_[u]);
    }
    if (g.has_memory) {
        const auto& m = g.memory;
        std::fill(param_bytes_.begin(), param_bytes_.end(), 0);
        for (auto& set : working_sets_) set.clear();
        for (Node v = 0; v < g.n; ++v) {
            const auto b = block_[v];
            working_sets_[b].insert(m.working_set[v]);
            for (const auto p : m.params_of[v]) {
                if (params_.count(p, b) == 0) param_bytes_[b] += m.param_bytes[p];
                params_.add(p, b);
            }
        }
        for (std::int32_t b = 0; b < blocks(); ++b)
            base_[b] -= m.overflow(param_bytes_[b] + largest(b));
    }
    for (auto& rows : border_)
        for (auto& row : rows) row.clear();
    for (auto& places : place_) std::fill(places.begin(), places.end(), -1);
    for (Node v = 0; v < g.n; ++v) count_neighbours(v);
}

void Partition::count_neighbours(Node v) {
    const auto own = [&](Node u) { return block_[u] == block_[v]; };
    const auto& g = instance_;
    for (const auto side : {kDown, kUp}) {
        const auto row = side == kUp ? g.successors[v] : g.predecessors[v];
        inside_[side][v] = static_cast<std::int32_t>(std::count_if(row.begin(), row.end(), own));
        set_border(v, side, inside_[side][v] == 0);
    }
}

void Partition::set_border(Node v, Side side, bool on) {
    auto& row = border_[side][block_[v]];
    auto& place = place_[side][v];
    if (on == (place >= 0)) return;
    if (on) {
        place = static_cast<std::int32_t>(row.size());
        row.push_back(v);
    } else {
        row[place] = row.back();
        place_[side][row.back()] = place;
        row.pop_back();
        place = -1;
    }
}

Bytes Partition::largest(std::int32_t b) const {
    return working_sets_[b].empty() ? 0 : *working_sets_[b].rbegin();
}

Picoseconds Partition::full_cost(Picoseconds base, Bytes params, Bytes largest) const {
    return base + instance_.memory.overflow(params + largest);
}

Partition::Change Partition::costs_after(Node v, std::int32_t to) const {
    const auto& g = instance_;
    const auto from = block_[v];
    auto left = base_[from] - g.work[v];
    auto joined = base_[to] + g.work[v];
    const auto consider = [&](Tensor t) {
        const auto at_from = tensors_.count(t, from);
        const auto at_to = tensors_.count(t, to);
        const auto spread = tensors_.spread(t);
        const auto spread_after = spread - (at_from == 1 ? 1 : 0) + (at_to == 0 ? 1 : 0);
        const auto cost = g.cost[t];
        if (spread > 1) left -= cost;
        if (spread > 1 && at_to > 0) joined -= cost;
        if (spread_after > 1 && at_from > 1) left += cost;
        if (spread_after > 1) joined += cost;
    };
    for (const auto t : g.reads[v]) consider(t);
    for (const auto t : g.writes[v]) consider(t);
    if (!g.has_memory) return {left, joined};
    const auto& m = g.memory;
    auto params_left = param_bytes_[from];
    auto params_joined = param_bytes_[to];
    for (const auto p : m.params_of[v]) {
        if (params_.count(p, from) == 1) params_left -= m.param_bytes[p];
        if (params_.count(p, to) == 0) params_joined += m.param_bytes[p];
    }
    const auto set = m.working_set[v];
    auto rest = largest(from);
    if (set == rest) {
        const auto& sets = working_sets_[from];
        rest = sets.size() < 2 ? 0 : *std::next(sets.rbegin());
    }
    return {full_cost(left, params_left, rest),
            full_cost(joined, params_joined, std::max(set, largest(to)))};
}

void Partition::move(Node v, std::int32_t to) {
    const auto& g = instance_;
    const auto from = block_[v];
    if (from == to) return;
    const auto change = costs_after(v, to);
    if (g.has_memory) {
        const auto& m = g.memory;
        for (const auto p : m.params_of[v]) {
            params_.remove(p, from);
            if (params_.count(p, from) == 0) param_bytes_[from] -= m.param_bytes[p];
            if (params_.count(p, to) == 0) param_bytes_[to] += m.param_bytes[p];
            params_.add(p, to);
        }
        working_sets_[from].erase(working_sets_[from].find(m.working_set[v]));
        working_sets_[to].insert(m.working_set[v]);
        base_[from] = change.from - m.overflow(param_bytes_[from] + largest(from));
        base_[to] = change.to - m.overflow(param_bytes_[to] + largest(to));
    } else {
        base_[from] = change.from;
        base_[to] = change.to;
    }
    cost_[from] = change.from;
    cost_[to] = change.to;
    const auto repin = [&](Tensor t) {
        tensors_.remove(t, from);
        tensors_.add(t, to);
    };
    for (const auto t : g.reads[v]) repin(t);
    for (const auto t : g.writes[v]) repin(t);
    for (const auto side : {kDown, kUp}) set_border(v, side, false);
    block_[v] = to;
    count_neighbours(v);
    for (const auto u : g.successors[v]) {
        if (block_[u] == from) neighbour_left(u, kDown);
        if (block_[u] == to) neighbour_joined(u, kDown);
    }
    for (const auto u : g.predecessors[v]) {
        if (block_[u] == from) neighbour_left(u, kUp);
        if (block_[u] == to) neighbour_joined(u, kUp);
    }
}

std::int32_t Partition::lowest(Node v) const {
    std::int32_t b = 0;
    for (const auto u : instance_.predecessors[v]) b = std::max(b, block_[u]);
    return b;
}

std::int32_t Partition::highest(Node v) const {
    auto b = blocks() - 1;
    for (const auto u : instance_.successors[v]) b = std::min(b, block_[u]);
    return b;
}

Picoseconds Partition::bottleneck() const { return *std::max_element(cost_.begin(), cost_.end()); }

}  // namespace stagewright
