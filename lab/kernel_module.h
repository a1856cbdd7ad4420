// SPDX-License-Identifier: GPL-2.0-or-later
// Kernel modules from source, for a kernel of an unpacked root.
#pragma once

#include <filesystem>
#include <string>

#include "kernel.h"
#include "model/result.h"
#include "progress.h"

namespace xenoprof::lab {

// Builds the out-of-tree module whose kbuild sources are in `sources`, out of a copy of them in
// `cache`, and returns NAME.ko. Built only once for the same sources and kernel.
Result<std::filesystem::path> build_kernel_module(const std::filesystem::path& sources,
                                                  const std::string& name, const Kernel& kernel,
                                                  const std::filesystem::path& cache,
                                                  Progress& progress);

}  // namespace xenoprof::lab
