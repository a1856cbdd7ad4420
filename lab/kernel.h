// SPDX-License-Identifier: GPL-2.0-or-later
// Kernels and hypervisors of an unpacked root, in the form that boots fastest under emulation.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "model/result.h"

namespace xenoprof::lab {

struct Kernel {
  std::string release;            // uname -r
  std::filesystem::path vmlinuz;  // as packaged
  std::filesystem::path vmlinux;  // the uncompressed ELF file
  std::filesystem::path modules;  // .../lib/modules/RELEASE
};

// The newest kernel of the root; vmlinux is kept in `cache`. Emulated machines would spend seconds
// on decompressing it.
Result<Kernel> find_kernel(const std::filesystem::path& root, const std::filesystem::path& cache);

// The hypervisor of the root, decompressed into `cache` as the emulator's loader wants it.
Result<std::filesystem::path> find_xen(const std::filesystem::path& root,
                                       const std::filesystem::path& cache);

// The named modules and everything that they depend on, in the order to load them in. Names that
// the kernel has built in, or not at all, are an error.
Result<std::vector<std::filesystem::path>> modules_in_load_order(
    const std::filesystem::path& modules, const std::vector<std::string>& names);

}  // namespace xenoprof::lab
