// SPDX-License-Identifier: Apache-2.0
#include "must_link.hpp"

#include <algorithm>

#include "block_cut.hpp"

namespace stagewright {

namespace {

constexpr std::int64_t kPerArc = 40;  // work per node, tensor and cut, see Stop::spend

struct Question {
    Node in;          // S holds it
    Node partner;     // S lacks it; -1: no such demand
    const Word* out;  // and all of these
};

}  // namespace

MustLink must_link(const Instance& g, Picoseconds threshold, Stop& stop) {
    const Closures closures(g);
    const auto words = closures.words();
    const std::vector<Word> nothing(words, 0);
    std::vector<Question> open;
    for (Node v = 0; v < g.n; ++v) open.push_back({v, -1, nothing.data()});
    for (Node a = 0; a < g.n; ++a)
        for (const auto b : g.successors[a]) {
            open.push_back({a, b, closures.descendants(b)});
            open.push_back({b, a, closures.ancestors(a)});
        }
    BlockCut cuts(g);
    const auto enough = cuts.scale() * threshold;
    MustLink result;
    std::vector<Word> in(words);
    const auto price = kPerArc * static_cast<std::int64_t>(g.n + g.reads.values.size());
    std::size_t i = 0;
    for (; i < open.size() && !stop.now(); ++i) {
        const auto asked = open[i];
        std::fill(in.begin(), in.end(), 0);
        insert(in.data(), asked.in);
        cuts.prepare(in.data(), asked.out);
        stop.spend(price);
        const auto before = cuts.solved();
        const auto minimum = cuts.solve(0, stop, enough);
        stop.spend(price * (cuts.solved() - before - 1));
        if (minimum.finished) {
            // Overflow may make it too dear: then the question stays open.
            if (minimum.cost > threshold) continue;
            // This set is cheap enough: it answers every question that it fits.
            const auto* set = cuts.set().data();
            const auto answered = [&](const Question& q) {
                return contains(set, q.in) && !meet(set, q.out, words);
            };
            open.erase(std::remove_if(open.begin() + static_cast<std::ptrdiff_t>(i) + 1, open.end(),
                                      answered),
                       open.end());
        } else if (minimum.value <= enough) {
            break;  // stopped before it was known
        } else if (asked.partner < 0) {
            result.impossible = true;
            break;
        } else {
            result.pairs.emplace_back(asked.in, asked.partner);
        }
    }
    result.complete = i == open.size();
    result.cuts = cuts.solved();
    return result;
}

}  // namespace stagewright
