// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <numeric>
#include <stdexcept>

#include "sharing.hpp"

namespace stagewright {
namespace {

class Branching {
   public:
    Branching(const Placement& p, const std::vector<std::int32_t>& counts, Picoseconds below,
              std::int64_t most_steps, Stop& stop)
        : p_(p), most_steps_(most_steps), stop_(stop) {
        for (std::size_t q = 0; q < counts.size(); ++q)
            type_.insert(type_.end(), static_cast<std::size_t>(counts[q]), q);
        const auto n = static_cast<std::size_t>(p.n), devices = type_.size();
        proof_.value = below;
        at_.assign(n, kNowhere);
        touching_.resize(n);
        readers_.assign(p.producer.size() * devices, 0);
        for (std::size_t t = 0; t < p.producer.size(); ++t) {
            touching_[static_cast<std::size_t>(p.producer[t])].push_back(t);
            for (const auto v : p.consumers[static_cast<std::int32_t>(t)])
                touching_[static_cast<std::size_t>(v)].push_back(t);
        }
        work_.assign(devices, 0);
        in_ = out_ = work_;
        units_.assign(devices, 0);
        users_.assign(p.param_bytes.size() * devices, 0);
        params_.assign(devices, 0);
        largest_.assign(devices, 0);
        order_.resize(n);
        std::iota(order_.begin(), order_.end(), 0);
        least_.resize(n);
        for (std::size_t v = 0; v < n; ++v) {
            least_[v] = std::numeric_limits<Picoseconds>::max();
            for (const auto& type : p.types)
                if (type.work[v] >= 0) least_[v] = std::min(least_[v], type.work[v]);
        }
        std::stable_sort(order_.begin(), order_.end(),
                         [&](std::size_t a, std::size_t b) { return least_[a] > least_[b]; });
        left_.assign(n + 1, 0);
        for (std::size_t i = n; i-- > 0;) {
            const auto work = least_[order_[i]];
            left_[i] = left_[i + 1] + std::min(work, proof_.value);  // one unit above ends it all
        }
    }

    SharingProof run() {
        proof_.complete = extend(0);
        return std::move(proof_);
    }

   private:
    static constexpr std::size_t kNowhere = static_cast<std::size_t>(-1);
    const Placement& p_;
    std::int64_t most_steps_;
    Stop& stop_;
    SharingProof proof_;
    std::vector<std::size_t> type_, at_, order_;
    std::vector<std::vector<std::size_t>> touching_;
    std::vector<std::int32_t> readers_;  // per tensor and device
    std::vector<std::int32_t> users_;    // per parameter and device
    std::vector<std::int32_t> units_;    // per device
    std::vector<Picoseconds> work_, in_, out_, least_, left_;
    std::vector<Bytes> params_, largest_;

    [[nodiscard]] const StageType& of(std::size_t d) const { return p_.types[type_[d]]; }

    [[nodiscard]] Picoseconds load(std::size_t d) const {
        const auto compute = work_[d] + of(d).overflow(params_[d] + largest_[d]);
        if (p_.overlap) return std::max({compute, in_[d], out_[d]});
        return compute + in_[d] + out_[d];
    }

    /// Whether the devices stay below what was found, and have room for the units that are left.
    [[nodiscard]] bool open(std::size_t placed) const {
        Picoseconds room = 0;
        for (std::size_t d = 0; d < type_.size(); ++d) {
            const auto busy = p_.overlap ? std::max(load(d), work_[d]) : load(d);
            if (busy >= proof_.value || params_[d] + largest_[d] > of(d).limit) return false;
            room += proof_.value - 1 - (p_.overlap ? work_[d] : busy);
        }
        return left_[placed] <= room;
    }

    /// False when it had to stop.
    bool extend(std::size_t placed) {
        if (++proof_.steps > most_steps_ || stop_()) return false;
        if (!open(placed)) return true;
        if (placed == order_.size()) {
            proof_.device.assign(at_.begin(), at_.end());
            proof_.value = 0;
            for (std::size_t d = 0; d < type_.size(); ++d)
                proof_.value = std::max(proof_.value, load(d));
            return true;
        }
        const auto v = order_[placed];
        std::size_t fresh = kNowhere;  // the type whose empty device was tried
        for (std::size_t d = 0; d < type_.size(); ++d) {
            if (of(d).work[v] < 0 || (units_[d] == 0 && fresh == type_[d])) continue;
            if (units_[d] == 0) fresh = type_[d];
            const auto before = largest_[d];
            put(v, d, 1);
            largest_[d] = std::max(before, p_.working_set[v]);
            const bool done = extend(placed + 1);
            put(v, d, -1);
            largest_[d] = before;
            if (!done) return false;
        }
        return true;
    }

    void put(std::size_t v, std::size_t d, int sign) {
        work_[d] += sign * of(d).work[v];
        units_[d] += sign;
        for (const auto t : touching_[v]) pay(t, -1);
        at_[v] = sign > 0 ? d : kNowhere;
        for (const auto t : touching_[v])
            if (static_cast<std::size_t>(p_.producer[t]) != v)
                readers_[t * type_.size() + d] += sign;
        for (const auto t : touching_[v]) pay(t, 1);
        for (const auto q : p_.params_of[static_cast<std::int32_t>(v)]) {
            const auto param = static_cast<std::size_t>(q);
            auto& users = users_[param * type_.size() + d];
            if (users == 0 || users + sign == 0) params_[d] += sign * p_.param_bytes[param];
            users += sign;
        }
    }

    /// Charges the devices for a tensor between the units placed so far, or takes that back.
    void pay(std::size_t t, int sign) {
        const auto home = at_[static_cast<std::size_t>(p_.producer[t])];
        if (home == kNowhere) return;
        bool sent = false;
        for (std::size_t d = 0; d < type_.size(); ++d) {
            if (d == home || readers_[t * type_.size() + d] == 0) continue;
            sent = true;
            in_[d] += sign * of(d).receive[t];
        }
        if (sent) out_[home] += sign * of(home).send[t];
    }
};

}  // namespace

SharingProof best_sharing(const Placement& placement, const std::vector<std::int32_t>& counts,
                          Picoseconds below, std::int64_t most_steps, Stop& stop) {
    check_placement(placement);
    if (counts.size() != placement.types.size() ||
        std::any_of(counts.begin(), counts.end(), [](auto c) { return c < 0; }))
        throw std::invalid_argument("sharing: a number of devices per type expected");
    return Branching(placement, counts, below, most_steps, stop).run();
}

}  // namespace stagewright
