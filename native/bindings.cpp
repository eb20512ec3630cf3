// SPDX-License-Identifier: Apache-2.0
// The only file that includes Python's headers. It translates; it computes nothing.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <string>

namespace nb = nanobind;

NB_MODULE(_native, m) {
    m.doc() = "Stagewright's native core.";
    m.def(
        "version", [] { return std::string(STAGEWRIGHT_VERSION); },
        "Version of the package this module was built for.");
}
