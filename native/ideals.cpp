// SPDX-License-Identifier: Apache-2.0
#include "ideals.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "random.hpp"

namespace stagewright {

namespace {

bool has(const std::uint64_t* bits, Node v) {
    return (bits[static_cast<std::size_t>(v) >> 6U] >> (static_cast<unsigned>(v) & 63U)) & 1U;
}
void set(std::uint64_t* bits, Node v) {
    bits[static_cast<std::size_t>(v) >> 6U] |= std::uint64_t{1} << (static_cast<unsigned>(v) & 63U);
}

}  // namespace

IdealGraph::IdealGraph(const Instance& instance, std::int64_t max_ideals, std::int64_t max_bytes,
                       Stop& stop)
    : instance_(instance), words_((instance.n + 63) / 64) {
    enumerate(max_ideals, max_bytes, stop);
}

// Ideals of s nodes make those of s + 1 nodes, so only one size at a time needs a hash table.
// The table compares whole bit sets: an equal hash alone is no proof of equality.
void IdealGraph::enumerate(std::int64_t max_ideals, std::int64_t max_bytes, Stop& stop) {
    const auto& g = instance_;
    std::vector<std::uint64_t> key(static_cast<std::size_t>(g.n));
    Random random(1);
    for (auto& k : key) k = random.next();
    std::vector<std::uint64_t> hash{0};
    std::vector<std::vector<Node>> ready;  // per ideal of the current size
    std::vector<Node> sources;
    for (Node v = 0; v < g.n; ++v)
        if (g.predecessors[v].empty()) sources.push_back(v);
    ready.push_back(sources);
    bits_.assign(static_cast<std::size_t>(words_), 0);
    work_.push_back(0);
    live_.push_back(0);
    cover_start_.push_back(0);
    std::vector<std::int32_t> table;
    std::vector<std::uint64_t> scratch(static_cast<std::size_t>(words_));
    std::int64_t begin = 0;
    for (Node size = 0; size < g.n; ++size) {
        const std::int64_t end = count();
        std::vector<std::vector<Node>> next_ready;
        std::size_t slots = 0;
        for (const auto& row : ready) slots += row.size();
        table.assign(std::bit_ceil(2 * slots + 2), -1);
        const std::size_t mask = table.size() - 1;
        for (std::int64_t i = begin; i < end; ++i) {
            const auto row = ready[static_cast<std::size_t>(i - begin)];
            for (const Node v : row) {
                if (stop()) return;
                const auto h = hash[i] ^ key[v];
                std::memcpy(scratch.data(), bits(i), sizeof(std::uint64_t) * words_);
                set(scratch.data(), v);
                std::size_t slot = h & mask;
                while (table[slot] >= 0 &&
                       (hash[table[slot]] != h ||
                        std::memcmp(bits(table[slot]), scratch.data(), sizeof(std::uint64_t) * words_) != 0))
                    slot = (slot + 1) & mask;
                if (table[slot] < 0) {
                    const auto bytes = (count() + 1) * (8 * words_ + 64) +
                                       static_cast<std::int64_t>(cover_node_.size()) * 8;
                    if (count() >= max_ideals || bytes > max_bytes) return;
                    table[slot] = static_cast<std::int32_t>(count());
                    const auto* in = scratch.data();
                    bits_.insert(bits_.end(), in, in + words_);
                    hash.push_back(h);
                    work_.push_back(work_[i] + g.work[v]);
                    auto live = live_[i];
                    for (const auto t : g.writes[v]) live += g.cost[t];
                    for (const auto t : g.reads[v]) {
                        const auto users = g.consumers[t];
                        if (std::all_of(users.begin(), users.end(), [&](Node u) { return has(in, u); }))
                            live -= g.cost[t];
                    }
                    live_.push_back(live);
                    auto& list = next_ready.emplace_back();
                    for (const Node u : row)
                        if (u != v) list.push_back(u);
                    for (const Node u : g.successors[v]) {
                        const auto before = g.predecessors[u];
                        if (std::all_of(before.begin(), before.end(), [&](Node p) { return has(in, p); }))
                            list.push_back(u);
                    }
                }
                cover_ideal_.push_back(table[slot]);
                cover_node_.push_back(v);
            }
            cover_start_.push_back(static_cast<std::int64_t>(cover_node_.size()));
        }
        begin = end;
        ready = std::move(next_ready);
    }
    cover_start_.push_back(static_cast<std::int64_t>(cover_node_.size()));
    complete_ = true;
}

// Costs of S = J \ I while J grows and shrinks node by node.
struct IdealGraph::Visit {
    explicit Visit(const Instance& instance)
        : g(instance),
          left(static_cast<std::size_t>(g.tensors())),
          received(static_cast<std::size_t>(g.tensors()), 0),
          inside(static_cast<std::size_t>(g.tensors()), 0) {
        if (g.has_memory) param_users.assign(g.memory.param_bytes.size(), 0);
    }

    void start(const std::uint64_t* ideal) {
        for (Tensor t = 0; t < g.tensors(); ++t) {
            left[t] = 0;
            for (const auto u : g.consumers[t]) left[t] += has(ideal, u) ? 0 : 1;
        }
        work = in = out = 0;
        params = largest = 0;
    }

    void add(Node v) {
        work += g.work[v];
        for (const auto t : g.reads[v]) {
            --left[t];
            if (inside[t]) {
                if (left[t] == 0) out -= g.cost[t];
            } else if (received[t]++ == 0) {
                in += g.cost[t];
            }
        }
        for (const auto t : g.writes[v]) {
            inside[t] = 1;
            out += g.cost[t];
        }
        if (!g.has_memory) return;
        for (const auto p : g.memory.params_of[v])
            if (param_users[p]++ == 0) params += g.memory.param_bytes[p];
        largest_stack.push_back(largest);
        largest = std::max(largest, g.memory.working_set[v]);
    }

    void remove(Node v) {
        work -= g.work[v];
        for (const auto t : g.writes[v]) {
            inside[t] = 0;
            out -= g.cost[t];
        }
        for (const auto t : g.reads[v]) {
            if (inside[t]) {
                if (left[t] == 0) out += g.cost[t];
            } else if (--received[t] == 0) {
                in -= g.cost[t];
            }
            ++left[t];
        }
        if (!g.has_memory) return;
        for (const auto p : g.memory.params_of[v])
            if (--param_users[p] == 0) params -= g.memory.param_bytes[p];
        largest = largest_stack.back();
        largest_stack.pop_back();
    }

    /// The part of the cost that can only grow as nodes are added.
    [[nodiscard]] Picoseconds growing() const {
        return work + in + (g.has_memory ? g.memory.overflow(params + largest) : 0);
    }

    const Instance& g;
    std::vector<std::int32_t> left;      // consumers outside J
    std::vector<std::int32_t> received;  // consumers in S of tensors made before S
    std::vector<char> inside;            // producer in S
    std::vector<std::int32_t> param_users;
    std::vector<Bytes> largest_stack;
    Picoseconds work = 0, in = 0, out = 0;
    Bytes params = 0, largest = 0;
};

// Everything behind the ideal in one block: it receives all live tensors and sends nothing.
bool IdealGraph::last_block_fits(std::int64_t ideal, Picoseconds threshold) const {
    const auto& g = instance_;
    const auto cost = work_[static_cast<std::size_t>(count() - 1)] - work_[ideal] + live_[ideal];
    if (!g.has_memory) return cost <= threshold;
    Bytes params = 0;
    Bytes largest = 0;
    std::vector<char> used(g.memory.param_bytes.size(), 0);
    for (Node v = 0; v < g.n; ++v) {
        if (has(bits(ideal), v)) continue;
        largest = std::max(largest, g.memory.working_set[v]);
        for (const auto p : g.memory.params_of[v]) {
            if (!used[p]) params += g.memory.param_bytes[p];
            used[p] = 1;
        }
    }
    return cost + g.memory.overflow(params + largest) <= threshold;
}

Answer IdealGraph::decide(std::int32_t k, Picoseconds threshold, std::vector<std::int32_t>& block,
                          Stop& stop, bool certain) {
    const auto& g = instance_;
    certain_ = certain;
    doubts_ = 0;
    if (g.has_memory) return decide_with_memory(k, threshold, block, stop);
    const std::int64_t all = count() - 1;  // the last ideal is V
    std::vector<std::int32_t> parent(static_cast<std::size_t>(count()), -1);
    std::vector<std::int32_t> seen(static_cast<std::size_t>(count()), -1);
    std::vector<std::int32_t> layer{0}, next;
    parent[0] = 0;
    Visit visit(g);
    struct Frame {
        std::int64_t cover;  // next cover edge to follow
        std::int64_t end;
        Node added;
    };
    std::vector<Frame> stack;
    bool found = false;
    for (std::int32_t used = 0; used < k && !found && !layer.empty(); ++used) {
        next.clear();
        for (const auto source : layer) {
            // What is left must fit in the blocks that are left.
            __extension__ using Wide = __int128;
            const auto rest = work_[all] - work_[source];
            if (static_cast<Wide>(rest) > static_cast<Wide>(threshold) * (k - used)) continue;
            if (rest + live_[source] <= threshold && last_block_fits(source, threshold)) {
                parent[all] = source;
                found = true;
                break;
            }
            if (used == k - 1) continue;
            visit.start(bits(source));
            stack.clear();
            stack.push_back({cover_start_[source], cover_start_[source + 1], -1});
            while (!stack.empty()) {
                auto& top = stack.back();
                if (top.cover == top.end) {
                    if (top.added >= 0) visit.remove(top.added);
                    stack.pop_back();
                    continue;
                }
                const auto edge = top.cover++;
                const auto ideal = cover_ideal_[edge];
                if (seen[ideal] == source) continue;
                seen[ideal] = source;
                ++pairs_;
                if (stop()) return Answer::unknown;
                const auto v = cover_node_[edge];
                visit.add(v);
                const auto growing = visit.growing();
                if (growing > threshold) {
                    visit.remove(v);
                    continue;
                }
                if (parent[ideal] < 0 && growing + visit.out <= threshold) {
                    parent[ideal] = source;
                    next.push_back(ideal);
                }
                stack.push_back({cover_start_[ideal], cover_start_[ideal + 1], v});
            }
        }
        // Larger ideals first: they are the likelier to finish.
        std::sort(next.begin(), next.end(), [&](auto a, auto b) { return work_[a] > work_[b] || (work_[a] == work_[b] && a > b); });
        std::swap(layer, next);
    }
    if (!found) return Answer::no;
    std::vector<std::int32_t> chain;
    for (auto ideal = static_cast<std::int32_t>(all); ideal != 0; ideal = parent[ideal])
        chain.push_back(ideal);
    std::reverse(chain.begin(), chain.end());
    block.assign(static_cast<std::size_t>(g.n), -1);
    for (std::size_t b = 0; b < chain.size(); ++b)
        for (Node v = 0; v < g.n; ++v)
            if (block[v] < 0 && has(bits(chain[b]), v)) block[v] = static_cast<std::int32_t>(b);
    return Answer::yes;
}

}  // namespace stagewright
