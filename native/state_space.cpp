// SPDX-License-Identifier: Apache-2.0
#include "state_space.hpp"

#include <algorithm>
#include <limits>

namespace stagewright {

namespace {

constexpr int kCutsPerArc = 8;

/// scale * rise / run, at least 1 and at most `limit`.
std::int64_t slope_of(std::int64_t scale, Picoseconds rise, Picoseconds run, std::int64_t limit) {
    __extension__ using Wide = __int128;
    const auto slope = static_cast<Wide>(scale) * rise / run;
    return static_cast<std::int64_t>(std::clamp<Wide>(slope, 1, limit));
}

}  // namespace

StateSpace::StateSpace(const Instance& g, const Closures& closures, BlockCut& cuts, Picoseconds top)
    : g_(g),
      closures_(closures),
      cuts_(cuts),
      words_(closures.words()),
      top_(top),
      threshold_(top),
      need_(words_),
      ban_(words_) {
    const std::vector<Word> none(words_, 0);
    auto all = none;
    for (Node v = 0; v < g.n; ++v) insert(all.data(), v);
    add_state(none.data(), all.data());
    add_state(all.data(), none.data());
    const auto any = add_state(none.data(), none.data());
    const auto connect = [&](std::int32_t from, std::int32_t to) {
        StateArc arc;
        arc.from = from;
        arc.to = to;
        arc.forced = forced_amount(from, to);
        for (const auto amount : cuts_.amounts()) arc.roof += amount;
        add_arc(arc);
    };
    connect(kEmpty, any);
    connect(any, any);
    connect(any, kFull);
    connect(kEmpty, kFull);
}

std::int64_t StateSpace::bytes() const {
    return static_cast<std::int64_t>(arcs_.size() * (sizeof(StateArc) + 16) +
                                     lines_.size() * (sizeof(Line) + 8 * words_) +
                                     low_.size() * (16 * words_ + 64));
}

std::int32_t StateSpace::add_state(const Word* inside, const Word* outside) {
    Picoseconds low = 0;
    Picoseconds high = 0;
    for (Node v = 0; v < g_.n; ++v) {
        if (contains(inside, v)) low += cuts_.amounts()[v];
        if (!contains(outside, v)) high += cuts_.amounts()[v];
    }
    inside_.insert(inside_.end(), inside, inside + words_);
    outside_.insert(outside_.end(), outside, outside + words_);
    low_.push_back(low);
    high_.push_back(high);
    into_.emplace_back();
    from_.emplace_back();
    return states() - 1;
}

/// Adds the arc unless no block can lie on it.
void StateSpace::add_arc(StateArc arc) {
    if (meet(inside(arc.from), outside(arc.to), words_)) return;
    arc.tight = false;
    auto a = static_cast<std::int32_t>(arcs_.size());
    if (unused_.empty()) {
        arcs_.push_back(arc);
    } else {
        a = unused_.back();
        unused_.pop_back();
        arcs_[a] = arc;
    }
    arcs_[a].place = static_cast<std::int32_t>(into_[arc.to].size());
    into_[arc.to].push_back({a, arc.from, kVoid});
    from_[arc.from].push_back({a, arc.to, kVoid});
    ++alive_;
    refresh(a);
}

void StateSpace::remove(std::int32_t a) {
    if (!arcs_[a].alive) return;
    arcs_[a].alive = false;
    arcs_[a].most = arcs_[a].most_at_top = kVoid;
    into_[arcs_[a].to][arcs_[a].place].most = kVoid;
    --alive_;
}

void StateSpace::sweep() {
    const auto gone = [&](const Entry& e) { return !arcs_[e.arc].alive; };
    for (auto& row : from_) std::erase_if(row, gone);
    for (auto& row : into_) {
        for (const auto& e : row)
            if (gone(e)) unused_.push_back(e.arc);
        std::erase_if(row, gone);
        for (std::size_t i = 0; i < row.size(); ++i)
            arcs_[row[i].arc].place = static_cast<std::int32_t>(i);
    }
}

Picoseconds StateSpace::forced_amount(std::int32_t from, std::int32_t to) const {
    Picoseconds amount = 0;
    for (std::size_t i = 0; i < words_; ++i)
        each_node(inside(to)[i] & outside(from)[i], i,
                  [&](Node v) { amount += cuts_.amounts()[v]; });
    return amount;
}

/// The most that the line allows a block of cost <= threshold; < 0: there is no such block.
Picoseconds StateSpace::allowed(std::int32_t line, Picoseconds threshold) const {
    const auto spare = cuts_.scale() * threshold - lines_[line].value;
    if (spare < 0) return -1;
    return lines_[line].p == 0 ? std::numeric_limits<Picoseconds>::max() : spare / lines_[line].p;
}

void StateSpace::measure(StateArc& arc, Picoseconds threshold, Picoseconds& most) const {
    most = arc.roof;
    for (const auto line : {arc.below, arc.above, arc.lowest})
        if (line >= 0) most = std::min(most, allowed(line, threshold));
    if (most < arc.forced) most = kVoid;
}

void StateSpace::refresh(std::int32_t a) {
    auto& arc = arcs_[a];
    if (!arc.alive) return;
    measure(arc, top_, arc.most_at_top);
    if (arc.most_at_top < 0) {
        remove(a);
        return;
    }
    measure(arc, threshold_, arc.most);
    into_[arc.to][arc.place].most = arc.most;
}

void StateSpace::set_threshold(Picoseconds threshold) {
    threshold_ = threshold;
    for (std::size_t a = 0; a < arcs_.size(); ++a) {
        arcs_[a].tight = false;
        refresh(static_cast<std::int32_t>(a));
    }
}

std::int32_t StateSpace::add_line(std::int64_t p, const BlockCut::Minimum& minimum) {
    lines_.push_back({p, minimum.value, minimum.amount, minimum.cost});
    sets_.insert(sets_.end(), cuts_.set().begin(), cuts_.set().end());
    return static_cast<std::int32_t>(lines_.size()) - 1;
}

/// Is the set of the line one that the arc asked for in tighten() could have, and as good as the line says?
bool StateSpace::touches(std::int32_t line) const {
    if (line < 0 || cuts_.must_solve()) return false;
    const auto& [p, value, amount, cost] = lines_[line];
    // Where overflow counts, the line may lie below its set by more than was rounded off.
    if (cuts_.scale() * (cost - 1) - p * amount > value) return false;
    return subset(need_.data(), set_of(line), words_) && !meet(ban_.data(), set_of(line), words_);
}

void StateSpace::take(StateArc& arc, std::int32_t line) {
    (cost(line) <= threshold_ ? arc.below : arc.above) = line;
    if (arc.lowest < 0 || allowed(line, threshold_) <= allowed(arc.lowest, threshold_))
        arc.lowest = line;
}

/// Where to cut next: along the chord between the two sets, or further out while one is missing.
std::int64_t StateSpace::next_multiplier(const StateArc& arc) const {
    const auto q = cuts_.scale();
    const auto start = std::min(q + q / 2, cuts_.steepest());
    if (arc.below < 0) return arc.above < 0 ? start : 0;
    const auto& below = lines_[arc.below];
    if (arc.above < 0) return below.p == 0 ? start : std::min(2 * below.p, cuts_.steepest());
    const auto& above = lines_[arc.above];
    if (above.amount <= below.amount) return 0;
    return slope_of(q, above.cost - below.cost, above.amount - below.amount, cuts_.steepest());
}

// The bound is the minimum over p of (q T - M(p)) / p, M concave: where the lower hull of all (amount, cost)
// rises through T.  Keep one point of the hull on either side and cut along their chord; rounding the
// chord's slope costs tightness only.
bool StateSpace::tighten(std::int32_t a, Picoseconds enough, Stop& stop) {
    auto& arc = arcs_[a];
    if (arc.tight || !arc.alive) return false;
    arc.tight = true;
    for (std::size_t i = 0; i < words_; ++i) {
        need_[i] = inside(arc.to)[i] & outside(arc.from)[i];
        ban_[i] = inside(arc.from)[i] | outside(arc.to)[i];
    }
    cuts_.prepare(need_.data(), ban_.data());
    arc.roof = std::min(arc.roof, cuts_.most_amount());
    auto hull = arc;  // only lines that touch the arc's own hull
    for (auto* line : {&hull.below, &hull.above})
        if (!touches(*line)) *line = -1;
    // A line kept from another threshold may be on the other side now.
    if (hull.below >= 0 && cost(hull.below) > threshold_) {
        if (hull.above < 0) hull.above = hull.below;
        hull.below = -1;
    }
    if (hull.above >= 0 && cost(hull.above) <= threshold_) {
        if (hull.below < 0) hull.below = hull.above;
        hull.above = -1;
    }
    refresh(a);
    for (int i = 0; i < kCutsPerArc && arc.most > std::max<Picoseconds>(enough, -1); ++i) {
        if (hull.below >= 0 && lines_[hull.below].amount >= arc.most) break;
        const auto p = next_multiplier(hull);
        if ((hull.below >= 0 && lines_[hull.below].p == p) ||
            (hull.above >= 0 && lines_[hull.above].p == p))
            break;
        const auto minimum = cuts_.solve(p, stop);
        if (!minimum.finished) break;
        const auto line = add_line(p, minimum);
        const auto before = arc.most;
        take(hull, line);
        if (p == 0 && minimum.cost <= threshold_) continue;
        if (arc.lowest < 0 || allowed(line, threshold_) <= allowed(arc.lowest, threshold_))
            arc.lowest = line;
        refresh(a);
        if (hull.below >= 0 && hull.above >= 0 && before - arc.most <= threshold_ / 4096) break;
    }
    // Cut short: next time there may be more to gain.
    if (arc.most >= 0 && arc.most <= enough) arc.tight = false;
    if (hull.below >= 0) arc.below = hull.below;
    if (hull.above >= 0) arc.above = hull.above;
    refresh(a);
    return true;
}

StateSpace::Fluid StateSpace::fluid(std::int32_t a) const {
    const auto& arc = arcs_[a];
    Fluid result;
    if (arc.below >= 0) result.below = set_of(arc.below);
    if (arc.above >= 0) result.above = set_of(arc.above);
    if (arc.below < 0) result.share = 1;
    if (arc.below >= 0 && arc.above >= 0) {
        const auto lower = static_cast<double>(cost(arc.below));
        const auto upper = static_cast<double>(cost(arc.above));
        const auto share = (static_cast<double>(threshold_) - lower) / std::max(upper - lower, 1.0);
        result.share = std::clamp(share, 0.0, 1.0);
    }
    return result;
}

std::int32_t StateSpace::split(std::int32_t s, Node v) {
    const std::vector<Word> inside_before(inside(s), inside(s) + words_);
    const std::vector<Word> outside_before(outside(s), outside(s) + words_);
    const auto fresh = add_state(inside_before.data(), outside_before.data());
    std::vector<Word> came_in(words_), went_out(words_);
    for (std::size_t i = 0; i < words_; ++i) {
        came_in[i] = closures_.ancestors(v)[i] & ~inside_before[i];
        went_out[i] = closures_.descendants(v)[i] & ~outside_before[i];
        inside_[words_ * fresh + i] |= came_in[i];
        outside_[words_ * s + i] |= went_out[i];
        each_node(came_in[i], i, [&](Node u) { low_[fresh] += cuts_.amounts()[u]; });
        each_node(went_out[i], i, [&](Node u) { high_[s] -= cuts_.amounts()[u]; });
    }
    const auto amount_in = [&](const std::vector<Word>& a, const Word* b) {
        Picoseconds amount = 0;
        for (std::size_t i = 0; i < words_; ++i)
            each_node(a[i] & b[i], i, [&](Node u) { amount += cuts_.amounts()[u]; });
        return amount;
    };
    const auto narrowed = [&](std::int32_t a, Picoseconds forced) {
        auto& arc = arcs_[a];
        arc.tight = false;
        arc.forced = forced;
        if (meet(inside(arc.from), outside(arc.to), words_)) remove(a);
        refresh(a);
    };
    const auto into = into_[s];  // copied: the rows grow below
    const auto from = from_[s];
    for (const auto [a, other, most] : into) {
        auto copy = arcs_[a];
        if (!copy.alive) continue;
        copy.to = fresh;
        if (copy.from == s) {
            copy.forced = forced_amount(s, fresh);
            add_arc(copy);  // from the ideals without v to those with it
            copy.from = fresh;
            copy.forced = forced_amount(fresh, fresh);
            add_arc(copy);
        } else {
            copy.forced += amount_in(came_in, outside(copy.from));
            add_arc(copy);
        }
        narrowed(a, copy.from == fresh ? forced_amount(s, s) : arcs_[a].forced);
    }
    for (const auto [a, other, most] : from) {
        auto copy = arcs_[a];
        if (!copy.alive || copy.to == s) continue;
        copy.from = fresh;
        add_arc(copy);
        narrowed(a, arcs_[a].forced + amount_in(went_out, inside(copy.to)));
    }
    return fresh;
}

}  // namespace stagewright
