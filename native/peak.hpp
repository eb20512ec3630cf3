// SPDX-License-Identifier: Apache-2.0
// The least peak memory of a stage over all orders of its nodes.
//
// A state is the set of nodes that have run; alive bytes are a function of it.  Running v from a state
// D takes alive(D) + out(v) at once and leaves alive(D + v).  The least peak is a bottleneck path from
// the empty state to the full one, found best first.  Two rules keep the states few:
//
// Free steps.  If v is ready, its run stays within the bottleneck b paid so far, and alive(D + v) <=
// alive(D), then v runs at once.  Proof: move v to the front of any way to go on.  At a later state E
// (D within E, v not in E), v frees at least what it frees at D, since more of the other readers of its
// inputs have run, and adds the same.  So alive(E + v) <= alive(E), and no later step grows.
//
// Sources on demand.  A node that reads nothing only adds bytes.  Delaying it until just before its
// first reader in the stage (or to the very end) never hurts: it then takes less than that reader's own
// run does (or no more than the tensors that leave, all alive at the end of every order).
//
// What to begin with.  No peak is below what the tensors of one node take, so the search begins there, deep first.  Where
// the states become too many, two quick ways to the end may give an order: the node that takes least next, and
// the node that became ready last, which runs one branch after the other.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "instance.hpp"
#include "stop.hpp"

namespace stagewright {

enum class Answer { yes, no, unknown };

/// The tensors of the original graph, before any contraction; immutable.
struct TensorUses {
    Node n = 0;
    std::vector<Node> producer;  // per tensor
    std::vector<Bytes> bytes;    // per tensor, >= 0
    Ragged consumers;            // tensor -> nodes, each once, never its producer
    Ragged reads, writes;        // node -> tensors

    TensorUses(Node nodes, std::vector<Node> producer_of, std::vector<Bytes> bytes_of,
               Ragged consumers_of);
};

/// Searches for orders of one stage after the other; holds the scratch memory.
class PeakSearch {
   public:
    explicit PeakSearch(const TensorUses& flow);

    struct Result {
        Answer answer = Answer::unknown;  // is there an order of peak <= `most`?
        Bytes lower = 0;                  // no order has a lower peak (unless that is <= `enough`)
        std::vector<Node> order;  // on yes; on unknown one within `most`, if there is one at hand
    };

    /// Looks for an order of the least peak; peaks <= `enough` are as good as each other.  `stage` must
    /// be convex: what lies on a path between two of its nodes is in it.
    Result search(std::span<const Node> stage, Bytes enough, Bytes most, std::int64_t max_states,
                  Stop& stop);

   private:
    struct Entry {  // node v may run from a state, at the price of a bottleneck
        Bytes bottleneck;
        std::int32_t depth;
        Bytes growth;
        std::int32_t state;
        Node v;
    };
    static bool later(const Entry& a, const Entry& b);

    void open_stage(std::span<const Node> stage);
    void close_stage();
    void restore(std::int32_t state);
    void run(Node v);
    void run_with_sources(Node v);
    void take_free_steps(Bytes bottleneck);
    [[nodiscard]] bool is_new_state();
    void add_state(std::int32_t parent, std::size_t trail_begin);
    void push_choices(Bytes bottleneck);
    Bytes finish(std::int32_t state, bool by_price, Bytes bottleneck, Bytes most, Stop& stop);
    [[nodiscard]] Bytes sources_of(Node v) const;
    [[nodiscard]] Bytes growth(Node v) const;
    [[nodiscard]] bool inside(Node v) const { return local_[v] >= 0; }
    [[nodiscard]] bool has_run(Node v) const {
        return (done_[local_[v] >> 6] >> (local_[v] & 63)) & 1U;
    }

    const TensorUses& flow_;
    std::vector<char> source_;           // per node: reads nothing, every output is read
    std::vector<std::int32_t> local_;    // per node: place in the stage, -1 outside
    std::vector<std::int32_t> readers_;  // per tensor: readers in the stage
    std::vector<char> stays_;            // per tensor: made here and needed elsewhere
    std::vector<Bytes> out_, kept_;      // per node: bytes written; those still alive after it
    std::vector<std::int32_t> waits_;    // per node: tensors it reads that are made in the stage

    std::span<const Node> stage_;
    std::vector<Tensor> received_;
    Bytes received_bytes_ = 0;
    std::int32_t others_ = 0;  // nodes of the stage that are no sources

    // The state at hand.
    std::vector<std::uint64_t> done_;
    std::vector<std::int32_t> left_, missing_;
    std::vector<Node> ready_, trail_;
    Bytes alive_ = 0;
    std::int32_t ran_ = 0, live_state_ = -1;

    struct State {
        std::int32_t parent;
        std::size_t trail_begin, trail_end;
    };
    std::vector<State> states_;
    std::vector<std::uint64_t> state_bits_;
    std::unordered_multimap<std::uint64_t, std::int32_t> table_;
    std::vector<Entry> heap_;
};

/// Answers of PeakSearch for the blocks between two ideals, remembered.
class BlockPeaks {
   public:
    /// `max_states` limits the search for one block; what it leaves open is answered unknown.
    BlockPeaks(std::shared_ptr<const TensorUses> flow, Ragged members, std::int64_t max_states)
        : flow_(std::move(flow)),
          members_(std::move(members)),
          max_states_(max_states),
          search_(*flow_) {}

    /// Can the nodes of the classes in `upper` \ `lower` (bit sets) run within `most` bytes?
    Answer fits(std::int32_t from, std::int32_t to, const std::uint64_t* lower,
                const std::uint64_t* upper, Bytes most, Stop& stop);

    [[nodiscard]] std::int64_t searches() const { return searches_; }

   private:
    struct Known {
        Bytes fails, fits;  // the largest limit that fails, the least that does not
        Bytes unknown_from, unknown_to;
    };

    std::shared_ptr<const TensorUses> flow_;
    Ragged members_;  // class -> nodes
    std::int64_t max_states_;
    PeakSearch search_;
    std::unordered_map<std::uint64_t, Known> known_;
    std::vector<Node> stage_;
    std::int64_t searches_ = 0;
};

}  // namespace stagewright
