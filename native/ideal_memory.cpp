// SPDX-License-Identifier: Apache-2.0
// The decision with memory: ideals that blocks may end at, tested against those reached so far.
//
// Layer by layer (ideals reached by 1, 2, ... blocks), each reached ideal I looks through the ideals J
// that are not reached yet and whose rest can fit in the blocks that are left.  Three numbers per ideal
// reject most pairs: every tensor live at one of I, J but not at the other is paid by J \ I, and so is
// every parameter that is used behind I but not behind J.  Then comes the cost with the largest working
// set, and last the least peak.
#include <algorithm>
#include <bit>
#include <cstdlib>

#include "ideals.hpp"

namespace stagewright {

namespace {

constexpr std::int64_t kCostOfBlock = 500;  // work, see Stop::spend

/// Relaxed costs of J \ I for many J and one I.
class BlockCost {
   public:
    explicit BlockCost(const Instance& instance)
        : g_(instance),
          seen_tensor_(static_cast<std::size_t>(g_.tensors()), 0),
          seen_param_(g_.memory.param_bytes.size(), 0) {}

    struct Cost {
        Picoseconds work_and_io = 0;
        Bytes params = 0, largest = 0;
    };

    Cost of(const std::uint64_t* lower, const std::uint64_t* upper, std::int64_t words) {
        Cost cost;
        ++round_;
        for (std::int64_t w = 0; w < words; ++w)
            for (auto rest = upper[w] & ~lower[w]; rest != 0; rest &= rest - 1)
                add(static_cast<Node>(64 * w + std::countr_zero(rest)), lower, upper, cost);
        return cost;
    }

   private:
    static bool has(const std::uint64_t* bits, Node v) { return (bits[v >> 6] >> (v & 63)) & 1U; }

    void add(Node v, const std::uint64_t* lower, const std::uint64_t* upper, Cost& cost) {
        cost.work_and_io += g_.work[v];
        for (const auto t : g_.reads[v])
            if (seen_tensor_[t] != round_ && has(lower, g_.producer[t])) {
                seen_tensor_[t] = round_;
                cost.work_and_io += g_.cost[t];
            }
        for (const auto t : g_.writes[v]) {
            const auto users = g_.consumers[t];
            if (!std::all_of(users.begin(), users.end(), [&](Node u) { return has(upper, u); }))
                cost.work_and_io += g_.cost[t];
        }
        for (const auto p : g_.memory.params_of[v])
            if (seen_param_[p] != round_) {
                seen_param_[p] = round_;
                cost.params += g_.memory.param_bytes[p];
            }
        cost.largest = std::max(cost.largest, g_.memory.working_set[v]);
    }

    const Instance& g_;
    std::vector<std::int64_t> seen_tensor_, seen_param_;
    std::int64_t round_ = 0;
};

}  // namespace

void IdealGraph::list_bits() {
    std::vector<std::uint64_t> one;
    for (std::int64_t i = 0; i < count(); ++i) {
        expand(i, one);
        whole_bits_.insert(whole_bits_.end(), one.begin(), one.end());
    }
}

void IdealGraph::list_rest_params() {
    const auto& m = instance_.memory;
    least_set_ = *std::min_element(m.working_set.begin(), m.working_set.end());
    std::vector<std::uint64_t> users(m.param_bytes.size() * words_, 0);
    for (Node v = 0; v < instance_.n; ++v)
        for (const auto p : m.params_of[v])
            users[p * words_ + (v >> 6)] |= std::uint64_t{1} << (v & 63);
    rest_params_.assign(static_cast<std::size_t>(count()), -1);
    rest_params_[0] = 0;
    std::vector<char> used(m.param_bytes.size(), 0);
    for (const auto p : m.params_of.values) used[p] = 1;
    for (std::size_t p = 0; p < used.size(); ++p) rest_params_[0] += used[p] ? m.param_bytes[p] : 0;
    for (std::int64_t i = 0; i < count(); ++i)
        for (auto edge = cover_start_[i]; edge < cover_start_[i + 1]; ++edge) {
            auto& rest = rest_params_[cover_ideal_[edge]];
            if (rest >= 0) continue;
            rest = rest_params_[i];
            const auto* in = bits(cover_ideal_[edge]);
            for (const auto p : m.params_of[cover_node_[edge]]) {
                bool all = true;
                for (std::int64_t w = 0; w < words_ && all; ++w)
                    all = (users[p * words_ + w] & ~in[w]) == 0;
                if (all) rest -= m.param_bytes[p];
            }
        }
}

// What is left must fit in the blocks that are left.  Each of them costs at least its work and io, and
//     (parameters + working set - capacity) / bandwidth
// if that is above 0.  Summed over the blocks, parameters count at least once, and so does every tensor
// that is received from the ideal.
bool IdealGraph::rest_fits(std::int64_t ideal, std::int32_t blocks, Picoseconds threshold) const {
    __extension__ using Wide = __int128;
    const auto rest = work_[count() - 1] - work_[ideal] + live_[ideal];
    if (static_cast<Wide>(rest) > static_cast<Wide>(threshold) * blocks) return false;
    if (rest_params_.empty()) return true;
    const auto& m = instance_.memory;
    constexpr Wide kSecond = 1'000'000'000'000;
    const auto each =
        static_cast<Wide>(threshold) * m.bandwidth + kSecond * (m.capacity - least_set_);
    if (static_cast<Wide>(rest) * m.bandwidth + kSecond * rest_params_[ideal] > each * blocks)
        return false;
    // No block may hold more than the threshold allows at all, which a hard limit makes little.
    return rest_params_[ideal] <= static_cast<Wide>(most_held_ - least_set_) * blocks;
}

// Whether some order of the nodes between the two ideals spills no more than fits into the time left.
bool IdealGraph::peak_fits(std::int64_t from, std::int64_t to, Bytes params, Picoseconds left,
                           Stop& stop) {
    if (!peaks_) return true;
    const auto most = instance_.memory.most_held(left) - params;
    const auto answer = peaks_->fits(static_cast<std::int32_t>(from), static_cast<std::int32_t>(to),
                                     bits(from), bits(to), most, stop);
    if (answer == Answer::unknown) ++doubts_;
    return answer == Answer::yes || (answer == Answer::unknown && !certain_);
}

// The arrays that the quick test reads, one entry per ideal that a block may still end at.
struct IdealGraph::Targets {
    std::vector<std::int32_t> ideal;
    std::vector<Picoseconds> work, live;
    std::vector<Bytes> params;

    void push(std::int32_t i, const IdealGraph& graph) {
        ideal.push_back(i);
        work.push_back(graph.work_[i]);
        live.push_back(graph.live_[i]);
        params.push_back(graph.rest_params_[i]);
    }
};

Answer IdealGraph::decide_with_memory(std::int32_t k, Picoseconds threshold,
                                      std::vector<std::int32_t>& block, Stop& stop) {
    const auto& g = instance_;
    const auto all = static_cast<std::int32_t>(count() - 1);  // the last ideal is V
    if (rest_params_.empty()) {
        list_bits();
        list_rest_params();
    }
    most_held_ = g.memory.most_held(threshold);
    std::vector<std::int32_t> missing(static_cast<std::size_t>(g.tensors()),
                                      0);  // of the tensors live at I
    std::vector<std::int32_t> parent(static_cast<std::size_t>(count()), -1);
    std::vector<std::int32_t> layer{0}, next;
    // Ideals that are not reached, by increasing work; the empty one is the first of all.
    std::vector<std::int32_t> open(by_work_.begin() + 1, by_work_.end());
    open.push_back(all);
    BlockCost cost(g);
    for (std::int32_t used = 0; used < k && parent[all] < 0 && !layer.empty(); ++used) {
        Targets targets;
        for (const auto i : open)
            if (parent[i] < 0 && (i == all || rest_fits(i, k - used - 1, threshold)))
                targets.push(i, *this);
        open = targets.ideal;
        next.clear();
        for (const auto source : layer) {
            if (stop.now()) return Answer::unknown;
            if (!rest_fits(source, k - used, threshold)) continue;
            const auto work = work_[source], live = live_[source];
            const auto params = rest_params_[source];
            const auto begin = std::lower_bound(targets.work.begin(), targets.work.end(), work) -
                               targets.work.begin();
            const auto end =
                std::upper_bound(targets.work.begin(), targets.work.end(), work + threshold) -
                targets.work.begin();
            pairs_ += end - begin;
            stop.spend(2 * (end - begin));
            lists_->make(source, window(source));
            for (const auto& live_there : lists_->of(source))
                missing[live_there.tensor] = live_there.missing;
            for (auto i = begin; i < end; ++i) {
                const auto least = targets.work[i] - work + std::abs(targets.live[i] - live);
                if (least > threshold) continue;
                const auto ideal = targets.ideal[i];
                if (parent[ideal] >= 0 || ideal == source) continue;
                if (least + g.memory.overflow(params - targets.params[i] + least_set_) > threshold)
                    continue;
                const auto *lower = bits(source), *upper = bits(ideal);
                bool within = true;
                for (std::int64_t w = 0; w < words_ && within; ++w)
                    within = (lower[w] & ~upper[w]) == 0;
                if (!within) continue;
                // Tensors live at one of the two are paid once, those live at both once if a consumer of them
                // lies between, else not at all.
                auto work_and_io = targets.work[i] - work + targets.live[i] + live;
                lists_->make(ideal, window(ideal));
                for (const auto& [tensor, left, price] : lists_->of(ideal))
                    if (missing[tensor] > 0)
                        work_and_io -= missing[tensor] == left ? 2 * price : price;
                if (work_and_io + g.memory.overflow(params - targets.params[i] + least_set_) >
                    threshold)
                    continue;
                if (stop()) return Answer::unknown;
                stop.spend(kCostOfBlock);
                const auto c = cost.of(lower, upper, words_);
                if (c.work_and_io + g.memory.overflow(c.params + c.largest) > threshold) continue;
                if (!peak_fits(source, ideal, c.params, threshold - c.work_and_io, stop)) continue;
                parent[ideal] = source;
                if (ideal == all) break;
                next.push_back(ideal);
            }
            for (const auto& live_there : lists_->of(source)) missing[live_there.tensor] = 0;
            if (parent[all] >= 0) break;
        }
        // Larger ideals first: they are the likelier to finish.
        std::sort(next.begin(), next.end(), [&](auto a, auto b) {
            return work_[a] > work_[b] || (work_[a] == work_[b] && a > b);
        });
        std::swap(layer, next);
    }
    if (parent[all] < 0) return stop.now() && doubts_ > 0 ? Answer::unknown : Answer::no;
    std::vector<std::int32_t> chain;
    for (auto ideal = all; ideal != 0; ideal = parent[ideal]) chain.push_back(ideal);
    std::reverse(chain.begin(), chain.end());
    blocks_of_chain(chain, block);
    return Answer::yes;
}

}  // namespace stagewright
