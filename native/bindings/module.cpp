// SPDX-License-Identifier: Apache-2.0
// Only the files of this folder include Python's headers.  They translate; they compute nothing.
#include "common.hpp"

NB_MODULE(_native, m) {
    m.doc() = "Stagewright's native core.";
    m.def(
        "version", [] { return std::string(STAGEWRIGHT_VERSION); },
        "Version of the package this module was built for.");
    bind_problem(m);
    bind_search(m);
    bind_improve(m);
    bind_exact(m);
    bind_placement(m);
    bind_bounds(m);
}
