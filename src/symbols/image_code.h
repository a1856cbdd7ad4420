// SPDX-License-Identifier: GPL-2.0-or-later
// The code of a profile's image, if this machine has it.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "model/result.h"
#include "symbols/debug_file.h"
#include "symbols/elf_image.h"
#include "symbols/source_lines.h"
#include "symbols/symbol_table.h"

namespace xenoprof {

// Where a function was when it ran.
struct NamedAddress {
  std::uint64_t address = 0;
  std::string_view symbol;
};

// How to find the code of the kernel and of Xen, which lie where the machine put them.
struct KernelSearch {
  // Their file, as the linker made it; empty: looked for by build-id where debug files are.
  std::filesystem::path file;
  std::span<const NamedAddress> functions;  // of the image, some
  DebugSearch debug;
};

// Addresses are those of the profile's locations in the image.
class ImageCode {
 public:
  // Fails unless it is certain to be the image of that build-id. Where no file of the kernel is
  // found, and of its modules, it is the memory of the one that runs.
  static Result<ImageCode> open(std::string_view image, std::string_view build_id,
                                KernelSearch kernel = {});

  // The function there, if it bears that name (which is demangled).
  std::optional<Symbol> function_at(std::uint64_t address, std::string_view name) const;
  // Where debuggers and disassemblers say that it is.
  std::uint64_t virtual_address(std::uint64_t address) const;
  // Empty where the code cannot be read.
  std::string bytes(const Symbol& function) const;
  // Addresses ascending.
  SourceLines lines(std::span<const std::uint64_t> addresses, std::chrono::milliseconds time) const;
  // Of the file; none for the kernel's memory.
  std::optional<std::filesystem::file_time_type> written() const { return written_; }

 private:
  struct Memory {
    ElfFile file;
    SymbolTable symbols;
  };

  static Result<ImageCode> open_kernel(std::string_view image, std::string_view build_id,
                                       KernelSearch& search);
  static Result<ImageCode> open_memory(std::string_view image, std::string_view build_id);
  std::optional<std::uint64_t> offset_of(std::uint64_t address) const;

  // One of these two.
  std::optional<ElfImage> file_;
  std::optional<Memory> memory_;
  // Of the kernel's file: how much higher than it says it was loaded. None: addresses are offsets
  // in the file.
  std::optional<std::uint64_t> moved_;
  std::optional<std::filesystem::file_time_type> written_;
};

}  // namespace xenoprof
