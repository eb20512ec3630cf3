// SPDX-License-Identifier: Apache-2.0
#include "placement_merges.hpp"

#include <algorithm>
#include <functional>
#include <map>
#include <numeric>
#include <queue>
#include <stdexcept>
#include <utility>

namespace stagewright {
namespace {

using Rows = std::vector<std::vector<std::int32_t>>;
using Prices = std::vector<std::vector<Picoseconds>>;  // per type

class Merging {
   public:
    Merging(const Placement& p, const Ragged& after)
        : overlap_(p.overlap), producer_(p.producer), label_(static_cast<std::size_t>(p.n)) {
        std::iota(label_.begin(), label_.end(), 0);
        for (const auto& type : p.types) {
            work_.push_back(type.work);
            receive_.push_back(type.receive);
            send_.push_back(type.send);
        }
        for (std::int32_t t = 0; t < static_cast<std::int32_t>(producer_.size()); ++t)
            users_.emplace_back(p.consumers[t].begin(), p.consumers[t].end());
        for (std::int32_t v = 0; v < p.n; ++v) {
            after_.emplace_back(after[v].begin(), after[v].end());
            for (const auto w : after_.back())
                if (w <= v || w >= p.n) throw std::invalid_argument("merges: no topological order");
            light_.push_back(p.working_set[static_cast<std::size_t>(v)] == 0 &&
                             p.params_of[v].empty());
        }
    }

    std::vector<std::int32_t> run() {
        while (round()) {
        }
        return label_;
    }

   private:
    bool overlap_;
    std::vector<Node> producer_;
    Rows users_, after_, before_, tensors_;  // tensors_: per node those that it makes or reads
    Prices work_, receive_, send_;
    std::vector<char> light_;  // holds nothing
    std::vector<std::int32_t> label_;
    std::vector<std::int32_t> seen_;
    std::int32_t epoch_ = 0;

    [[nodiscard]] std::size_t size() const { return after_.size(); }

    /// Merges pairs, no node in two of them: each is safe after the others.
    bool round() {
        list();
        std::vector<std::int32_t> home(size());
        std::iota(home.begin(), home.end(), 0);
        std::vector<char> taken(size(), 0);
        bool any = false;
        const auto attempt = [&](std::size_t u, const Rows& rows, bool forward) {
            const auto& row = rows[u];
            if (row.empty() || taken[u]) return;
            // In topological order only the nearest one may reach all.
            const auto x = static_cast<std::size_t>(forward ? row.front() : row.back());
            if (taken[x] || !safe(u, x) || !reaches(x, row, rows, forward)) return;
            taken[u] = taken[x] = 1;
            home[u] = static_cast<std::int32_t>(x);
            any = true;
        };
        for (std::size_t u = 0; u < size(); ++u) {
            attempt(u, after_, true);
            attempt(u, before_, false);
        }
        if (any) contract(home);
        return any;
    }

    void list() {
        before_.assign(size(), {});
        tensors_.assign(size(), {});
        for (std::size_t v = 0; v < size(); ++v)
            for (const auto w : after_[v]) before_[w].push_back(static_cast<std::int32_t>(v));
        for (std::size_t t = 0; t < producer_.size(); ++t) {
            tensors_[producer_[t]].push_back(static_cast<std::int32_t>(t));
            for (const auto v : users_[t]) tensors_[v].push_back(static_cast<std::int32_t>(t));
        }
    }

    /// Whether all of `wanted` can be reached from x along `rows`.
    bool reaches(std::size_t x, const std::vector<std::int32_t>& wanted, const Rows& rows,
                 bool forward) {
        if (wanted.size() == 1) return true;
        const auto furthest = forward ? wanted.back() : wanted.front();
        seen_.resize(size(), 0);
        ++epoch_;
        std::vector<std::size_t> stack{x};
        seen_[x] = epoch_;
        while (!stack.empty()) {
            const auto v = stack.back();
            stack.pop_back();
            for (const auto w : rows[v]) {
                if (seen_[w] == epoch_ || (forward ? w > furthest : w < furthest)) continue;
                seen_[w] = epoch_;
                stack.push_back(static_cast<std::size_t>(w));
            }
        }
        return std::all_of(wanted.begin(), wanted.end(),
                           [&](auto w) { return seen_[w] == epoch_; });
    }

    /// Whether u may move to the block of x on every type.
    [[nodiscard]] bool safe(std::size_t u, std::size_t x) const {
        if (!light_[u]) return false;
        const auto here = static_cast<std::int32_t>(u), there = static_cast<std::int32_t>(x);
        for (std::size_t q = 0; q < work_.size(); ++q) {
            Picoseconds saved = 0, paid = 0, sent = 0;
            for (const auto t : tensors_[u]) {
                const auto& users = users_[t];
                const bool with =
                    producer_[t] == there || std::binary_search(users.begin(), users.end(), there);
                const auto receive = receive_[q][t], send = send_[q][t];
                if (!with) {
                    if (overlap_) return false;
                    paid += std::max(receive, send);
                } else if (users.size() == 1) {  // between the two alone
                    saved += std::min(receive, send);
                } else if (producer_[t] == here) {
                    if (overlap_) return false;
                    sent += std::max<Picoseconds>(0, send - receive);
                }
            }
            const auto of_u = work_[q][u], of_x = work_[q][x];
            if (of_x >= 0 && (of_u < 0 || of_u + paid + sent > (overlap_ ? 0 : saved)))
                return false;
            if (of_u >= 0 && paid > saved) return false;
        }
        return true;
    }

    /// Unites every node with its home, and tensors of the same ends.
    void contract(const std::vector<std::int32_t>& home) {
        const auto number = numbered(home);
        const auto count =
            static_cast<std::size_t>(*std::max_element(number.begin(), number.end()) + 1);
        Rows after(count);
        Prices work(work_.size(), std::vector<Picoseconds>(count, 0));
        std::vector<char> light(count, 1);
        for (std::size_t v = 0; v < size(); ++v) {
            const auto to = static_cast<std::size_t>(number[v]);
            for (const auto w : after_[v])
                if (number[w] != number[v]) after[to].push_back(number[w]);
            for (std::size_t q = 0; q < work.size(); ++q)
                work[q][to] = work[q][to] < 0 || work_[q][v] < 0 ? -1 : work[q][to] + work_[q][v];
            light[to] = light[to] != 0 && light_[v] != 0;
        }
        for (auto& row : after) tidy(row);
        std::map<std::pair<Node, std::vector<std::int32_t>>, std::size_t> place;
        std::vector<Node> producer;
        Rows users;
        Prices receive(work_.size()), send(work_.size());
        for (std::size_t t = 0; t < producer_.size(); ++t) {
            const auto made = number[producer_[t]];
            std::vector<std::int32_t> outside;
            for (const auto v : users_[t])
                if (number[v] != made) outside.push_back(number[v]);
            if (outside.empty()) continue;
            tidy(outside);
            const auto [slot, fresh] = place.try_emplace({made, outside}, producer.size());
            if (fresh) {
                producer.push_back(made);
                users.push_back(std::move(outside));
                for (std::size_t q = 0; q < work_.size(); ++q) {
                    receive[q].push_back(0);
                    send[q].push_back(0);
                }
            }
            for (std::size_t q = 0; q < work_.size(); ++q) {
                receive[q][slot->second] += receive_[q][t];
                send[q][slot->second] += send_[q][t];
            }
        }
        for (auto& own : label_) own = number[own];
        after_ = std::move(after);
        work_ = std::move(work);
        light_ = std::move(light);
        producer_ = std::move(producer);
        users_ = std::move(users);
        receive_ = std::move(receive);
        send_ = std::move(send);
    }

    static void tidy(std::vector<std::int32_t>& row) {
        std::sort(row.begin(), row.end());
        row.erase(std::unique(row.begin(), row.end()), row.end());
    }

    /// Numbers what is united, in a topological order that keeps to the numbers where it can.
    [[nodiscard]] std::vector<std::int32_t> numbered(const std::vector<std::int32_t>& home) const {
        Rows rows(size());
        std::vector<std::int32_t> waiting(size(), 0), number(size(), -1);
        for (std::size_t v = 0; v < size(); ++v)
            for (const auto w : after_[v])
                if (home[w] != home[v]) {
                    rows[home[v]].push_back(home[w]);
                    ++waiting[home[w]];
                }
        std::priority_queue<std::int32_t, std::vector<std::int32_t>, std::greater<>> ready;
        for (std::size_t v = 0; v < size(); ++v)
            if (home[v] == static_cast<std::int32_t>(v) && waiting[v] == 0)
                ready.push(static_cast<std::int32_t>(v));
        std::int32_t next = 0;
        while (!ready.empty()) {
            const auto v = ready.top();
            ready.pop();
            number[v] = next++;
            for (const auto w : rows[v])
                if (--waiting[w] == 0) ready.push(w);
        }
        for (std::size_t v = 0; v < size(); ++v) number[v] = number[home[v]];
        if (std::find(number.begin(), number.end(), -1) != number.end())
            throw std::logic_error("merges: a cycle");
        return number;
    }
};

}  // namespace

std::vector<std::int32_t> merge_placement(const Placement& placement, const Ragged& after) {
    check_placement(placement);
    if (after.size() != placement.n)
        throw std::invalid_argument("merges: one row of successors per node expected");
    return Merging(placement, after).run();
}

}  // namespace stagewright
