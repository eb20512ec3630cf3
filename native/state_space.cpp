// SPDX-License-Identifier: Apache-2.0
#include "state_space.hpp"

#include <algorithm>

namespace stagewright {

namespace {

constexpr int kCutsPerArc = 8;

/// scale * rise / run, cut off at +-limit.
std::int64_t slope_of(std::int64_t scale, Picoseconds rise, Picoseconds run, std::int64_t limit) {
    __extension__ using Wide = __int128;
    const auto slope = static_cast<Wide>(scale) * rise / run;
    return static_cast<std::int64_t>(std::clamp<Wide>(slope, -limit, limit));
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
        arc.forced = forced_work(from, to);
        arc.roof = g.total_work;
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
        if (contains(inside, v)) low += g_.work[v];
        if (!contains(outside, v)) high += g_.work[v];
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
    into_[arc.to].push_back(a);
    from_[arc.from].push_back(a);
    ++alive_;
    refresh(a);
}

void StateSpace::remove(std::int32_t a) {
    if (!arcs_[a].alive) return;
    arcs_[a].alive = false;
    arcs_[a].most = arcs_[a].most_at_top = -1;
    --alive_;
}

void StateSpace::sweep() {
    for (const auto& row : into_)
        for (const auto a : row)
            if (!arcs_[a].alive) unused_.push_back(a);
    for (auto* rows : {&into_, &from_})
        for (auto& row : *rows) std::erase_if(row, [&](auto a) { return !arcs_[a].alive; });
}

Picoseconds StateSpace::forced_work(std::int32_t from, std::int32_t to) const {
    Picoseconds work = 0;
    for (std::size_t i = 0; i < words_; ++i)
        each_node(inside(to)[i] & outside(from)[i], i, [&](Node v) { work += g_.work[v]; });
    return work;
}

/// The most work that the line allows a block of cost <= threshold; -1: there is no such block.
Picoseconds StateSpace::allowed(std::int32_t line, Picoseconds threshold) const {
    const auto q = cuts_.scale();
    const auto spare = q * threshold - lines_[line].value;
    if (spare < 0) return -1;
    return lines_[line].p == q ? g_.total_work : spare / (q - lines_[line].p);
}

void StateSpace::measure(StateArc& arc, Picoseconds threshold, Picoseconds& most) const {
    most = std::min(arc.roof, threshold);
    for (const auto line : {arc.below, arc.above, arc.lowest})
        if (line >= 0) most = std::min(most, allowed(line, threshold));
    if (most < arc.forced) most = -1;
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
}

void StateSpace::set_threshold(Picoseconds threshold) {
    threshold_ = threshold;
    for (std::size_t a = 0; a < arcs_.size(); ++a) {
        arcs_[a].tight = false;
        refresh(static_cast<std::int32_t>(a));
    }
}

std::int32_t StateSpace::add_line(std::int64_t p, const BlockCut::Minimum& minimum) {
    lines_.push_back({p, minimum.value, minimum.work, minimum.io});
    sets_.insert(sets_.end(), cuts_.set().begin(), cuts_.set().end());
    return static_cast<std::int32_t>(lines_.size()) - 1;
}

/// Is the set of the line one that the arc asked for in tighten() could have?
bool StateSpace::touches(std::int32_t line) const {
    return line >= 0 && subset(need_.data(), set_of(line), words_) &&
           !meet(ban_.data(), set_of(line), words_);
}

void StateSpace::take(StateArc& arc, std::int32_t line) {
    (cost(line) <= threshold_ ? arc.below : arc.above) = line;
    if (arc.lowest < 0 || allowed(line, threshold_) <= allowed(arc.lowest, threshold_))
        arc.lowest = line;
}

/// Where to cut next: on the chord between the two sets, or further out while one is missing.
std::int64_t StateSpace::next_multiplier(const StateArc& arc) const {
    const auto q = cuts_.scale();
    if (arc.below < 0) return arc.above < 0 ? -q / 2 : q;
    const auto& below = lines_[arc.below];
    if (arc.above < 0) {
        if (below.p >= q) return -q / 2;
        return std::max(-cuts_.steepest(), std::min(-q, 4 * below.p));
    }
    const auto& above = lines_[arc.above];
    if (above.work <= below.work) return q;
    const auto slope = slope_of(q, above.io - below.io, above.work - below.work, cuts_.steepest());
    return std::min(-slope, q - 1);
}

// The bound is the minimum over l < 1 of (T - g(l)) / (1 - l), g concave: the right end of the lower
// hull of all (work, io) where it meets work + io = T.  Keep one point of the hull on either side and
// cut along their chord; rounding the chord's slope costs tightness only.
bool StateSpace::tighten(std::int32_t a) {
    auto& arc = arcs_[a];
    if (arc.tight || !arc.alive) return false;
    arc.tight = true;
    for (std::size_t i = 0; i < words_; ++i) {
        need_[i] = inside(arc.to)[i] & outside(arc.from)[i];
        ban_[i] = inside(arc.from)[i] | outside(arc.to)[i];
    }
    const auto q = cuts_.scale();
    cuts_.prepare(need_.data(), ban_.data());
    arc.roof = std::min(arc.roof, cuts_.most_work());
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
    for (int i = 0; i < kCutsPerArc && arc.most >= 0; ++i) {
        if (hull.below >= 0 && lines_[hull.below].work >= arc.most) break;
        const auto p = next_multiplier(hull);
        if ((hull.below >= 0 && lines_[hull.below].p == p) || (hull.above >= 0 && lines_[hull.above].p == p))
            break;
        const auto minimum = cuts_.solve(p);
        const auto line = add_line(p, minimum);
        const auto before = arc.most;
        take(hull, line);
        if (p == q) {
            // The cheapest block of all: above the threshold, the arc is void there.
            if (minimum.value > q * threshold_) {
                arc.lowest = line;
                refresh(a);
                break;
            }
            continue;
        }
        if (arc.lowest < 0 || allowed(line, threshold_) <= allowed(arc.lowest, threshold_))
            arc.lowest = line;
        refresh(a);
        if (hull.below >= 0 && hull.above >= 0 && before - arc.most <= threshold_ / 4096) break;
    }
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
        each_node(came_in[i], i, [&](Node u) { low_[fresh] += g_.work[u]; });
        each_node(went_out[i], i, [&](Node u) { high_[s] -= g_.work[u]; });
    }
    const auto work_in = [&](const std::vector<Word>& a, const Word* b) {
        Picoseconds work = 0;
        for (std::size_t i = 0; i < words_; ++i)
            each_node(a[i] & b[i], i, [&](Node u) { work += g_.work[u]; });
        return work;
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
    for (const auto a : into) {
        auto copy = arcs_[a];
        if (!copy.alive) continue;
        copy.to = fresh;
        if (copy.from == s) {
            copy.forced = forced_work(s, fresh);
            add_arc(copy);  // from the ideals without v to those with it
            copy.from = fresh;
            copy.forced = forced_work(fresh, fresh);
            add_arc(copy);
        } else {
            copy.forced += work_in(came_in, outside(copy.from));
            add_arc(copy);
        }
        narrowed(a, copy.from == fresh ? forced_work(s, s) : arcs_[a].forced);
    }
    for (const auto a : from) {
        auto copy = arcs_[a];
        if (!copy.alive || copy.to == s) continue;
        copy.from = fresh;
        add_arc(copy);
        narrowed(a, arcs_[a].forced + work_in(went_out, inside(copy.to)));
    }
    return fresh;
}

}  // namespace stagewright
