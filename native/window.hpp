// SPDX-License-Identifier: Apache-2.0
// A window: a few consecutive blocks of a plan, contracted to at most 63 nodes, re-partitioned
// exactly while everything outside stays where it is.
//
// What a tensor costs a block outside the window does not depend on how the window is divided, so the
// blocks inside can be priced on their own.  Sets of nodes are single words.  The topological numbering
// gives each ideal one way to be built, in increasing order of its nodes, so a depth-first walk meets
// every ideal once without a table; all costs travel by value and nothing is undone.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "instance.hpp"

namespace stagewright {

using NodeSet = std::uint64_t;

/// Prefers low maxima: the sum over blocks of (cost / reference) ^ (2 ^ doublings).
struct Steepness {
    double reference = 1;
    int doublings = 4;

    [[nodiscard]] double operator()(Picoseconds cost) const {
        double x = static_cast<double>(cost) / reference;
        for (int i = 0; i < doublings; ++i) x *= x;
        return x;
    }
    /// No cost above this one has a penalty of at most `penalty`.
    [[nodiscard]] Picoseconds ceiling(double penalty) const;
};

/// A contracted DAG; the nodes are numbered topologically.
struct Window {
    static constexpr int kMaxNodes = 63;
    /// Stands in `users` for consumers behind the window.
    static constexpr NodeSet kBehind = NodeSet{1} << 63U;

    struct Read {
        NodeSet users;     // all consumers of the tensor
        NodeSet producer;  // one node, or empty when it was made before the window
        Picoseconds cost;
    };
    struct Param {
        NodeSet users;
        Bytes bytes;
    };

    int n = 0;
    std::array<Picoseconds, kMaxNodes> work;       // with tensors that the node pays in any case
    std::array<NodeSet, kMaxNodes> before, after;  // direct neighbours
    std::array<Picoseconds, kMaxNodes> written;    // sum over its tensors
    std::array<Picoseconds, kMaxNodes>
        rest_change;  // of the rest's tensors once it leaves the rest
    std::array<std::int32_t, kMaxNodes + 1> read_start, param_start;
    std::vector<Read> reads;
    std::vector<Param> params;
    std::array<Bytes, kMaxNodes> working_set;
    Picoseconds total_work = 0;
    Picoseconds all_tensors = 0;  // what the whole window in one block pays for tensors
    const Memory* memory = nullptr;

    [[nodiscard]] NodeSet all() const { return (NodeSet{1} << n) - 1; }
};

/// The boundaries of a division: ideals in increasing order, the last one is everything.
struct Division {
    double penalty = 0;
    std::vector<NodeSet> ideals;
    bool improved = false;
    bool complete = false;    // the walk saw everything that mattered
    std::int64_t visits = 0;  // pairs of ideals looked at
};

struct WindowLimits {
    std::int64_t ideals = 2000;
    std::int64_t visits = 20000;
};

class WindowSolver {
   public:
    /// Looks for the division into `blocks` >= 2 blocks of least penalty, below `penalty`, in which
    /// no block costs more than `most`.
    const Division& solve(const Window& window, int blocks, const Steepness& steepness,
                          double penalty, Picoseconds most, const WindowLimits& limits);

    /// After solve(): cost of the block between two ideals of the window.
    [[nodiscard]] Picoseconds cost_between(NodeSet before, NodeSet ideal) const;

   private:
    /// A block that grows on top of an ideal, and what it costs.
    struct Growth {
        NodeSet ideal = 0;  // everything up to and with the block
        NodeSet block = 0;
        Picoseconds work = 0, received = 0, sent = 0;
        Bytes params = 0, largest = 0;
    };
    /// Nodes that may be added next, and those that were turned down for good.
    struct Choice {
        NodeSet minimal = 0;   // of what is outside the ideal
        NodeSet untried = 0;   // those of them that come behind the last one added
        NodeSet excluded = 0;  // closed under successors
        Picoseconds excluded_work = 0;
    };
    struct Ideal {
        NodeSet nodes;
        NodeSet minimal;
        Picoseconds work;
        double rest;  // penalty of everything behind it as one block
    };

    void start();
    void narrow(double budget, Picoseconds work, int rest);
    void halve(const Growth& growth, const Choice& choice, Picoseconds rest_tensors);
    void chain();
    void list(const Growth& growth, const Choice& choice, Picoseconds rest_tensors);
    void extend(const Growth& growth, const Choice& choice);
    void take_halves(NodeSet ideal, double penalty);
    void take_chain(std::size_t last, double penalty);

    [[nodiscard]] Growth add(const Growth& growth, int node) const;
    [[nodiscard]] Choice choose(const Choice& choice, NodeSet ideal, int node) const;
    void exclude(Choice& choice, int node) const;
    [[nodiscard]] Picoseconds rest_after(Picoseconds tensors, NodeSet ideal, int node) const;
    [[nodiscard]] Picoseconds growing(const Growth& growth) const;
    [[nodiscard]] double rest_penalty(NodeSet ideal, Picoseconds work, Picoseconds tensors) const;
    [[nodiscard]] std::int32_t find(NodeSet ideal) const;

    const Window* window_ = nullptr;
    int blocks_ = 0;
    Steepness steepness_;
    WindowLimits limits_;
    Picoseconds most_ = 0;           // no block may cost more
    Picoseconds ceiling_ = 0;        // no block of a better division costs more
    Picoseconds block_ceiling_ = 0;  // nor the block that grows now ...
    Picoseconds rest_ceiling_ = 0;   // ... nor is there more work behind it
    bool gave_up_ = false;
    std::array<NodeSet, Window::kMaxNodes> behind_;  // all successors, near and far
    Division division_;

    std::vector<Ideal> ideals_;
    std::vector<std::int32_t> table_;  // ideals by their nodes
    std::vector<double> least_, next_least_;
    std::vector<std::int32_t> parent_;  // per layer and ideal
    int layer_ = 0;
    std::int32_t source_ = 0;
};

}  // namespace stagewright
