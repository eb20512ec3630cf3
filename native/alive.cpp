// SPDX-License-Identifier: Apache-2.0
#include "alive.hpp"

#include <algorithm>
#include <map>

#include "bits.hpp"

namespace stagewright {

namespace {

constexpr std::int64_t kMostPairs = 20'000'000;  // of nodes and tensors that are looked at

/// Strict ancestors (or descendants, with the rows swapped) of every node, as rows of bits.
class Reach {
   public:
    Reach(const TensorUses& flow, bool forward) : words_(words_for(flow.n)) {
        rows_.assign(words_ * static_cast<std::size_t>(flow.n), 0);
        std::vector<std::int32_t> missing(static_cast<std::size_t>(flow.n), 0);
        for (std::int32_t t = 0; t < flow.consumers.size(); ++t)
            for (const auto u : flow.consumers[t]) ++missing[forward ? flow.producer[t] : u];
        std::vector<Node> order;
        for (Node v = 0; v < flow.n; ++v)
            if (missing[v] == 0) order.push_back(v);
        const auto take = [&](Node into, Node from) {
            auto* row = rows_.data() + words_ * into;
            insert(row, from);
            for (std::size_t i = 0; i < words_; ++i) row[i] |= rows_[words_ * from + i];
            if (--missing[into] == 0) order.push_back(into);
        };
        for (std::size_t i = 0; i < order.size(); ++i) {
            const auto v = order[i];
            if (forward)
                for (const auto t : flow.reads[v]) take(flow.producer[t], v);
            else
                for (const auto t : flow.writes[v])
                    for (const auto u : flow.consumers[t]) take(u, v);
        }
    }
    [[nodiscard]] std::size_t size() const { return words_ == 0 ? 0 : rows_.size() / words_; }
    [[nodiscard]] bool has(Node v, Node u) const { return contains(rows_.data() + words_ * v, u); }

   private:
    std::size_t words_;
    std::vector<Word> rows_;
};

/// Paths around one node at a time.
class Around {
   public:
    explicit Around(const TensorUses& flow)
        : flow_(flow), before_(flow, false), after_(flow, true), dead_(before_.size()) {}

    /// Calls `take` with bytes and the nodes of which one in the stage makes them alive while v runs; returns the
    /// working set of v.
    template <class Take>
    Bytes each(Node v, Take&& take) {
        v_ = v;
        left_ = flow_.bytes;
        std::fill(dead_.begin(), dead_.end(), 0);
        Bytes own = 0;
        for (const auto* row : {&flow_.reads, &flow_.writes})
            for (const auto t : (*row)[v]) {
                own += left_[t];
                left_[t] = 0;
            }
        for (std::int32_t t = 0; t < flow_.consumers.size(); ++t) {
            if (left_[t] == 0 || !before_.has(v, flow_.producer[t])) continue;
            path_.assign(1, flow_.producer[t]);
            for (const auto u : flow_.consumers[t])
                if (after_.has(v, u)) path_.push_back(u);
            if (path_.size() == 1) continue;
            take(left_[t], path_);
            left_[t] = 0;
        }
        for (std::int32_t t = 0; t < flow_.consumers.size(); ++t) {
            if (left_[t] == 0 || !before_.has(v, flow_.producer[t])) continue;
            for (const auto u : flow_.consumers[t])
                while (left_[t] > 0 && !before_.has(v, u)) {
                    path_.assign({flow_.producer[t], u});
                    tensors_.assign(1, t);
                    if (!reach(u)) break;
                    auto part = left_[t];
                    for (const auto s : tensors_) part = std::min(part, left_[s]);
                    for (const auto s : tensors_) left_[s] -= part;
                    take(part, path_);
                }
        }
        return own;
    }

   private:
    /// Goes on from u, which neither precedes nor follows v, to a node that follows it.
    bool reach(Node u) {
        if (dead_[u]) return false;
        for (const auto t : flow_.writes[u]) {
            if (left_[t] == 0) continue;
            for (const auto w : flow_.consumers[t]) {
                path_.push_back(w);
                tensors_.push_back(t);
                if (after_.has(v_, w) || reach(w)) return true;
                path_.pop_back();
                tensors_.pop_back();
            }
        }
        dead_[u] = 1;  // for good: what is left of the tensors only shrinks
        return false;
    }

    const TensorUses& flow_;
    Reach before_, after_;
    std::vector<char> dead_;
    Node v_ = 0;
    std::vector<Bytes> left_;
    std::vector<Node> path_;
    std::vector<std::int32_t> tensors_;
};

}  // namespace

Alive::Alive(const TensorUses& flow, const Ragged& members)
    : of(static_cast<std::size_t>(members.size())) {
    if (static_cast<std::int64_t>(flow.n) * std::max(flow.n, flow.consumers.size()) > kMostPairs)
        return;
    Around around(flow);
    std::vector<Node> home(static_cast<std::size_t>(flow.n), -1);
    for (Node c = 0; c < members.size(); ++c)
        for (const auto v : members[c]) home[v] = c;
    for (Node c = 0; c < members.size(); ++c) {
        auto& moments = of[c];
        for (const auto v : members[c]) {
            Moment moment;
            std::map<std::vector<Node>, Bytes> terms;
            const auto own = around.each(v, [&](Bytes nbytes, const std::vector<Node>& nodes) {
                std::vector<Node> classes;
                for (const auto u : nodes) classes.push_back(home[u]);
                std::sort(classes.begin(), classes.end());
                classes.erase(std::unique(classes.begin(), classes.end()), classes.end());
                if (std::binary_search(classes.begin(), classes.end(), c))
                    moment.least += nbytes;
                else
                    terms[std::move(classes)] += nbytes;
            });
            moment.least += own;
            moment.most = moment.least;
            for (auto& [classes, nbytes] : terms) {
                moment.most += nbytes;
                moment.terms.push_back({nbytes, classes});
            }
            moments.push_back(std::move(moment));
        }
        Bytes least = 0;
        for (const auto& m : moments) least = std::max(least, m.least);
        std::stable_sort(moments.begin(), moments.end(),
                         [](const Moment& a, const Moment& b) { return a.least > b.least; });
        for (std::size_t i = 1; i < moments.size();)
            if (moments[i].most <= least)
                moments.erase(moments.begin() + static_cast<std::ptrdiff_t>(i));
            else
                ++i;
    }
}

}  // namespace stagewright
