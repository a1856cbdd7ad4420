// SPDX-License-Identifier: GPL-2.0-or-later
// From places in a program to places in its source, by its DWARF debug information.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "symbols/elf_image.h"

namespace xenoprof {

// A function, and where in it.
struct SourceLine {
  std::string function;  // as demangle() gives it; may be empty
  std::string file;
  std::uint32_t line = 0;  // 0: unknown
};

struct SourceLines {
  // For each place the functions it lies in: those inlined there, innermost first, then the one
  // that contains them. Empty where nothing is known.
  std::vector<std::vector<SourceLine>> of;
  bool late = false;    // time ran out
  bool failed = false;  // the debug information is damaged, or of absurd size
};

// `offsets`: into the image's file, ascending. Debug information is a program of its own that any
// user may have written, so it is read in a child process.
SourceLines read_source_lines(const ElfImage& image, std::span<const std::uint64_t> offsets,
                              std::chrono::milliseconds time);

}  // namespace xenoprof
