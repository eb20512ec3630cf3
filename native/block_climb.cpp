// SPDX-License-Identifier: Apache-2.0
#include "block_climb.hpp"

#include <algorithm>
#include <limits>

namespace stagewright {

namespace {

constexpr int kMostJoining = 4;
constexpr int kTenure = 4;      // steps for which a node stays where it was put, or a few more
constexpr double kPenalty = 2;  // of cost beyond the threshold, in prices
constexpr std::int64_t kPerNode = 12;  // work of a step per node, see Stop::spend

}  // namespace

BlockClimb::BlockClimb(const Instance& g, const Closures& closures)
    : g_(g),
      closures_(closures),
      words_(closures.words()),
      size_(static_cast<std::size_t>(g.tensors())),
      inside_(size_.size(), 0),
      above_(static_cast<std::size_t>(g.n), 0),
      below_(above_),
      set_(words_, 0),
      before_(words_, 0),
      after_(words_, 0),
      best_(words_, 0),
      tabu_(above_.size(), 0),
      amount_(g.work) {
    for (Tensor t = 0; t < g.tensors(); ++t)
        size_[t] = 1 + static_cast<std::int32_t>(g.consumers[t].size());
    for (Node v = 0; v < g.n; ++v) {
        for (const auto* row : {&g.writes, &g.reads})
            for (const auto t : (*row)[v])
                if (g.cost[t] > 0) tensors_.values.push_back(t);
        tensors_.offsets.push_back(static_cast<std::int64_t>(tensors_.values.size()));
    }
}

void BlockClimb::set(const std::vector<Picoseconds>& amounts, Picoseconds threshold, double price) {
    amount_ = amounts;
    threshold_ = threshold;
    price_ = price;
}

Picoseconds BlockClimb::change(Node v) const {
    const bool in = contains(set_.data(), v);
    Picoseconds sum = in ? -g_.work[v] : g_.work[v];
    for (const auto t : tensors_[v]) {
        const auto now = inside_[t];
        const auto then = in ? now - 1 : now + 1;
        const int cut = now > 0 && now < size_[t];
        const int will = then > 0 && then < size_[t];
        sum += (will - cut) * g_.cost[t];
    }
    return sum;
}

void BlockClimb::toggle(Node v) {
    const bool in = contains(set_.data(), v);
    const int by = in ? -1 : 1;
    cost_ += change(v);
    held_ += by * amount_[v];
    for (const auto t : tensors_[v]) inside_[t] += by;
    set_[static_cast<std::size_t>(v) >> 6U] ^= Word{1} << (static_cast<unsigned>(v) & 63U);
    const auto count = [&](const Word* row, std::vector<std::int32_t>& counts, Word* some) {
        for (std::size_t i = 0; i < words_; ++i) {
            Word gone = 0;
            each_node(row[i], i, [&](Node u) {
                counts[u] += by;
                if (counts[u] == 0) gone |= Word{1} << (static_cast<unsigned>(u) & 63U);
            });
            some[i] = (some[i] | row[i]) & ~gone;
        }
    };
    count(closures_.ancestors(v), above_, before_.data());
    count(closures_.descendants(v), below_, after_.data());
}

// The set is convex, so what joins lies all before it or all behind it, and closing once suffices.
int BlockClimb::joining(Node v) {
    const auto* ancestors = closures_.ancestors(v);
    const auto* descendants = closures_.descendants(v);
    int count = 1;
    for (std::size_t i = 0; i < words_; ++i)
        count +=
            std::popcount(((after_[i] & ancestors[i]) | (before_[i] & descendants[i])) & ~set_[i]);
    if (contains(before_.data(), v) || contains(after_.data(), v)) --count;
    if (count > kMostJoining) return -1;
    joining_.assign(1, v);
    if (count == 1) return count;
    for (std::size_t i = 0; i < words_; ++i)
        each_node(((after_[i] & ancestors[i]) | (before_[i] & descendants[i])) & ~set_[i], i,
                  [&](Node u) {
                      if (u != v) joining_.push_back(u);
                  });
    return count;
}

double BlockClimb::value(Picoseconds amount, Picoseconds cost) const {
    const auto over = std::max<Picoseconds>(0, cost - threshold_);
    return static_cast<double>(amount) - price_ * static_cast<double>(cost) -
           kPenalty * price_ * static_cast<double>(over);
}

bool BlockClimb::climb(const Word* start, Node keep, Picoseconds floor, int patience, Stop& stop) {
    for (std::size_t i = 0; i < words_; ++i) {
        const auto wrong = set_[i] ^ start[i];
        each_node(wrong, i, [&](Node v) { toggle(v); });
    }
    held_ = 0;
    for (std::size_t i = 0; i < words_; ++i)
        each_node(set_[i], i, [&](Node v) { held_ += amount_[v]; });
    best_amount_ = floor;
    bool found = false;
    const auto note = [&] {
        if (cost_ > threshold_ || held_ <= best_amount_) return false;
        best_amount_ = held_;
        best_ = set_;
        found = true;
        return true;
    };
    note();
    for (int idle = 0; idle < patience && !stop(); ++idle) {
        ++step_;
        stop.spend(kPerNode * g_.n);
        auto best = -std::numeric_limits<double>::infinity();
        chosen_.clear();
        for (Node v = 0; v < g_.n; ++v) {
            if (tabu_[v] >= step_) continue;
            if (contains(set_.data(), v)) {
                if (v == keep || !removable(v)) continue;
                const auto reached = value(held_ - amount_[v], cost_ + change(v));
                if (reached <= best) continue;
                best = reached;
                chosen_.assign(1, v);
                continue;
            }
            const auto count = joining(v);
            if (count < 0) continue;
            auto cost = cost_;
            auto held = held_;
            for (const auto u : joining_) {
                cost += change(u);
                held += amount_[u];
                if (count > 1)
                    for (const auto t : tensors_[u]) ++inside_[t];
            }
            if (count > 1)
                for (const auto u : joining_)
                    for (const auto t : tensors_[u]) --inside_[t];
            const auto reached = value(held, cost);
            if (reached <= best) continue;
            best = reached;
            chosen_ = joining_;
        }
        if (chosen_.empty()) break;
        for (const auto v : chosen_) {
            toggle(v);
            tabu_[v] = step_ + kTenure + (step_ * 7 + v) % 4;
        }
        if (note()) idle = 0;
    }
    return found;
}

}  // namespace stagewright
