// SPDX-License-Identifier: GPL-2.0-or-later
// The separate file that holds what was stripped from a program or a library.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>

#include "symbols/elf_file.h"

namespace xenoprof {

struct DebugSearch {
  std::filesystem::path root = "/usr/lib/debug";
  // For all questions to debuginfod servers together. None is asked unless DEBUGINFOD_URLS is set.
  std::chrono::milliseconds debuginfod = std::chrono::seconds(20);
};

// By build-id, by the name in .gnu_debuglink, then from debuginfod. It is the right one: its
// build-id, or where the program has none, its checksum is what the program says. What debuginfod
// took is subtracted from the search's time.
std::optional<ElfFile> find_debug_file(const ElfFile& file, const std::filesystem::path& path,
                                       DebugSearch& search);

// The kernel (or Xen) of that build-id as a file with debug information: by build-id, among the
// vmlinux files that distributions put there under its release's name, then from debuginfod.
std::optional<ElfFile> find_kernel_file(const std::string& build_id, DebugSearch& search);

// The ELF file with more symbols that lies compressed in .gnu_debugdata.
std::optional<ElfFile> read_mini_debug_info(const ElfFile& file);

}  // namespace xenoprof
