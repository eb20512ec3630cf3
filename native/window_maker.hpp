// SPDX-License-Identifier: Apache-2.0
// Contracts a few consecutive blocks to a window, at random but never across a block's border, so
// that the division at hand stays possible.
//
// A path between two nodes of a block stays in the block, so an edge may be contracted when no other
// path inside the block leads from its tail to its head; unrelated clusters may always be merged.
#pragma once

#include <span>
#include <vector>

#include "instance.hpp"
#include "random.hpp"
#include "window.hpp"

namespace stagewright {

/// Which edges to contract first.
enum class Taste { heavy, any, far };  // dear tensors, any order, far from a random node

class WindowMaker {
   public:
    /// Nodes of a block: memory and time grow with the square.
    static constexpr std::size_t kMaxBlock = 2048;

    explicit WindowMaker(const Instance& instance);

    /// Prices to use from now on: the same graph with other work and costs.
    void price_by(const Instance& prices) { prices_ = &prices; }

    /// `blocks`: nodes of each block in topological order.  At most `target` nodes if possible;
    /// false when even that leaves too many, or a block is too large to relate its nodes.
    bool make(std::span<const std::vector<Node>* const> blocks, int target, Taste taste,
              Random& random, Window& window);

    /// After make(): the window's node that holds v.
    [[nodiscard]] int holder(Node v) const { return number_[local_[v]]; }

   private:
    /// Two places of one block, the first before the second: producer and consumer, or two
    /// consumers of a tensor.
    struct Edge {
        std::int32_t tail, head;
        Picoseconds cost;
        double key;
    };
    struct Hyperedge {
        int producer;  // -1: made before the window
        NodeSet users;
        Picoseconds cost;
    };

    void gather(std::span<const std::vector<Node>* const> blocks);
    void relate();
    void pair_siblings();
    void contract(int target, Taste taste, Random& random);
    void merge_unrelated(int target, Random& random);
    void weigh(Taste taste, Random& random);
    void measure_distance(Random& random);
    void merge(std::int32_t a, std::int32_t b);
    void join_rows(std::vector<std::uint64_t>& rows, std::int32_t into, std::int32_t from);
    [[nodiscard]] bool joined_otherwise(std::int32_t tail, std::int32_t head) const;
    [[nodiscard]] std::int32_t root(std::int32_t u);
    bool number(Random& random, Window& window);
    void fill(Window& window);
    void fill_tensors(Window& window);
    void fill_params(Window& window);

    [[nodiscard]] std::uint64_t* row(std::vector<std::uint64_t>& rows, std::int32_t u) const {
        return rows.data() + static_cast<std::size_t>(u) * words_;
    }
    [[nodiscard]] const std::uint64_t* row(const std::vector<std::uint64_t>& rows,
                                           std::int32_t u) const {
        return rows.data() + static_cast<std::size_t>(u) * words_;
    }

    const Instance& instance_;
    const Instance* prices_;
    std::vector<Picoseconds> edge_cost_;  // beside successors.values
    std::vector<std::int32_t> local_;     // node -> place in nodes_, -1 outside
    std::vector<Node> nodes_;
    std::vector<std::int32_t> block_begin_;  // first place of each block, and the end
    std::vector<std::int32_t> block_of_;     // per place
    // Per place and relative to its block's begin, kept for the roots of clusters: everything the
    // cluster leads to, everything that leads to it, and itself.
    std::size_t words_ = 0;
    std::vector<std::uint64_t> below_, above_, members_;
    std::vector<std::uint64_t> roots_;     // per block
    std::vector<std::uint64_t> learners_;  // of a merge
    std::vector<std::int32_t> parent_;
    std::vector<int> number_;
    std::vector<Edge> edges_;
    std::vector<std::int32_t> distance_, queue_;
    int clusters_ = 0;
    std::vector<Hyperedge> tensors_;
    std::vector<std::int32_t> stamp_, param_stamp_;
    std::vector<std::int32_t> last_user_;  // per tensor: place of the last consumer met
    std::int32_t now_ = 0;
};

}  // namespace stagewright
