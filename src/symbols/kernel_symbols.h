// SPDX-License-Identifier: GPL-2.0-or-later
// Symbols of what runs below all processes: the kernel, its modules, and Xen.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "model/result.h"
#include "symbols/symbol_table.h"

namespace xenoprof {

// From _text to _etext: the kernel itself, without its modules and what it makes while running.
struct KernelText {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
};

// /proc/kallsyms, a copy of it from elsewhere, or a System.map. Addresses are virtual.
Result<SymbolTable> read_kallsyms(const std::filesystem::path& path = "/proc/kallsyms",
                                  KernelText* text = nullptr);

// Such a copy, and what has to be added to its addresses; unset: to be found out.
struct KernelList {
  std::filesystem::path file;
  std::optional<std::int64_t> offset = {};
};

// Xen's own symbols, as dom0 sees them. Addresses are virtual. The "file.c#" before a local
// symbol's name is dropped where the name alone is unique.
Result<SymbolTable> read_xensyms(const std::filesystem::path& path = "/proc/xen/xensyms");

// The build-id of "[kernel]", "[module_name]" or "[xen]" as it runs now; empty when unknown.
std::string running_build_id(std::string_view image);

// Where "[module_name]" begins now; 0 when unknown.
std::uint64_t running_address(std::string_view module);

}  // namespace xenoprof
