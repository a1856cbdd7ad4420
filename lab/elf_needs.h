// SPDX-License-Identifier: GPL-2.0-or-later
// The shared libraries that programs of an unpacked root need.
#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "model/result.h"

namespace xenoprof::lab {

// The ELF interpreter and libraries, direct and indirect, of the given files (of any place), as
// paths in `root`: of the form /usr/lib/..., symbolic links included with what they lead to.
Result<std::set<std::string>> shared_objects_needed(const std::vector<std::filesystem::path>& files,
                                                    const std::filesystem::path& root);

// A kernel module's own metadata: the names of modules it depends on.
Result<std::vector<std::string>> module_dependencies(const std::filesystem::path& module);

}  // namespace xenoprof::lab
