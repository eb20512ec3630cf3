// SPDX-License-Identifier: Apache-2.0
// What a block costs on every type of device, kept up to date while nodes come and go at its end.
#pragma once

#include <algorithm>
#include <limits>
#include <span>
#include <vector>

#include "placement.hpp"

namespace stagewright {

inline constexpr Picoseconds kNever = std::numeric_limits<Picoseconds>::max();

/// The block between two ideals while the walk adds and removes nodes.
class PlacedBlock {
   public:
    explicit PlacedBlock(const Placement& p)
        : p_(p),
          reads_(p.consumers.transposed(p.n)),
          writes_(writes_of(p)),
          users_(p.producer.size(), 0),
          made_(p.producer.size(), 0),
          uses_(p.param_bytes.size(), 0),
          keeps_(p.kept_bytes.size(), 0),
          sum_(p.types.size()) {}

    struct Sums {
        Picoseconds work = 0, receive = 0, send = 0;
        std::int32_t unable = 0;  // nodes that the type cannot run
    };

    void add(Node v) {
        for (std::size_t q = 0; q < sum_.size(); ++q) {
            const auto work = p_.types[q].work[v];
            if (work < 0)
                ++sum_[q].unable;
            else
                sum_[q].work += work;
        }
        for (const auto t : reads_[v])
            if (made_[t]) {
                if (++users_[t] == consumers(t)) pay(t, 0, -1);
            } else if (++users_[t] == 1) {
                pay(t, 1, 0);
            }
        for (const auto t : writes_[v]) {
            made_[t] = 1;
            pay(t, users_[t] > 0 ? -1 : 0, users_[t] < consumers(t) ? 1 : 0);
        }
        for (const auto r : p_.params_of[v])
            if (++uses_[r] == 1) params_ += p_.param_bytes[r];
        for (const auto r : kept_of(v))
            if (++keeps_[r] == 1) kept_ += p_.kept_bytes[r];
        sets_.push_back(std::max(sets_.empty() ? 0 : sets_.back(), p_.working_set[v]));
    }

    void remove(Node v) {
        for (std::size_t q = 0; q < sum_.size(); ++q) {
            const auto work = p_.types[q].work[v];
            if (work < 0)
                --sum_[q].unable;
            else
                sum_[q].work -= work;
        }
        for (const auto t : writes_[v]) {
            made_[t] = 0;
            pay(t, users_[t] > 0 ? 1 : 0, users_[t] < consumers(t) ? -1 : 0);
        }
        for (const auto t : reads_[v])
            if (made_[t]) {
                if (users_[t]-- == consumers(t)) pay(t, 0, 1);
            } else if (--users_[t] == 0) {
                pay(t, -1, 0);
            }
        for (const auto r : p_.params_of[v])
            if (--uses_[r] == 0) params_ -= p_.param_bytes[r];
        for (const auto r : kept_of(v))
            if (--keeps_[r] == 0) kept_ -= p_.kept_bytes[r];
        sets_.pop_back();
    }

    /// Compute and overflow on a type, and no less in any larger block; kNever where it cannot run this one or a
    /// larger one at all.  `kept` microbatches are in flight beside the one that runs.
    [[nodiscard]] Picoseconds floor(std::size_t q, std::int32_t kept) const {
        // What a block received, a larger one may make itself.
        return compute(q, kept * (p_.types[q].recompute ? 0 : kept_), kept_);
    }
    [[nodiscard]] Picoseconds compute(std::size_t q, std::int32_t kept) const {
        return compute(q, kept * (p_.types[q].recompute ? fed_ : kept_), kept_ + back_);
    }

    /// The tensors that a node makes or reads.
    [[nodiscard]] std::vector<Tensor> tensors_of(Node v) const {
        std::vector<Tensor> all(reads_[v].begin(), reads_[v].end());
        all.insert(all.end(), writes_[v].begin(), writes_[v].end());
        return all;
    }

    [[nodiscard]] Picoseconds total(std::size_t q, Picoseconds compute) const {
        const auto& s = sum_[q];
        if (!p_.overlap) return compute + s.receive + s.send;
        return std::max({compute, s.receive, s.send, p_.types[q].sync_time(params_)});
    }

    /// What the block holds: for its parameters, for each microbatch kept, and for the one that runs.
    struct Held {
        Bytes fixed, unit, running;
    };
    [[nodiscard]] Held held(std::size_t q) const {
        const auto& type = p_.types[q];
        return {type.state_factor * params_, type.recompute ? fed_ : kept_,
                std::max(kept_ + back_, sets_.empty() ? 0 : sets_.back())};
    }
    [[nodiscard]] const Sums& sums(std::size_t q) const { return sum_[q]; }

   private:
    [[nodiscard]] Picoseconds compute(std::size_t q, Bytes kept, Bytes resting) const {
        const auto& type = p_.types[q];
        const auto running = std::max(resting, sets_.empty() ? 0 : sets_.back());
        const auto held = type.state_factor * params_ + kept + running;
        if (sum_[q].unable > 0 || held > type.limit) return kNever;
        return sum_[q].work + type.overflow(held) + (p_.overlap ? 0 : type.sync_time(params_));
    }
    [[nodiscard]] std::span<const std::int32_t> kept_of(Node v) const {
        if (p_.kept_bytes.empty()) return {};
        return p_.kept_of[v];
    }
    [[nodiscard]] std::int32_t consumers(Tensor t) const {
        return static_cast<std::int32_t>(p_.consumers[t].size());
    }
    void pay(Tensor t, int receive, int send) {
        for (std::size_t q = 0; q < sum_.size(); ++q) {
            sum_[q].receive += receive * p_.types[q].receive[t];
            sum_[q].send += send * p_.types[q].send[t];
        }
        if (p_.fed_bytes.empty()) return;
        fed_ += receive * p_.fed_bytes[t];
        back_ += receive * p_.back_bytes[t];
    }

    static Ragged writes_of(const Placement& p) {
        Ragged homes;
        for (const auto v : p.producer) {
            homes.values.push_back(v);
            homes.offsets.push_back(static_cast<std::int64_t>(homes.values.size()));
        }
        return homes.transposed(p.n);
    }

    const Placement& p_;
    Ragged reads_, writes_;            // node -> tensors
    std::vector<std::int32_t> users_;  // consumers inside
    std::vector<char> made_;           // producer inside
    std::vector<std::int32_t> uses_, keeps_;
    std::vector<Sums> sum_;
    Bytes params_ = 0, kept_ = 0, fed_ = 0, back_ = 0;
    std::vector<Bytes> sets_;  // largest working set after each node added
};

}  // namespace stagewright
