// SPDX-License-Identifier: Apache-2.0
// One walk for all that looks at every ideal above another while it keeps sums over the nodes between.
#pragma once

#include <cstdint>
#include <vector>

#include "ideals.hpp"

namespace stagewright {

/// Visits the ideals above `from`, each once, by adding one node at a time.  enter(to, v) has v added, and says whether to
/// go on above `to`; leave(v) has it removed again, after all that was visited above.  `seen` has an entry for each
/// ideal, none of which is `from` before.
template <class Enter, class Leave>
void walk_above(const IdealGraph& ideals, std::int64_t from, std::vector<std::int32_t>& seen,
                Enter&& enter, Leave&& leave) {
    struct Frame {
        std::int64_t ideal;
        std::size_t next;
        Node added;
    };
    const auto mark = static_cast<std::int32_t>(from);
    std::vector<Frame> path{{from, 0, -1}};
    while (!path.empty()) {
        auto& top = path.back();
        const auto above = ideals.above(top.ideal);
        if (top.next == above.size()) {
            if (top.added >= 0) leave(top.added);
            path.pop_back();
            continue;
        }
        const std::int64_t to = above[top.next];
        const auto v = ideals.added(top.ideal)[top.next++];
        if (seen[to] == mark) continue;
        seen[to] = mark;
        if (enter(to, v))
            path.push_back({to, 0, v});
        else
            leave(v);
    }
}

}  // namespace stagewright
