// SPDX-License-Identifier: Apache-2.0
#include "contraction.hpp"

#include <algorithm>
#include <numeric>

namespace stagewright {

namespace {

/// A tensor between clusters; equal ones become one.
struct Wire {
    std::int32_t producer;
    std::span<const std::int32_t> consumers;
    Picoseconds cost;

    [[nodiscard]] bool same_ends(const Wire& other) const {
        return producer == other.producer && std::ranges::equal(consumers, other.consumers);
    }
    [[nodiscard]] bool before(const Wire& other) const {
        if (producer != other.producer) return producer < other.producer;
        return std::ranges::lexicographical_compare(consumers, other.consumers);
    }
};

Memory contract_memory(const Memory& memory, std::span<const std::int32_t> cluster,
                       std::int32_t clusters) {
    Memory small = memory;  // the same devices and parameters
    small.params_of = {};
    small.working_set.assign(static_cast<std::size_t>(clusters), 0);
    std::vector<std::vector<std::int32_t>> params(static_cast<std::size_t>(clusters));
    for (std::size_t v = 0; v < cluster.size(); ++v) {
        const auto c = cluster[v];
        small.working_set[c] = std::max(small.working_set[c], memory.working_set[v]);
        const auto own = memory.params_of[static_cast<std::int32_t>(v)];
        params[c].insert(params[c].end(), own.begin(), own.end());
    }
    for (auto& row : params) {
        std::sort(row.begin(), row.end());
        row.erase(std::unique(row.begin(), row.end()), row.end());
        small.params_of.values.insert(small.params_of.values.end(), row.begin(), row.end());
        small.params_of.offsets.push_back(static_cast<std::int64_t>(small.params_of.values.size()));
    }
    return small;
}

}  // namespace

Instance contract(const Instance& g, std::span<const std::int32_t> cluster, std::int32_t clusters,
                  std::span<const std::pair<std::int32_t, std::int32_t>> edges) {
    std::vector<Picoseconds> work(static_cast<std::size_t>(clusters), 0);
    for (Node v = 0; v < g.n; ++v) work[cluster[v]] += g.work[v];

    std::vector<std::int32_t> ends;  // consumers of all wires, one behind the other
    ends.reserve(g.consumers.values.size());
    std::vector<Wire> wires;
    for (Tensor t = 0; t < g.tensors(); ++t) {
        const auto home = cluster[g.producer[t]];
        const auto begin = ends.size();
        for (const auto u : g.consumers[t])
            if (cluster[u] != home) ends.push_back(cluster[u]);
        const auto first = ends.begin() + static_cast<std::ptrdiff_t>(begin);
        std::sort(first, ends.end());
        ends.erase(std::unique(first, ends.end()), ends.end());
        // The reserve keeps the memory in place.
        if (ends.size() > begin)
            wires.push_back({home, {ends.data() + begin, ends.size() - begin}, g.cost[t]});
    }
    std::sort(wires.begin(), wires.end(), [](const Wire& a, const Wire& b) { return a.before(b); });
    std::vector<Node> producer;
    std::vector<Picoseconds> cost;
    Ragged consumers;
    for (std::size_t i = 0; i < wires.size(); ++i) {
        if (i > 0 && wires[i].same_ends(wires[i - 1])) {
            cost.back() += wires[i].cost;
            continue;
        }
        producer.push_back(wires[i].producer);
        cost.push_back(wires[i].cost);
        consumers.values.insert(consumers.values.end(), wires[i].consumers.begin(),
                                wires[i].consumers.end());
        consumers.offsets.push_back(static_cast<std::int64_t>(consumers.values.size()));
    }
    std::vector<Node> tails, heads;
    for (Node v = 0; v < g.n; ++v)
        for (const auto u : g.successors[v])
            if (cluster[u] != cluster[v]) {
                tails.push_back(cluster[v]);
                heads.push_back(cluster[u]);
            }
    for (const auto& [tail, head] : edges) {
        tails.push_back(tail);
        heads.push_back(head);
    }
    auto small = make_instance(std::move(work), std::move(producer), std::move(cost),
                               std::move(consumers), tails, heads);
    if (g.has_memory) {
        small.has_memory = true;
        small.memory = contract_memory(g.memory, cluster, clusters);
    }
    return small;
}

namespace {

/// Per edge of `successors`: what its ends save when they are one, as a share of each tensor.
std::vector<double> edge_affinity(const Instance& g) {
    std::vector<double> affinity(g.successors.values.size(), 0);
    for (Tensor t = 0; t < g.tensors(); ++t) {
        const auto p = g.producer[t];
        const auto heads = g.successors[p];
        const auto users = g.consumers[t];
        const auto share = static_cast<double>(g.cost[t]) / static_cast<double>(users.size());
        for (const auto u : users) {
            const auto at = std::lower_bound(heads.begin(), heads.end(), u) - heads.begin();
            affinity[static_cast<std::size_t>(g.successors.offsets[p] + at)] += share;
        }
    }
    return affinity;
}

double fraction(Random& random) { return static_cast<double>(1 + random.below(65536)) / 65536; }

/// Kahn's order on a stack: of the nodes that become ready, the one of greatest affinity to the last
/// node is next.
class DearestFirst {
   public:
    DearestFirst(const Instance& g, const std::vector<double>& affinity, Random& random)
        : g_(g), affinity_(affinity), random_(random) {}

    std::vector<Node> order(bool reversed) {
        const auto& ahead = reversed ? g_.predecessors : g_.successors;
        const auto& behind = reversed ? g_.successors : g_.predecessors;
        std::vector<std::int32_t> missing(static_cast<std::size_t>(g_.n));
        std::vector<Node> stack, order;
        order.reserve(missing.size());
        for (Node v = 0; v < g_.n; ++v) {
            missing[v] = static_cast<std::int32_t>(behind[v].size());
            if (missing[v] == 0) stack.push_back(v);
        }
        for (std::size_t i = stack.size(); i > 1; --i)
            std::swap(stack[i - 1], stack[random_.below(static_cast<std::uint32_t>(i))]);
        std::vector<std::pair<double, Node>> fresh;
        while (!stack.empty()) {
            const auto v = stack.back();
            stack.pop_back();
            order.push_back(v);
            fresh.clear();
            for (const auto u : ahead[v])
                if (--missing[u] == 0)
                    fresh.push_back({between(reversed ? u : v, reversed ? v : u), u});
            for (auto& entry : fresh) entry.first *= fraction(random_);
            std::sort(fresh.begin(), fresh.end());
            for (const auto& entry : fresh) stack.push_back(entry.second);
        }
        if (reversed) std::reverse(order.begin(), order.end());
        return order;
    }

    [[nodiscard]] double between(Node tail, Node head) const {
        const auto heads = g_.successors[tail];
        const auto at = std::lower_bound(heads.begin(), heads.end(), head);
        if (at == heads.end() || *at != head) return 0;
        return affinity_[static_cast<std::size_t>(g_.successors.offsets[tail] +
                                                  (at - heads.begin()))];
    }

   private:
    const Instance& g_;
    const std::vector<double>& affinity_;
    Random& random_;
};

/// What two consumers of the same tensors save when they are one.
double sibling_affinity(const Instance& g, Node a, Node b) {
    double sum = 0;
    for (const auto t : g.reads[a]) {
        const auto users = g.consumers[t];
        const auto size = static_cast<std::ptrdiff_t>(users.size());
        if (size < 2 || size > 64 || std::find(users.begin(), users.end(), b) == users.end())
            continue;
        sum += static_cast<double>(g.cost[t]) / static_cast<double>(size);
    }
    return sum;
}

/// Marks the first of each pair of neighbours so that no two pairs overlap and the sum of values is
/// greatest; pairs of value 0 stay apart.
std::vector<bool> best_pairs(const std::vector<double>& value) {
    const auto n = value.size();  // pair i joins places i and i + 1
    std::vector<double> best(n + 2, 0);
    for (auto i = n; i-- > 0;) best[i] = std::max(best[i + 1], value[i] + best[i + 2]);
    std::vector<bool> taken(n, false);
    for (std::size_t i = 0; i < n; ++i)
        if (value[i] > 0 && value[i] + best[i + 2] >= best[i + 1]) taken[i++] = true;
    return taken;
}

}  // namespace

std::int32_t Coarsener::pair_up(const Instance& g, std::span<const std::int32_t> block,
                                Picoseconds most, std::int32_t target, bool unrelated,
                                Random& random, std::vector<std::int32_t>& cluster) {
    const auto affinity = edge_affinity(g);
    DearestFirst walk(g, affinity, random);
    auto order = walk.order(random.below(2) == 0);
    if (!block.empty())
        std::stable_sort(order.begin(), order.end(),
                         [&](Node a, Node b) { return block[a] < block[b]; });
    const auto average = static_cast<double>(g.total_work) / g.n + 1;
    double dearest = 0;
    for (const auto share : affinity) dearest = std::max(dearest, share);
    const auto least = unrelated ? dearest / 1e6 + 1e-9 : 0;
    std::vector<double> value(order.empty() ? 0 : order.size() - 1, 0);
    for (std::size_t i = 0; i + 1 < order.size(); ++i) {
        const auto a = order[i];
        const auto b = order[i + 1];
        const auto work = g.work[a] + g.work[b];
        if (work > most || (!block.empty() && block[a] != block[b])) continue;
        const auto shared = walk.between(a, b) + sibling_affinity(g, a, b) + least;
        value[i] = shared * (0.5 + fraction(random)) / (1 + static_cast<double>(work) / average);
    }
    auto taken = best_pairs(value);
    auto clusters = g.n - static_cast<std::int32_t>(std::count(taken.begin(), taken.end(), true));
    if (clusters < target) {
        // Too many: give up the pairs of least value.
        std::vector<std::int32_t> pairs;
        for (std::size_t i = 0; i < taken.size(); ++i)
            if (taken[i]) pairs.push_back(static_cast<std::int32_t>(i));
        std::stable_sort(pairs.begin(), pairs.end(),
                         [&](auto a, auto b) { return value[a] < value[b]; });
        for (std::int32_t i = 0; clusters < target; ++i, ++clusters) taken[pairs[i]] = false;
    }
    cluster.resize(static_cast<std::size_t>(g.n));
    std::int32_t next = -1;
    for (std::size_t i = 0; i < order.size(); ++i) {
        if (i == 0 || !taken[i - 1]) ++next;
        cluster[order[i]] = next;
    }
    return next + 1;
}

}  // namespace stagewright
