// SPDX-License-Identifier: GPL-2.0-or-later
// What a program or a library says about its functions.
#pragma once

#include <filesystem>
#include <optional>

#include "model/result.h"
#include "symbols/debug_file.h"
#include "symbols/elf_file.h"
#include "symbols/symbol_table.h"

namespace xenoprof {

struct ElfImage {
  ElfFile file;
  std::optional<ElfFile> debug;  // the separate file with its debug information
  SymbolTable symbols;  // addresses are file offsets; names are the linker's (see demangle())
};

// The symbols are those of the separate debug file where there is one, else the file's own and
// what .gnu_debugdata adds to them.
Result<ElfImage> read_elf(const std::filesystem::path& path, DebugSearch& search);

// Of a file that has its debug information, and its code, in it.
ElfImage whole_image(ElfFile file);

// The vDSO that the kernel maps into every 64-bit process.
Result<ElfImage> read_vdso();

}  // namespace xenoprof
