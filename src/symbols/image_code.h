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
#include "symbols/elf_image.h"
#include "symbols/source_lines.h"
#include "symbols/symbol_table.h"

namespace xenoprof {

// Addresses are those of the profile's locations in the image.
class ImageCode {
 public:
  // Fails unless it is certain to be the image of that build-id. Of the kernel and its modules it
  // is the memory of the one that runs.
  static Result<ImageCode> open(std::string_view image, std::string_view build_id);

  // Its name is demangled and lives until the next call.
  std::optional<Symbol> function_at(std::uint64_t address);
  // Where debuggers and disassemblers say that it is.
  std::uint64_t virtual_address(std::uint64_t address) const;
  // Empty where the code cannot be read.
  std::string bytes(const Symbol& function) const;
  // Addresses ascending.
  SourceLines lines(std::span<const std::uint64_t> addresses, std::chrono::milliseconds time) const;
  // Of the file; none for the kernel.
  std::optional<std::filesystem::file_time_type> written() const { return written_; }

 private:
  struct Kernel {
    ElfFile memory;
    SymbolTable symbols;
  };

  static Result<ImageCode> open_kernel(std::string_view image, std::string_view build_id);

  std::optional<ElfImage> file_;
  std::optional<Kernel> kernel_;
  std::optional<std::filesystem::file_time_type> written_;
  std::string name_;
};

}  // namespace xenoprof
