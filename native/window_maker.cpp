// SPDX-License-Identifier: Apache-2.0
#include "window_maker.hpp"

#include <algorithm>
#include <bit>

namespace stagewright {

namespace {

NodeSet only(int node) { return NodeSet{1} << node; }

/// In (0, 1].
double fraction(Random& random) {
    return static_cast<double>((random.next() >> 11U) + 1) * 0x1p-53;
}

}  // namespace

WindowMaker::WindowMaker(const Instance& instance)
    : instance_(instance),
      prices_(&instance),
      edge_cost_(instance.successors.values.size(), 0),
      local_(static_cast<std::size_t>(instance.n), -1),
      stamp_(static_cast<std::size_t>(instance.tensors()), 0),
      param_stamp_(instance.memory.param_bytes.size(), 0),
      last_user_(static_cast<std::size_t>(instance.tensors()), -1) {
    for (Tensor t = 0; t < instance.tensors(); ++t) {
        const auto p = instance.producer[t];
        const auto heads = instance.successors[p];
        for (const auto u : instance.consumers[t]) {
            const auto at = std::lower_bound(heads.begin(), heads.end(), u) - heads.begin();
            edge_cost_[instance.successors.offsets[p] + at] += instance.cost[t];
        }
    }
}

bool WindowMaker::make(std::span<const std::vector<Node>* const> blocks, int target, Taste taste,
                       Random& random, Window& window) {
    for (const auto* block : blocks)
        if (block->size() > kMaxBlock) return false;
    gather(blocks);
    relate();
    contract(target, taste, random);
    if (!number(random, window)) return false;
    fill(window);
    fill_tensors(window);
    if (instance_.has_memory) fill_params(window);
    return true;
}

void WindowMaker::gather(std::span<const std::vector<Node>* const> blocks) {
    for (const auto v : nodes_) local_[v] = -1;
    nodes_.clear();
    block_of_.clear();
    block_begin_.assign(1, 0);
    std::size_t largest = 0;
    for (const auto* block : blocks) {
        largest = std::max(largest, block->size());
        for (const auto v : *block) {
            local_[v] = static_cast<std::int32_t>(nodes_.size());
            block_of_.push_back(static_cast<std::int32_t>(block_begin_.size()) - 1);
            nodes_.push_back(v);
        }
        block_begin_.push_back(static_cast<std::int32_t>(nodes_.size()));
    }
    words_ = (largest + 63) / 64;
}

void WindowMaker::relate() {
    const auto count = nodes_.size();
    below_.assign(count * words_, 0);
    above_.assign(count * words_, 0);
    members_.assign(count * words_, 0);
    parent_.resize(count);
    edges_.clear();
    roots_.assign((block_begin_.size() - 1) * words_, 0);
    learners_.resize(words_);
    for (std::size_t i = 0; i < count; ++i) {
        const auto u = static_cast<std::int32_t>(i);
        parent_[i] = u;
        const auto place = static_cast<std::size_t>(u - block_begin_[block_of_[u]]);
        const auto bit = std::uint64_t{1} << (place & 63U);
        for (auto* rows : {&below_, &above_, &members_}) row(*rows, u)[place >> 6U] |= bit;
        row(roots_, block_of_[u])[place >> 6U] |= bit;
    }
    for (auto u = static_cast<std::int32_t>(count) - 1; u >= 0; --u) {
        const auto node = nodes_[u];
        const auto heads = instance_.successors[node];
        for (std::size_t i = 0; i < heads.size(); ++i) {
            const auto v = local_[heads[i]];
            if (v < 0 || block_of_[v] != block_of_[u]) continue;
            join_rows(below_, u, v);
            edges_.push_back({u, v, edge_cost_[instance_.successors.offsets[node] + i], 0});
        }
    }
    for (auto e = edges_.rbegin(); e != edges_.rend(); ++e) join_rows(above_, e->head, e->tail);
    clusters_ = static_cast<int>(count);
}

/// Consumers of a tensor in one block, each with the next: together they pay it once.
void WindowMaker::pair_siblings() {
    for (std::int32_t u = 0; u < static_cast<std::int32_t>(nodes_.size()); ++u)
        for (const auto t : instance_.reads[nodes_[u]]) {
            const auto before = last_user_[t];
            last_user_[t] = u;
            if (before >= block_begin_[block_of_[u]])
                edges_.push_back({before, u, instance_.cost[t], 0});
        }
    for (const auto v : nodes_)
        for (const auto t : instance_.reads[v]) last_user_[t] = -1;
}

void WindowMaker::contract(int target, Taste taste, Random& random) {
    if (clusters_ <= target) return;
    if (random.below(3) == 0) pair_siblings();
    weigh(taste, random);
    std::sort(edges_.begin(), edges_.end(), [](const Edge& a, const Edge& b) {
        return a.key > b.key ||
               (a.key == b.key && (a.tail < b.tail || (a.tail == b.tail && a.head < b.head)));
    });
    for (bool changed = true; changed && clusters_ > target;) {
        changed = false;
        for (const auto& edge : edges_) {
            const auto a = root(edge.tail);
            const auto b = root(edge.head);
            if (a == b || joined_otherwise(a, b) || joined_otherwise(b, a)) continue;
            merge(a, b);
            changed = true;
            if (clusters_ <= target) return;
        }
    }
    merge_unrelated(target, random);
}

void WindowMaker::weigh(Taste taste, Random& random) {
    if (taste == Taste::far) measure_distance(random);
    for (auto& edge : edges_) {
        const auto r = fraction(random);
        if (taste == Taste::far) {
            edge.key = distance_[edge.tail] + distance_[edge.head] + 2 * r;
            continue;
        }
        edge.key = r;
        if (taste == Taste::any) continue;
        edge.key *= static_cast<double>(edge.cost);
    }
}

/// Steps from a random node of the window, whatever the direction of the edges.
void WindowMaker::measure_distance(Random& random) {
    const auto count = nodes_.size();
    distance_.assign(count, static_cast<std::int32_t>(count));
    queue_.clear();
    const auto seed = static_cast<std::int32_t>(random.below(static_cast<std::uint32_t>(count)));
    distance_[seed] = 0;
    queue_.push_back(seed);
    for (std::size_t i = 0; i < queue_.size(); ++i) {
        const auto u = queue_[i];
        for (const auto* rows : {&instance_.successors, &instance_.predecessors})
            for (const auto s : (*rows)[nodes_[u]]) {
                const auto v = local_[s];
                if (v < 0 || distance_[v] <= distance_[u] + 1) continue;
                distance_[v] = distance_[u] + 1;
                queue_.push_back(v);
            }
    }
}

std::int32_t WindowMaker::root(std::int32_t u) {
    while (parent_[u] != u) {
        parent_[u] = parent_[parent_[u]];
        u = parent_[u];
    }
    return u;
}

bool WindowMaker::joined_otherwise(std::int32_t tail, std::int32_t head) const {
    const auto *below = row(below_, tail), *above = row(above_, head);
    const auto *a = row(members_, tail), *b = row(members_, head);
    for (std::size_t i = 0; i < words_; ++i)
        if ((below[i] & above[i] & ~(a[i] | b[i])) != 0) return true;
    return false;
}

void WindowMaker::merge(std::int32_t a, std::int32_t b) {
    parent_[b] = a;
    --clusters_;
    const auto begin = block_begin_[block_of_[a]];
    auto* roots = row(roots_, block_of_[a]);
    const auto place = static_cast<std::size_t>(b - begin);
    roots[place >> 6U] &= ~(std::uint64_t{1} << (place & 63U));
    join_rows(members_, a, b);
    // What leads to both knows everything already; what leads to one must learn of the other.
    const auto unite = [&](std::vector<std::uint64_t>& rows, std::vector<std::uint64_t>& opposite) {
        auto *mine = row(rows, a), *others = row(rows, b);
        for (std::size_t i = 0; i < words_; ++i) {
            learners_[i] = (mine[i] ^ others[i]) & roots[i];
            mine[i] |= others[i];
        }
        const auto* news = row(opposite, a);
        const auto* more = row(opposite, b);
        for (std::size_t i = 0; i < words_; ++i)
            for (auto bits = learners_[i]; bits != 0; bits &= bits - 1) {
                const auto u = begin + static_cast<std::int32_t>(64 * i) + std::countr_zero(bits);
                if (u == a) continue;
                auto* learner = row(opposite, u);
                for (std::size_t j = 0; j < words_; ++j) learner[j] |= news[j] | more[j];
            }
    };
    unite(above_, below_);
    unite(below_, above_);
}

void WindowMaker::join_rows(std::vector<std::uint64_t>& rows, std::int32_t into,
                            std::int32_t from) {
    for (std::size_t i = 0; i < words_; ++i) row(rows, into)[i] |= row(rows, from)[i];
}

/// Pairs without a path between them, in random order.
void WindowMaker::merge_unrelated(int target, Random& random) {
    for (int attempts = 8 * clusters_; attempts > 0 && clusters_ > target; --attempts) {
        const auto count = static_cast<std::uint32_t>(nodes_.size());
        const auto u = static_cast<std::int32_t>(random.below(count));
        const auto begin = block_begin_[block_of_[u]];
        const auto size = static_cast<std::uint32_t>(block_begin_[block_of_[u] + 1] - begin);
        const auto a = root(u);
        const auto b = root(begin + static_cast<std::int32_t>(random.below(size)));
        if (a == b) continue;
        const auto place = static_cast<std::size_t>(b - begin);
        const auto bit = std::uint64_t{1} << (place & 63U);
        if (((row(below_, a)[place >> 6U] | row(above_, a)[place >> 6U]) & bit) == 0) merge(a, b);
    }
}

bool WindowMaker::number(Random& random, Window& window) {
    if (clusters_ > Window::kMaxNodes) return false;
    window.n = clusters_;
    // A cluster has more above it than any cluster above it.
    edges_.clear();
    for (std::int32_t u = 0; u < static_cast<std::int32_t>(nodes_.size()); ++u) {
        if (root(u) != u) continue;
        int above = 0;
        for (std::size_t i = 0; i < words_; ++i) above += std::popcount(row(above_, u)[i]);
        edges_.push_back(
            {u, 0, 0,
             static_cast<double>(nodes_.size()) * block_of_[u] + above + fraction(random) / 2});
    }
    std::sort(edges_.begin(), edges_.end(),
              [](const Edge& a, const Edge& b) { return a.key < b.key; });
    number_.assign(nodes_.size(), 0);
    for (std::size_t i = 0; i < edges_.size(); ++i) number_[edges_[i].tail] = static_cast<int>(i);
    for (std::int32_t u = 0; u < static_cast<std::int32_t>(nodes_.size()); ++u)
        number_[u] = number_[root(u)];
    return true;
}

void WindowMaker::fill(Window& window) {
    const auto& g = instance_;
    const auto n = window.n;
    std::fill_n(window.work.begin(), n, 0);
    std::fill_n(window.before.begin(), n, 0);
    std::fill_n(window.after.begin(), n, 0);
    std::fill_n(window.written.begin(), n, 0);
    std::fill_n(window.rest_change.begin(), n, 0);
    std::fill_n(window.working_set.begin(), n, 0);
    window.all_tensors = 0;
    window.memory = g.has_memory ? &g.memory : nullptr;
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
        const auto a = number_[i];
        window.work[a] += prices_->work[nodes_[i]];
        if (g.has_memory)
            window.working_set[a] =
                std::max(window.working_set[a], g.memory.working_set[nodes_[i]]);
        for (const auto s : g.successors[nodes_[i]]) {
            if (local_[s] < 0) continue;
            const auto b = number_[local_[s]];
            if (a == b) continue;
            window.after[a] |= only(b);
            window.before[b] |= only(a);
        }
    }
}

void WindowMaker::fill_tensors(Window& window) {
    const auto& g = instance_;
    tensors_.clear();
    ++now_;
    const auto add = [&](Tensor t, int producer) {
        NodeSet users = 0;
        for (const auto u : g.consumers[t])
            users |= local_[u] >= 0 ? only(number_[local_[u]]) : Window::kBehind;
        if (producer >= 0)
            users &= ~only(producer);
        else
            users &= ~Window::kBehind;  // whoever else reads it changes nothing here
        if (users == 0) return;
        // Paid by whatever block holds the node.
        if (producer < 0 && std::has_single_bit(users))
            window.work[std::countr_zero(users)] += prices_->cost[t];
        else if (users == Window::kBehind)
            window.work[producer] += prices_->cost[t];
        else
            tensors_.push_back({producer, users, prices_->cost[t]});
    };
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
        for (const auto t : g.writes[nodes_[i]]) add(t, number_[i]);
        for (const auto t : g.reads[nodes_[i]]) {
            if (local_[g.producer[t]] >= 0 || stamp_[t] == now_) continue;
            stamp_[t] = now_;
            add(t, -1);
        }
    }
    std::sort(tensors_.begin(), tensors_.end(), [](const Hyperedge& a, const Hyperedge& b) {
        return a.producer < b.producer || (a.producer == b.producer && a.users < b.users);
    });
    std::size_t kept = 0;
    for (const auto& t : tensors_) {
        if (kept > 0 && tensors_[kept - 1].producer == t.producer &&
            tensors_[kept - 1].users == t.users)
            tensors_[kept - 1].cost += t.cost;
        else
            tensors_[kept++] = t;
    }
    tensors_.resize(kept);
    std::fill_n(window.read_start.begin(), window.n + 1, 0);
    for (const auto& t : tensors_) {
        const bool leaves = (t.users & Window::kBehind) != 0;
        if (t.producer >= 0) {
            window.written[t.producer] += t.cost;
            window.rest_change[t.producer] += leaves ? 0 : t.cost;
        }
        if (t.producer < 0 || leaves) window.all_tensors += t.cost;
        for (auto u = t.users & ~Window::kBehind; u != 0; u &= u - 1)
            ++window.read_start[std::countr_zero(u) + 1];
    }
    for (int v = 0; v < window.n; ++v) window.read_start[v + 1] += window.read_start[v];
    window.reads.resize(window.read_start[window.n]);
    for (const auto& t : tensors_)
        for (auto u = t.users & ~Window::kBehind; u != 0; u &= u - 1)
            window.reads[window.read_start[std::countr_zero(u)]++] = {
                t.users, t.producer < 0 ? 0 : only(t.producer), t.cost};
    for (int v = window.n; v > 0; --v) window.read_start[v] = window.read_start[v - 1];
    window.read_start[0] = 0;
    window.total_work = 0;
    for (int v = 0; v < window.n; ++v) window.total_work += window.work[v];
}

void WindowMaker::fill_params(Window& window) {
    const auto& m = instance_.memory;
    // Users of each parameter in the window first, then a row per node.
    std::fill_n(window.param_start.begin(), window.n + 1, 0);
    std::vector<Window::Param> found;
    std::fill(param_stamp_.begin(), param_stamp_.end(), -1);
    for (std::size_t i = 0; i < nodes_.size(); ++i)
        for (const auto p : m.params_of[nodes_[i]]) {
            if (param_stamp_[p] < 0) {
                param_stamp_[p] = static_cast<std::int32_t>(found.size());
                found.push_back({0, m.param_bytes[p]});
            }
            found[param_stamp_[p]].users |= only(number_[i]);
        }
    for (const auto& p : found)
        for (auto u = p.users; u != 0; u &= u - 1) ++window.param_start[std::countr_zero(u) + 1];
    for (int v = 0; v < window.n; ++v) window.param_start[v + 1] += window.param_start[v];
    window.params.resize(window.param_start[window.n]);
    for (const auto& p : found)
        for (auto u = p.users; u != 0; u &= u - 1)
            window.params[window.param_start[std::countr_zero(u)]++] = p;
    for (int v = window.n; v > 0; --v) window.param_start[v] = window.param_start[v - 1];
    window.param_start[0] = 0;
}

}  // namespace stagewright
