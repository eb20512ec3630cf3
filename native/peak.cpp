// SPDX-License-Identifier: Apache-2.0
#include "peak.hpp"

#include <algorithm>
#include <limits>

namespace stagewright {

namespace {

constexpr std::size_t kMostRemembered = 4'000'000;
// Work per state of a search, see Stop::spend.
constexpr std::int64_t kState = 500, kPerNode = 8;

}  // namespace

TensorUses::TensorUses(Node nodes, std::vector<Node> producer_of, std::vector<Bytes> bytes_of,
                       Ragged consumers_of)
    : n(nodes),
      producer(std::move(producer_of)),
      bytes(std::move(bytes_of)),
      consumers(std::move(consumers_of)) {
    if (bytes.size() != producer.size() ||
        consumers.size() != static_cast<std::int32_t>(producer.size()))
        throw std::invalid_argument("tensor flow: producer, bytes and consumers differ in length");
    for (const auto* row : {&producer, &consumers.values})
        for (const auto v : *row)
            if (v < 0 || v >= n) throw std::invalid_argument("tensor flow: unknown node");
    reads = consumers.transposed(n);
    Ragged producers;
    for (const auto p : producer) {
        producers.values.push_back(p);
        producers.offsets.push_back(static_cast<std::int64_t>(producers.values.size()));
    }
    writes = producers.transposed(n);
}

PeakSearch::PeakSearch(const TensorUses& flow) : flow_(flow) {
    const auto nodes = static_cast<std::size_t>(flow.n);
    const auto tensors = flow.producer.size();
    source_.assign(nodes, 0);
    for (Node v = 0; v < flow.n; ++v) {
        const auto outputs = flow.writes[v];
        source_[v] = flow.reads[v].empty() &&
                     std::all_of(outputs.begin(), outputs.end(),
                                 [&](Tensor t) { return !flow.consumers[t].empty(); });
    }
    local_.assign(nodes, -1);
    out_.assign(nodes, 0);
    kept_.assign(nodes, 0);
    waits_.assign(nodes, 0);
    missing_.assign(nodes, 0);
    readers_.assign(tensors, 0);
    left_.assign(tensors, 0);
    stays_.assign(tensors, 0);
}

void PeakSearch::open_stage(std::span<const Node> stage) {
    stage_ = stage;
    for (std::size_t i = 0; i < stage.size(); ++i) local_[stage[i]] = static_cast<std::int32_t>(i);
    received_.clear();
    received_bytes_ = 0;
    others_ = 0;
    for (const auto v : stage) {
        others_ += source_[v] ? 0 : 1;
        out_[v] = kept_[v] = 0;
        for (const auto t : flow_.writes[v]) {
            const auto users = flow_.consumers[t];
            std::int32_t here = 0;
            for (const auto u : users) here += inside(u) ? 1 : 0;
            readers_[t] = here;
            stays_[t] = here < static_cast<std::int32_t>(users.size());
            out_[v] += flow_.bytes[t];
            if (!users.empty()) kept_[v] += flow_.bytes[t];
        }
        waits_[v] = 0;
        for (const auto t : flow_.reads[v]) {
            const auto p = flow_.producer[t];
            if (inside(p)) {
                waits_[v] += source_[p] ? 0 : 1;
            } else if (readers_[t]++ == 0) {
                received_.push_back(t);
                received_bytes_ += flow_.bytes[t];
            }
        }
    }
    done_.assign((stage.size() + 63) / 64, 0);
}

void PeakSearch::close_stage() {
    for (const auto v : stage_) {
        local_[v] = -1;
        for (const auto t : flow_.writes[v]) readers_[t] = stays_[t] = 0;
    }
    for (const auto t : received_) readers_[t] = 0;
}

void PeakSearch::restore(std::int32_t state) {
    for (const auto t : received_) left_[t] = readers_[t];
    ready_.clear();
    for (const auto v : stage_) {
        missing_[v] = waits_[v];
        for (const auto t : flow_.writes[v]) left_[t] = readers_[t];
        if (waits_[v] == 0 && !source_[v]) ready_.push_back(v);
    }
    alive_ = received_bytes_;
    ran_ = 0;
    std::fill(done_.begin(), done_.end(), 0);
    const auto kept = trail_.size();
    std::vector<std::int32_t> chain;
    for (auto s = state; s >= 0; s = states_[s].parent) chain.push_back(s);
    for (auto it = chain.rbegin(); it != chain.rend(); ++it)
        for (auto i = states_[*it].trail_begin; i < states_[*it].trail_end; ++i) run(trail_[i]);
    trail_.resize(kept);
    live_state_ = state;
}

void PeakSearch::run(Node v) {
    done_[local_[v] >> 6] |= std::uint64_t{1} << (local_[v] & 63);
    trail_.push_back(v);
    alive_ += kept_[v];
    for (const auto t : flow_.reads[v])
        if (--left_[t] == 0 && !stays_[t]) alive_ -= flow_.bytes[t];
    if (source_[v]) return;
    ++ran_;
    ready_.erase(std::find(ready_.begin(), ready_.end(), v));
    for (const auto t : flow_.writes[v])
        for (const auto u : flow_.consumers[t])
            if (inside(u) && --missing_[u] == 0) ready_.push_back(u);
}

void PeakSearch::run_with_sources(Node v) {
    for (const auto t : flow_.reads[v]) {
        const auto p = flow_.producer[t];
        if (inside(p) && source_[p] && !has_run(p)) run(p);
    }
    run(v);
}

/// Bytes of the sources that have to run before v can; one that writes two inputs of v counts once.
Bytes PeakSearch::sources_of(Node v) const {
    Bytes bytes = 0;
    const auto reads = flow_.reads[v];
    for (std::size_t i = 0; i < reads.size(); ++i) {
        const auto p = flow_.producer[reads[i]];
        if (!source_[p] || !inside(p) || has_run(p)) continue;
        const auto before = reads.first(i);
        if (std::none_of(before.begin(), before.end(),
                         [&](Tensor s) { return flow_.producer[s] == p; }))
            bytes += out_[p];
    }
    return bytes;
}

/// By how much alive_ changes when v runs, its missing sources included.
Bytes PeakSearch::growth(Node v) const {
    auto bytes = kept_[v] + sources_of(v);
    for (const auto t : flow_.reads[v])
        if (left_[t] == 1 && !stays_[t]) bytes -= flow_.bytes[t];
    return bytes;
}

void PeakSearch::take_free_steps(Bytes bottleneck) {
    for (std::size_t i = 0; i < ready_.size();) {
        const auto v = ready_[i];
        if (growth(v) <= 0 && alive_ + sources_of(v) + out_[v] <= bottleneck) {
            run_with_sources(v);
            i = 0;  // what was too much may have become free
        } else {
            ++i;
        }
    }
}

bool PeakSearch::is_new_state() {
    std::uint64_t hash = 0;
    for (const auto word : done_) hash = (hash ^ word) * 0x9E3779B97F4A7C15ULL + (hash >> 29U);
    const auto [begin, end] = table_.equal_range(hash);
    for (auto it = begin; it != end; ++it)
        if (std::equal(
                done_.begin(), done_.end(),
                state_bits_.begin() + it->second * static_cast<std::ptrdiff_t>(done_.size())))
            return false;
    table_.emplace(hash, static_cast<std::int32_t>(states_.size()));
    return true;
}

void PeakSearch::add_state(std::int32_t parent, std::size_t trail_begin) {
    live_state_ = static_cast<std::int32_t>(states_.size());
    states_.push_back({parent, trail_begin, trail_.size()});
    state_bits_.insert(state_bits_.end(), done_.begin(), done_.end());
}

bool PeakSearch::later(const Entry& a, const Entry& b) {
    if (a.bottleneck != b.bottleneck) return a.bottleneck > b.bottleneck;
    if (a.depth != b.depth) return a.depth < b.depth;
    if (a.growth != b.growth) return a.growth > b.growth;
    return a.v > b.v;
}

void PeakSearch::push_choices(Bytes bottleneck) {
    for (const auto v : ready_) {
        const auto price = std::max(bottleneck, alive_ + sources_of(v) + out_[v]);
        heap_.push_back({price, ran_, growth(v), live_state_, v});
        std::push_heap(heap_.begin(), heap_.end(), later);
    }
}

/// Goes on from a state, by the node that takes least or by the one that was ready last; returns the peak, or more than
/// `most`.  What was run is the end of the trail.
Bytes PeakSearch::finish(std::int32_t state, bool by_price, Bytes bottleneck, Bytes most,
                         Stop& stop) {
    restore(state);
    if (!by_price)
        std::reverse(ready_.begin(), ready_.end());  // the first of the stage comes first
    while (ran_ < others_) {
        stop.spend(kState);
        if (stop()) return std::numeric_limits<Bytes>::max();
        if (by_price) take_free_steps(bottleneck);
        if (ran_ == others_) break;
        const auto price = [&](Node v) {
            return std::max(bottleneck, alive_ + sources_of(v) + out_[v]);
        };
        auto next = ready_.back();
        if (by_price)
            next = *std::min_element(ready_.begin(), ready_.end(), [&](Node a, Node b) {
                const auto x = price(a), y = price(b);
                if (x != y) return x < y;
                const auto grows = growth(a), other = growth(b);
                return grows < other || (grows == other && a < b);
            });
        bottleneck = price(next);
        if (bottleneck > most) return bottleneck;
        run_with_sources(next);
    }
    for (const auto v : stage_)
        if (source_[v] && !has_run(v)) run(v);
    return bottleneck;
}

PeakSearch::Result PeakSearch::search(std::span<const Node> stage, Bytes enough, Bytes most,
                                      std::int64_t max_states, Stop& stop) {
    Result result;
    open_stage(stage);
    // All tensors that leave are alive at the end, all that are received at the start, and what a node reads and writes
    // while it runs.
    Bytes leaving = 0;
    Bytes largest = 0;
    for (const auto v : stage) {
        auto own = out_[v];
        for (const auto t : flow_.reads[v]) own += flow_.bytes[t];
        largest = std::max(largest, own);
        for (const auto t : flow_.writes[v]) leaving += stays_[t] ? flow_.bytes[t] : 0;
    }
    auto bottleneck = std::max({enough, leaving, received_bytes_, largest});
    states_.clear();
    state_bits_.clear();
    table_.clear();
    heap_.clear();
    trail_.clear();
    restore(-1);
    auto parent = std::int32_t{-1};
    std::size_t trail_begin = 0;
    while (bottleneck <= most) {
        take_free_steps(bottleneck);
        if (ran_ == others_) {
            for (const auto v : stage)
                if (source_[v] && !has_run(v)) run(v);
            add_state(parent, trail_begin);
            result.answer = Answer::yes;
            break;
        }
        if (is_new_state()) {
            add_state(parent, trail_begin);
            push_choices(bottleneck);
        }
        if (static_cast<std::int64_t>(states_.size()) >= max_states) break;
        stop.spend(kState + kPerNode * static_cast<std::int64_t>(stage.size()));
        if (stop()) break;
        if (heap_.empty()) break;  // cannot be: a state that is not full has a node that is ready
        std::pop_heap(heap_.begin(), heap_.end(), later);
        const auto next = heap_.back();
        heap_.pop_back();
        bottleneck = std::max(bottleneck, next.bottleneck);
        if (bottleneck > most) break;
        if (next.state != live_state_) restore(next.state);
        parent = next.state;
        trail_begin = trail_.size();
        run_with_sources(next.v);
        live_state_ = -2;  // between states
    }
    if (bottleneck > most) result.answer = Answer::no;
    result.lower = bottleneck;
    bool found = result.answer == Answer::yes;
    if (result.answer == Answer::unknown && !states_.empty()) {
        const auto last = static_cast<std::int32_t>(states_.size()) - 1;
        const auto begin = trail_.size();
        const auto near = finish(last, true, bottleneck, most, stop);
        trail_.resize(begin);
        const auto deep = finish(-1, false, bottleneck, most, stop);
        trail_.resize(begin);
        const auto peak = std::min(near, deep);
        found = peak <= most && peak < std::numeric_limits<Bytes>::max();
        if (found) {
            const auto from = near <= deep ? last : -1;
            finish(from, near <= deep, bottleneck, most, stop);
            add_state(from, begin);
            if (peak == bottleneck) result.answer = Answer::yes;
        }
    }
    if (found) {
        std::vector<std::int32_t> chain;
        for (auto s = live_state_; s >= 0; s = states_[s].parent) chain.push_back(s);
        for (auto it = chain.rbegin(); it != chain.rend(); ++it)
            result.order.insert(
                result.order.end(),
                trail_.begin() + static_cast<std::ptrdiff_t>(states_[*it].trail_begin),
                trail_.begin() + static_cast<std::ptrdiff_t>(states_[*it].trail_end));
    }
    close_stage();
    return result;
}

Answer BlockPeaks::fits(std::int32_t from, std::int32_t to, const std::uint64_t* lower,
                        const std::uint64_t* upper, Bytes most, Stop& stop) {
    if (most < 0) return Answer::no;
    if (known_.size() > kMostRemembered) known_.clear();
    constexpr auto kMax = std::numeric_limits<Bytes>::max();
    const auto key = static_cast<std::uint64_t>(from) << 32U | static_cast<std::uint32_t>(to);
    auto& known = known_.try_emplace(key, Known{-1, kMax, kMax, -1}).first->second;
    if (most <= known.fails) return Answer::no;
    if (most >= known.fits) return Answer::yes;
    if (most >= known.unknown_from && most <= known.unknown_to) return Answer::unknown;
    stage_.clear();
    for (std::int32_t c = 0; c < members_.size(); ++c)
        if (((upper[c >> 6] & ~lower[c >> 6]) >> (c & 63)) & 1U)
            stage_.insert(stage_.end(), members_[c].begin(), members_[c].end());
    ++searches_;
    const auto result = search_.search(stage_, most, most, max_states_, stop);
    if (result.answer == Answer::yes) known.fits = most;
    if (result.answer == Answer::no) known.fails = result.lower - 1;
    if (result.answer == Answer::unknown && !stop.now()) {
        known.unknown_from = std::min(known.unknown_from, most);
        known.unknown_to = std::max(known.unknown_to, most);
    }
    return result.answer;
}

}  // namespace stagewright
