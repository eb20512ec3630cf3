// SPDX-License-Identifier: Apache-2.0
// Overflow in a minimum cut: what a block spills, as capacities between its nodes and the sink.
//
// For any share s in [0, 1], overflow(S) = max(0, held(S) - M) / B >= s (held(S) - M) / B, with
// held(S) = param(S) + the largest working set.  param(S) is a sum over parameters of [some user is in S],
// and the largest working set a sum over its distinct values of (value - the next smaller one) [some
// node of at least this value is in S].  Each such term is one vertex that all these nodes reach and that
// pays into the sink, so work + io + s held is the capacity of a cut, and -s M / B is a constant.  The
// minimum is concave in s: the set at hand says on which side of s the best share lies.
//
// Where it is known what is alive while nodes run (alive.hpp), held(S) counts that in place of working sets.  For
// a node forced in, the bytes that are alive while it runs are a sum of such terms too: of one node at a time
// (Counts::moment), or the largest least bytes of any node (Counts::largest); each is at most held(S).
#pragma once

#include <vector>

#include "alive.hpp"
#include "bits.hpp"
#include "instance.hpp"
#include "max_flow.hpp"

namespace stagewright {

class Spill {
   public:
    static constexpr std::int64_t kWhole = 1024;  // shares are whole numbers of this part

    explicit Spill(const Instance& instance);

    /// Whether overflow can be above zero; if not, or after ignore(), there is nothing to pay.
    [[nodiscard]] bool binds() const { return binds_; }
    void ignore() { binds_ = false; }
    /// Time that all bytes take that a block can hold, rounded up; 0 if memory does not bind.
    [[nodiscard]] Picoseconds whole() const;
    /// Prices are times `scale`, in sum rounded down, and the room up.
    void set_scale(std::int64_t scale) { scale_ = scale; }

    /// What a node is worth where nothing else is known: its work, and its share of the time of its
    /// parameters, as far as they exceed the memory of k devices.
    [[nodiscard]] std::vector<Picoseconds> weights(std::int32_t k) const;

    /// Adds vertices for a cut over `free` with `in` on the source side; `place` has the vertex of each free
    /// node, -2 for the nodes of `in`, -1 for the others.
    void prepare(const std::vector<Node>& in, const std::vector<Node>& free,
                 const std::vector<std::int32_t>& place, FlowNetwork& network);
    enum class Counts { largest, moment };
    /// Sets the share to `share` / kWhole in the network, and what it is a share of.
    void set_share(std::int64_t share, Counts counts, FlowNetwork& network);
    /// What counts more bytes of the set that held() measured last.
    [[nodiscard]] Counts better() const { return better_; }
    /// What every set pays at the share at hand, times scale: the nodes forced in, less the room.
    [[nodiscard]] std::int64_t constant() const;

    /// What the sets on the source side pay at the share at hand, times scale, beside constant().
    [[nodiscard]] std::int64_t paid(const FlowNetwork& network) const;
    /// Overflow of so many bytes, a hard limit left out.
    [[nodiscard]] Picoseconds time(Bytes held) const;
    /// Parameters and the most bytes known to be alive at once, of a set that holds the nodes forced in.
    [[nodiscard]] Bytes held(const Word* set);
    /// What the whole share would add to the value of the set on the source side, which holds `held`.
    [[nodiscard]] std::int64_t slope(Bytes held, const FlowNetwork& network) const;

   private:
    struct Payer {
        std::int32_t vertex;
        std::int64_t price;
        bool always;    // a parameter
        Counts counts;  // else
    };
    [[nodiscard]] std::int64_t part(const Payer& payer) const {
        return payer.always || payer.counts == counts_ ? part(payer.price, share_) : 0;
    }
    [[nodiscard]] std::int64_t price(Bytes nbytes) const;
    [[nodiscard]] static std::int64_t part(std::int64_t price, std::int64_t share);
    void add_params(const std::vector<Node>& in, const std::vector<Node>& free,
                    const std::vector<std::int32_t>& place, FlowNetwork& network);
    void add_largest(const std::vector<std::int32_t>& place, FlowNetwork& network);
    void choose_moment(const std::vector<Node>& in);
    void add_moment(const std::vector<std::int32_t>& place, FlowNetwork& network);
    void pay(std::span<const Node> nodes, std::int64_t price, bool always, Counts counts,
             const std::vector<std::int32_t>& place, FlowNetwork& network);
    [[nodiscard]] Bytes alive(const Alive::Moment& moment) const;
    [[nodiscard]] std::int64_t room(std::int64_t share) const;

    const Instance& g_;
    bool binds_;
    std::int64_t scale_ = 1;
    Ragged users_;                   // parameter -> nodes
    std::vector<Node> by_set_;       // all nodes, largest of sizes_ first
    Bytes params_ = 0, all_ = 0;     // of all parameters; and the largest working set
    std::vector<std::int32_t> met_;  // per parameter: the last round that met it
    std::int32_t round_ = 0;
    std::vector<Payer> payers_;
    std::int64_t forced_ = 0;  // price of what the nodes forced in hold
    Bytes forced_set_ = 0;     // the most that is surely alive at once, of the nodes forced in
    const Alive::Moment* moment_ = nullptr;  // when that is
    std::vector<Bytes> sizes_;               // per node: the least that is alive at some time
    std::vector<char> inside_;               // per node: in the set that is measured
    std::int64_t share_ = 0;
    Counts counts_ = Counts::largest, better_ = Counts::largest;
};

}  // namespace stagewright
