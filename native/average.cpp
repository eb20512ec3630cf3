// SPDX-License-Identifier: Apache-2.0
#include "average.hpp"

#include <algorithm>
#include <limits>

#include "block_cut.hpp"
#include "ideal_cut.hpp"
#include "orders.hpp"

namespace stagewright {

namespace {

__extension__ using Wide = __int128;

constexpr int kCutsPerLook = 12;
constexpr int kOrders = 24;            // drawn for good ideals to start from
constexpr std::int64_t kFirst = 16;    // subproblems per boundary in the first round
constexpr std::int64_t kPerCut = 60;   // work per arc of a cut, see Stop::spend
constexpr std::int64_t kPerWord = 16;  // work per node and word of the closures
constexpr std::size_t kMostWords = std::size_t{1} << 26U;  // of open subproblems: 512 MB

Picoseconds ceiling(std::int64_t a, std::int64_t b) { return a / b + (a % b > 0 ? 1 : 0); }

struct Subproblem {
    Picoseconds bound;  // no ideal in it is better
    std::int64_t number;
    std::int64_t a;  // where the parent's bound was best
    std::vector<Word> in, out;
};

/// The order of a heap whose front is the subproblem of the smallest bound, among those the newest, which is deepest.
bool later(const Subproblem& one, const Subproblem& other) {
    return one.bound != other.bound ? one.bound > other.bound : one.number < other.number;
}

struct Boundary {
    std::int32_t before, behind;  // blocks
    Picoseconds best;             // of an ideal that is known
    std::vector<Word> ideal;      // that ideal
    std::vector<Subproblem> open;
    Picoseconds proven = 0;

    [[nodiscard]] Picoseconds value(Picoseconds x, Picoseconds y) const {
        return std::max(ceiling(x, before), ceiling(y, behind));
    }
    void meet(Picoseconds x, Picoseconds y, const std::vector<Word>& set) {
        if (value(x, y) >= best) return;
        best = value(x, y);
        ideal = set;
    }
};

class Search {
   public:
    Search(const Instance& g, std::int32_t k, Picoseconds lower, Picoseconds enough, Stop& stop)
        : g_(g), stop_(stop), enough_(enough), closures_(g), cuts_(g), words_(closures_.words()) {
        found_.value = lower;
        for (std::int32_t i = 1; i < k; ++i) boundaries_.push_back({i, k - i, 0, {}, {}, 0});
    }

    AverageBound run() {
        draw();
        // Where even the best ideals known are dear goes first.
        std::stable_sort(
            boundaries_.begin(), boundaries_.end(),
            [](const Boundary& one, const Boundary& other) { return one.best > other.best; });
        for (auto& boundary : boundaries_)
            boundary.open.push_back({found_.value, 0, cuts_.scale() / 2, std::vector<Word>(words_),
                                     std::vector<Word>(words_)});
        bool open = true;
        for (auto most = kFirst; open && !full_ && !stop_.now(); most *= 2) {
            open = false;
            for (auto& boundary : boundaries_) open = advance(boundary, most) || open;
        }
        found_.complete = !open;
        found_.cuts = cuts_.solved();
        if (boundaries_.size() == 1)
            for (Node v = 0; v < g_.n; ++v)
                found_.plan.push_back(contains(boundaries_[0].ideal.data(), v) ? 0 : 1);
        return found_;
    }

   private:
    /// Prices the ideals along some orders for every boundary.
    void draw() {
        for (auto& boundary : boundaries_) {
            // All nodes, or for later boundaries none.
            boundary.best = boundary.value(g_.total_work, 0);
            boundary.ideal.assign(words_, ~Word{0});
            boundary.meet(0, g_.total_work, std::vector<Word>(words_));
        }
        OrderMaker maker(g_);
        Random random(0);
        std::vector<Node> order;
        std::vector<std::int64_t> missing(static_cast<std::size_t>(g_.tensors()));
        constexpr OrderKind kKinds[] = {OrderKind::depth_first, OrderKind::reversed_depth_first,
                                        OrderKind::random};
        for (int i = 0; i < kOrders && !stop_.now(); ++i) {
            maker.make(kKinds[i % 3], random, order);
            for (Tensor t = 0; t < g_.tensors(); ++t)
                missing[t] = static_cast<std::int64_t>(g_.consumers[t].size());
            Picoseconds work = 0, live = 0;
            std::vector<Word> ideal(words_, 0);
            for (const auto v : order) {
                insert(ideal.data(), v);
                work += g_.work[v];
                for (const auto t : g_.writes[v]) live += g_.cost[t];
                for (const auto t : g_.reads[v])
                    if (--missing[t] == 0) live -= g_.cost[t];
                for (auto& boundary : boundaries_)
                    boundary.meet(work + live, g_.total_work - work + live, ideal);
            }
            stop_.spend(static_cast<std::int64_t>(order.size() * boundaries_.size()));
        }
    }

    /// Looks at so many subproblems at most; whether this boundary may still raise the bound.
    bool advance(Boundary& boundary, std::int64_t most) {
        if (found_.value >= enough_) return false;
        while (boundary.best > found_.value && !boundary.open.empty()) {
            boundary.proven = std::min(boundary.best, boundary.open.front().bound);
            raise(boundary);
            if (boundary.best <= found_.value || found_.value >= enough_) return false;
            if (most-- == 0 || full_ || stop_.now()) return true;
            std::pop_heap(boundary.open.begin(), boundary.open.end(), later);
            auto sub = std::move(boundary.open.back());
            boundary.open.pop_back();
            if (!look(boundary, sub)) {
                // Nothing was settled, so it stays.
                push(boundary, std::move(sub));
                return true;
            }
        }
        // Nothing is left that could be better than the best ideal.
        boundary.proven = boundary.best;
        raise(boundary);
        return false;
    }

    void raise(const Boundary& boundary) {
        if (boundary.proven <= found_.value) return;
        found_.value = boundary.proven;
        found_.boundary = boundary.before;
    }

    void push(Boundary& boundary, Subproblem&& sub) {
        boundary.open.push_back(std::move(sub));
        std::push_heap(boundary.open.begin(), boundary.open.end(), later);
        full_ = full_ || 2 * words_ * static_cast<std::size_t>(number_) > kMostWords;
    }

    /// Bounds a subproblem and branches on it where that does not settle it; false: stopped.
    bool look(Boundary& boundary, Subproblem& sub) {
        ++found_.looked;
        if (!close(boundary, sub)) return true;
        cuts_.prepare(sub.in.data(), sub.out.data());
        const auto q = cuts_.scale();
        const auto i = boundary.before, j = boundary.behind;
        std::int64_t low = 0, high = q;
        IdealCut::Minimum left, right;  // too little before the boundary, too much
        bool has_left = false, has_right = false;
        auto a = sub.a;
        for (int n = 0; n < kCutsPerLook && low <= high; ++n) {
            const auto blocks = a * i + (q - a) * j;
            const auto enough = static_cast<Wide>(boundary.best - 1) * blocks;
            const auto minimum = cuts_.solve(a, stop_, clamp(enough));
            stop_.spend(kPerCut * (g_.n + cuts_.arcs()));
            if (stop_.now()) return false;
            const auto bound = ceiling(minimum.value, blocks);
            if (bound >= sub.bound) {
                sub.bound = bound;
                sub.a = a;
            }
            if (!minimum.finished || sub.bound >= boundary.best) return true;
            boundary.meet(minimum.x, minimum.y, cuts_.set());
            if (sub.bound >= boundary.best) return true;
            const auto excess = static_cast<Wide>(minimum.x) * j - static_cast<Wide>(minimum.y) * i;
            auto& side = excess < 0 ? left : right;
            const auto known = excess < 0 ? has_left : has_right;
            if (known && has_left && has_right && minimum.value >= a * side.x + (q - a) * side.y)
                break;  // the chord is an edge of the hull
            side = minimum;
            (excess < 0 ? has_left : has_right) = true;
            (excess < 0 ? left_set_ : right_set_) = cuts_.set();
            // Less weight on x lets more in, and the other way round.
            if (excess < 0)
                high = a - 1;
            else
                low = a + 1;
            a = low + (high - low) / 2;
            if (has_left && has_right) a = std::clamp(chord(left, right, q), low, high);
        }
        if (!has_left) left_set_ = sub.in;
        if (!has_right)
            for (std::size_t w = 0; w < words_; ++w) right_set_[w] = ~sub.out[w];
        const auto node = choose(sub);
        if (node < 0) return true;  // every node is forced: the ideal is known and counted
        auto other = sub;
        for (std::size_t w = 0; w < words_; ++w) {
            sub.in[w] |= closures_.ancestors(node)[w];
            other.out[w] |= closures_.descendants(node)[w];
        }
        sub.number = ++number_;
        other.number = ++number_;
        push(boundary, std::move(sub));
        push(boundary, std::move(other));
        return true;
    }

    static std::int64_t clamp(Wide value) {
        return static_cast<std::int64_t>(
            std::min<Wide>(value, std::numeric_limits<std::int64_t>::max()));
    }

    /// The weight at which both ideals are worth the same.
    static std::int64_t chord(const IdealCut::Minimum& left, const IdealCut::Minimum& right,
                              std::int64_t q) {
        const auto down = static_cast<long double>(left.y - right.y);
        const auto across = static_cast<long double>(right.x - left.x);
        if (!(down + across > 0)) return q / 2;
        return static_cast<std::int64_t>(static_cast<long double>(q) * down / (down + across));
    }

    /// Forces out (in) what would bring too much work in (out); false: nothing is left.
    bool close(const Boundary& boundary, Subproblem& sub) {
        const auto most_in = static_cast<Wide>(boundary.best - 1) * boundary.before;
        const auto most_out = static_cast<Wide>(boundary.best - 1) * boundary.behind;
        auto in = work_of(sub.in), out = work_of(sub.out);
        ahead_.assign(static_cast<std::size_t>(g_.n), 0);
        bool changed = true;
        while (changed) {
            changed = false;
            if (in > most_in || out > most_out || meet(sub.in.data(), sub.out.data(), words_))
                return false;
            for (Node v = 0; v < g_.n; ++v) {
                if (stop_()) return true;  // what is forced so far holds
                if (contains(sub.in.data(), v) || contains(sub.out.data(), v)) continue;
                const auto before = added(closures_.ancestors(v), sub.in);
                const auto behind = added(closures_.descendants(v), sub.out);
                ahead_[v] = std::min(before, behind);
                if (in + before > most_in) {
                    join(sub.out, closures_.descendants(v));
                    out += behind;
                    changed = true;
                } else if (out + behind > most_out) {
                    join(sub.in, closures_.ancestors(v));
                    in += before;
                    changed = true;
                }
            }
            stop_.spend(kPerWord * g_.n * static_cast<std::int64_t>(words_));
        }
        return true;
    }

    [[nodiscard]] Picoseconds work_of(const std::vector<Word>& set) const {
        Picoseconds work = 0;
        for (std::size_t w = 0; w < words_; ++w)
            each_node(set[w], w, [&](Node v) { work += g_.work[v]; });
        return work;
    }

    /// Work of the nodes of `row` that the set lacks.
    [[nodiscard]] Picoseconds added(const Word* row, const std::vector<Word>& set) const {
        Picoseconds work = 0;
        for (std::size_t w = 0; w < words_; ++w)
            each_node(row[w] & ~set[w], w, [&](Node v) { work += g_.work[v]; });
        return work;
    }

    void join(std::vector<Word>& set, const Word* row) const {
        for (std::size_t w = 0; w < words_; ++w) set[w] |= row[w];
    }

    /// The free node that settles most either way, where the two sides of the hull differ if there is one; or -1.
    [[nodiscard]] Node choose(const Subproblem& sub) const {
        Node chosen = -1;
        Picoseconds most = -1;
        bool differs = false;
        for (Node v = 0; v < g_.n; ++v) {
            if (contains(sub.in.data(), v) || contains(sub.out.data(), v)) continue;
            const bool here = contains(right_set_.data(), v) && !contains(left_set_.data(), v);
            if (differs && !here) continue;
            if (here == differs && ahead_[v] <= most) continue;
            chosen = v;
            most = ahead_[v];
            differs = here;
        }
        return chosen;
    }

    const Instance& g_;
    Stop& stop_;
    Picoseconds enough_;
    Closures closures_;
    IdealCut cuts_;
    std::size_t words_;
    AverageBound found_;
    std::vector<Boundary> boundaries_;
    std::vector<Word> left_set_ = std::vector<Word>(words_), right_set_ = left_set_;
    std::vector<Picoseconds> ahead_;  // per free node: the less that either choice adds
    std::int64_t number_ = 0;         // of subproblems made so far
    bool full_ = false;
};

}  // namespace

AverageBound average_bound(const Instance& g, std::int32_t k, Picoseconds lower, Picoseconds enough,
                           Stop& stop) {
    return Search(g, std::min(k, g.n), lower, enough, stop).run();
}

}  // namespace stagewright
