// SPDX-License-Identifier: Apache-2.0
#include "sharing.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "random.hpp"

namespace stagewright {
namespace {

constexpr double kHot = 2.0, kCold = 1e-3;  // temperatures of a round, in full devices
constexpr std::size_t kLargest = 6;         // powers of two that a cluster may have
constexpr int kTries = 8;                   // draws for a node of the busiest device

double twelfth_power(double x) {
    const double x2 = x * x, x4 = x2 * x2;
    return x4 * x4 * x4;
}

/// An assignment with what each device does, kept up to date from move to move.
class Loads {
   public:
    Loads(const Placement& p, const std::vector<std::int32_t>& counts) : p_(p) {
        for (std::size_t q = 0; q < counts.size(); ++q)
            type_.insert(type_.end(), static_cast<std::size_t>(counts[q]),
                         static_cast<std::int32_t>(q));
        const auto n = static_cast<std::size_t>(p.n);
        makes_.resize(n);
        reads_.resize(n);
        for (std::size_t t = 0; t < p.producer.size(); ++t) {
            makes_[static_cast<std::size_t>(p.producer[t])].push_back(t);
            for (const auto v : p.consumers[static_cast<std::int32_t>(t)])
                reads_[static_cast<std::size_t>(v)].push_back(t);
        }
        bounded_ = std::any_of(p.types.begin(), p.types.end(), [](const StageType& type) {
            return type.capacity < std::numeric_limits<Bytes>::max() ||
                   type.limit < std::numeric_limits<Bytes>::max();
        });
    }

    [[nodiscard]] std::size_t devices() const { return type_.size(); }
    [[nodiscard]] const std::vector<std::int32_t>& at() const { return at_; }
    [[nodiscard]] const std::vector<std::size_t>& makes(std::size_t v) const { return makes_[v]; }
    [[nodiscard]] const std::vector<std::size_t>& reads(std::size_t v) const { return reads_[v]; }
    [[nodiscard]] bool can(std::size_t v, std::size_t d) const { return of(d).work[v] >= 0; }

    void assign(std::vector<std::int32_t> at) {
        at_ = std::move(at);
        const auto count = devices();
        work_.assign(count, 0);
        in_.assign(count, 0);
        out_.assign(count, 0);
        readers_.assign(p_.producer.size() * count, 0);
        outside_.assign(p_.producer.size(), 0);
        users_.assign(bounded_ ? p_.param_bytes.size() * count : 0, 0);
        params_.assign(count, 0);
        for (std::size_t v = 0; v < at_.size(); ++v) {
            const auto d = device(v);
            work_[d] += of(d).work[v];
            hold(v, d, 1);
        }
        for (std::size_t t = 0; t < p_.producer.size(); ++t) {
            for (const auto v : p_.consumers[static_cast<std::int32_t>(t)])
                ++readers_[t * count + device(static_cast<std::size_t>(v))];
            pay_all(t, 1);
        }
        largest_.assign(count, 0);
        for (std::size_t d = 0; bounded_ && d < count; ++d) largest_[d] = largest(d);
    }

    void move(std::size_t v, std::size_t to) {
        const auto from = device(v);
        work_[from] -= of(from).work[v];
        work_[to] += of(to).work[v];
        for (const auto t : makes_[v]) pay_all(t, -1);
        at_[v] = static_cast<std::int32_t>(to);
        for (const auto t : makes_[v]) pay_all(t, 1);
        for (const auto t : reads_[v]) {
            const auto home = device(static_cast<std::size_t>(p_.producer[t]));
            const bool sent = outside_[t] > 0;
            if (--readers_[t * devices() + from] == 0 && from != home)
                in_[from] -= of(from).receive[t];
            if (readers_[t * devices() + to]++ == 0 && to != home) in_[to] += of(to).receive[t];
            outside_[t] += static_cast<int>(to != home) - static_cast<int>(from != home);
            if (sent != (outside_[t] > 0)) out_[home] += (sent ? -1 : 1) * of(home).send[t];
        }
        if (bounded_) {
            hold(v, from, -1);
            hold(v, to, 1);
            if (p_.working_set[v] == largest_[from]) largest_[from] = largest(from);
            largest_[to] = std::max(largest_[to], p_.working_set[v]);
        }
    }

    [[nodiscard]] Picoseconds load(std::size_t d) const {
        const auto compute = work_[d] + (bounded_ ? of(d).overflow(held(d)) : 0);
        if (p_.overlap) return std::max({compute, in_[d], out_[d]});
        return compute + in_[d] + out_[d];
    }

    /// Bytes above the limit of the device.
    [[nodiscard]] Bytes excess(std::size_t d) const {
        return bounded_ ? std::max<Bytes>(0, held(d) - of(d).limit) : 0;
    }

   private:
    const Placement& p_;
    bool bounded_ = false;
    std::vector<std::int32_t> type_, at_;
    std::vector<std::vector<std::size_t>> makes_, reads_;  // tensors per node
    std::vector<Picoseconds> work_, in_, out_;             // per device
    std::vector<std::int32_t> readers_;                    // per tensor and device
    std::vector<std::int32_t> outside_;                    // per tensor: readers on other devices
    std::vector<std::int32_t> users_;                      // per parameter and device
    std::vector<Bytes> params_, largest_;                  // per device

    [[nodiscard]] std::size_t device(std::size_t v) const {
        return static_cast<std::size_t>(at_[v]);
    }
    [[nodiscard]] const StageType& of(std::size_t d) const {
        return p_.types[static_cast<std::size_t>(type_[d])];
    }
    [[nodiscard]] Bytes held(std::size_t d) const { return params_[d] + largest_[d]; }

    [[nodiscard]] Bytes largest(std::size_t d) const {
        Bytes most = 0;
        for (std::size_t v = 0; v < at_.size(); ++v)
            if (device(v) == d) most = std::max(most, p_.working_set[v]);
        return most;
    }

    void hold(std::size_t v, std::size_t d, int change) {
        if (!bounded_) return;
        for (const auto q : p_.params_of[static_cast<std::int32_t>(v)]) {
            const auto param = static_cast<std::size_t>(q);
            auto& users = users_[param * devices() + d];
            if (users == 0 || users + change == 0) params_[d] += change * p_.param_bytes[param];
            users += change;
        }
    }

    /// Charges every device for a tensor, or takes that back, and counts the readers outside.
    void pay_all(std::size_t t, int sign) {
        const auto home = device(static_cast<std::size_t>(p_.producer[t]));
        const auto count = devices();
        std::int32_t outside = 0;
        for (std::size_t d = 0; d < count; ++d) {
            if (d == home || readers_[t * count + d] == 0) continue;
            outside += readers_[t * count + d];
            in_[d] += sign * of(d).receive[t];
        }
        if (outside > 0) out_[home] += sign * of(home).send[t];
        outside_[t] = outside;
    }
};

class Annealing {
   public:
    Annealing(const Placement& p, const SharingSearch& search, Stop& stop)
        : p_(p), search_(search), stop_(stop), loads_(p, search.counts), random_(search.seed) {}

    SharingResult run() {
        auto start = search_.start.empty() ? greedy() : search_.start;
        for (std::size_t v = 0; v < start.size(); ++v)
            if (!loads_.can(v, static_cast<std::size_t>(start[v])))
                throw std::invalid_argument("sharing: a device that can run the node expected");
        loads_.assign(std::move(start));
        keep();
        for (std::int32_t r = 0; r < search_.rounds && loads_.devices() > 1 && !done(); ++r) {
            loads_.assign(best_.device);
            cool();
        }
        return best_;
    }

   private:
    const Placement& p_;
    const SharingSearch& search_;
    Stop& stop_;
    Loads loads_;
    Random random_;
    SharingResult best_;
    double scale_ = 1;                                        // the best value
    std::vector<double> energy_, now_;                        // per device
    std::vector<std::pair<std::size_t, std::size_t>> moved_;  // nodes and where they are
    std::vector<std::uint32_t> seen_;
    std::uint32_t epoch_ = 0;

    [[nodiscard]] bool reached() const { return best_.fits && best_.value <= search_.floor; }
    bool done() { return reached() || stop_.now(); }
    double uniform() { return static_cast<double>(random_.next() >> 11U) * 0x1p-53; }
    std::size_t draw(std::size_t count) { return random_.below(static_cast<std::uint32_t>(count)); }

    /// Heaviest nodes first, each where the device ends up least busy by work alone.
    std::vector<std::int32_t> greedy() {
        const auto n = static_cast<std::size_t>(p_.n);
        std::vector<std::size_t> order(n);
        std::iota(order.begin(), order.end(), 0);
        const auto least = [&](std::size_t v) {
            Picoseconds found = std::numeric_limits<Picoseconds>::max();
            for (const auto& type : p_.types)
                if (type.work[v] >= 0) found = std::min(found, type.work[v]);
            return found;
        };
        std::stable_sort(order.begin(), order.end(),
                         [&](std::size_t a, std::size_t b) { return least(a) > least(b); });
        std::vector<Picoseconds> busy(loads_.devices(), 0);
        std::vector<std::int32_t> at(n, -1), type;
        for (std::size_t q = 0; q < search_.counts.size(); ++q)
            type.insert(type.end(), static_cast<std::size_t>(search_.counts[q]),
                        static_cast<std::int32_t>(q));
        for (const auto v : order) {
            for (std::size_t d = 0; d < busy.size(); ++d) {
                const auto work = p_.types[static_cast<std::size_t>(type[d])].work[v];
                if (work < 0) continue;
                const auto home = static_cast<std::size_t>(std::max(at[v], 0));
                const auto rival = p_.types[static_cast<std::size_t>(type[home])].work[v];
                if (at[v] < 0 || busy[d] + work < busy[home] + rival)
                    at[v] = static_cast<std::int32_t>(d);
            }
            if (at[v] < 0) throw std::invalid_argument("sharing: no device can run a node");
            const auto home = static_cast<std::size_t>(at[v]);
            busy[home] += p_.types[static_cast<std::size_t>(type[home])].work[v];
        }
        return at;
    }

    /// Takes the assignment if it is the best so far; one that fits is better than any that does not.
    void keep() {
        Picoseconds value = 0;
        Bytes excess = 0;
        for (std::size_t d = 0; d < loads_.devices(); ++d) {
            value = std::max(value, loads_.load(d));
            excess += loads_.excess(d);
        }
        const bool fits = excess == 0;
        if (!best_.device.empty() && (fits != best_.fits ? !fits : value >= best_.value)) return;
        best_ = {fits, value, loads_.at()};
        scale_ = std::max(1.0, static_cast<double>(value));
        energy_.resize(loads_.devices());
    }

    double energy(std::size_t d) const {
        const auto excess = loads_.excess(d);
        const double load = static_cast<double>(loads_.load(d)) / scale_;
        // Whatever does not fit is worse than the whole load on one device more.
        return twelfth_power(load) + (excess > 0 ? 1e3 + std::log2(1.0 + excess) * 10 : 0.0);
    }

    void cool() {
        for (std::size_t d = 0; d < energy_.size(); ++d) energy_[d] = energy(d);
        const double step = std::pow(kCold / kHot, 1.0 / static_cast<double>(search_.proposals));
        double heat = kHot;
        for (std::int64_t i = 0; i < search_.proposals && !stop_() && !reached();
             ++i, heat *= step) {
            const auto v = pick();
            const auto to = target(v);
            const auto from = static_cast<std::size_t>(loads_.at()[v]);
            if (to == from || !loads_.can(v, to)) continue;
            moved_.clear();
            const auto kind = random_.next() & 3U;
            if (kind == 0) {
                gather(v, std::size_t{2} << draw(kLargest));
            } else {
                moved_.emplace_back(v, from);
            }
            if (kind == 1) {  // another node of that device comes back
                const auto back = draw(static_cast<std::size_t>(p_.n));
                if (loads_.at()[back] != static_cast<std::int32_t>(to) || !loads_.can(back, from))
                    continue;
                moved_.emplace_back(back, to);
            }
            propose(from, to, heat);
        }
    }

    /// Takes a node and those around it on its device, at most so many.
    void gather(std::size_t v, std::size_t most) {
        const auto from = loads_.at()[v];
        seen_.resize(static_cast<std::size_t>(p_.n), 0);
        ++epoch_;
        const auto add = [&](std::int32_t node) {
            const auto w = static_cast<std::size_t>(node);
            if (moved_.size() >= most || seen_[w] == epoch_ || loads_.at()[w] != from) return;
            seen_[w] = epoch_;
            moved_.emplace_back(w, static_cast<std::size_t>(from));
        };
        add(static_cast<std::int32_t>(v));
        for (std::size_t i = 0; i < moved_.size() && moved_.size() < most; ++i) {
            const auto w = moved_[i].first;
            const auto &makes = loads_.makes(w), &reads = loads_.reads(w);
            const auto total = makes.size() + reads.size(), first = total > 0 ? draw(total) : 0;
            for (std::size_t j = 0; j < total; ++j) {
                const auto k = (first + j) % total;
                const auto t = k < makes.size() ? makes[k] : reads[k - makes.size()];
                add(p_.producer[t]);
                for (const auto reader : p_.consumers[static_cast<std::int32_t>(t)]) add(reader);
            }
        }
    }

    /// Moves what is to move between two devices, and back again if that is not accepted.
    void propose(std::size_t from, std::size_t to, double heat) {
        for (const auto& [v, home] : moved_)
            if (!loads_.can(v, home == from ? to : from)) return;
        stop_.spend(static_cast<std::int64_t>(20 * (loads_.devices() + moved_.size())));
        for (const auto& [v, home] : moved_) loads_.move(v, home == from ? to : from);
        double change = 0;
        now_.resize(energy_.size());
        for (std::size_t d = 0; d < energy_.size(); ++d) {
            now_[d] = energy(d);
            change += now_[d] - energy_[d];
        }
        if (change > 0 && uniform() >= std::exp(-change / heat)) {
            for (const auto& [v, home] : moved_) loads_.move(v, home);
            return;
        }
        energy_.swap(now_);
        if (const auto before = scale_; keep_if_better(), scale_ != before)
            for (std::size_t d = 0; d < energy_.size(); ++d) energy_[d] = energy(d);
    }

    void keep_if_better() {
        const double most = *std::max_element(energy_.begin(), energy_.end());
        if (most < 1.0 || !best_.fits) keep();
    }

    /// A node; half of the time one of the busiest device.
    std::size_t pick() {
        const auto n = static_cast<std::size_t>(p_.n);
        auto v = draw(n);
        if ((random_.next() & 1U) == 0) return v;
        const auto busiest = std::max_element(energy_.begin(), energy_.end()) - energy_.begin();
        for (int i = 0; i < kTries && loads_.at()[v] != busiest; ++i) v = draw(n);
        return v;
    }

    /// A device; half of the time that of a node which shares a tensor.
    std::size_t target(std::size_t v) {
        const auto &makes = loads_.makes(v), &reads = loads_.reads(v);
        const auto total = makes.size() + reads.size();
        if (total == 0 || (random_.next() & 1U) == 0) return draw(loads_.devices());
        const auto i = draw(total);
        const auto t = i < makes.size() ? makes[i] : reads[i - makes.size()];
        const auto row = p_.consumers[static_cast<std::int32_t>(t)];
        const auto j = draw(static_cast<std::size_t>(row.size()) + 1);
        const auto other = j == 0 ? p_.producer[t] : row[j - 1];
        return static_cast<std::size_t>(loads_.at()[static_cast<std::size_t>(other)]);
    }
};

}  // namespace

SharingResult share_devices(const Placement& placement, const SharingSearch& search, Stop& stop) {
    check_placement(placement);
    if (search.counts.size() != placement.types.size() ||
        std::any_of(search.counts.begin(), search.counts.end(), [](auto c) { return c < 0; }) ||
        std::accumulate(search.counts.begin(), search.counts.end(), std::int64_t{0}) < 1)
        throw std::invalid_argument("sharing: a number of devices per type expected");
    const auto devices = std::accumulate(search.counts.begin(), search.counts.end(), 0);
    if (!search.start.empty()) {
        if (search.start.size() != static_cast<std::size_t>(placement.n) ||
            std::any_of(search.start.begin(), search.start.end(),
                        [&](auto d) { return d < 0 || d >= devices; }))
            throw std::invalid_argument("sharing: a device per node expected");
    }
    return Annealing(placement, search, stop).run();
}

}  // namespace stagewright
