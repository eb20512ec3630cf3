// SPDX-License-Identifier: Apache-2.0
// What is surely alive while a node of a stage runs, whatever the order of the stage.
//
// Let v be a node of stage S, and p, u_1, ..., u_j, d (j >= 0) a path of tensors t_0, ..., t_j that v neither reads
// nor writes, where p precedes v and d follows v.  If some node of the path is in S, one of its tensors is alive
// while v runs.  Proof: S is convex, so its nodes on the path are neighbours, and they run in this order.
// If all of them run before v, the last is not d, and its tensor leaves S: it is held to the end.  If none does,
// the first is not p, and the tensor before it is received: it is held from the start.  Else two
// neighbours run before and after v, and the tensor between them is held.  Let paths share the bytes of the tensors,
// each path its own part of every tensor on it.  So the peak of S is at least the working set of v and the
// parts of all paths with a node in S.
#pragma once

#include <vector>

#include "instance.hpp"
#include "peak.hpp"

namespace stagewright {

struct Alive {
    /// So many bytes if one of the classes is in the stage.
    struct Term {
        Bytes nbytes;
        std::vector<Node> classes;
    };
    /// A node of a class: what is alive in any stage with the class, and what else may be.
    struct Moment {
        Bytes least = 0, most = 0;
        std::vector<Term> terms;
    };
    std::vector<std::vector<Moment>> of;  // per class; moments that another one covers are left out

    /// Classes of nodes of the graph, in the order of the instance.  Empty rows where that would take long.
    Alive(const TensorUses& flow, const Ragged& members);
};

}  // namespace stagewright
