// SPDX-License-Identifier: GPL-2.0-or-later
// What a program or a library says about itself. The files are any user's: nothing in them is
// believed, and opening one has no effect but reading.
#pragma once

#include <filesystem>
#include <string>

#include "model/result.h"
#include "symbols/symbol_table.h"

namespace xenoprof {

struct ElfImage {
  std::string build_id;  // lower-case hex; empty if it has none
  SymbolTable symbols;   // addresses are file offsets; names are the linker's (see demangle())
};

// The symbols are those of its separate debug file when there is one of the same build-id below
// /usr/lib/debug.
Result<ElfImage> read_elf(const std::filesystem::path& path);

// The vDSO that the kernel maps into every 64-bit process.
Result<ElfImage> read_vdso();

// The build-id in ELF notes, as /sys/kernel/notes has them; empty if there is none.
std::string build_id_of_notes(std::string_view notes, std::size_t alignment = 4);

}  // namespace xenoprof
