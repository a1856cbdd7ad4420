// SPDX-License-Identifier: GPL-2.0-or-later
// Machine code as text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace xenoprof {

struct Instruction {
  std::uint64_t address = 0;
  std::size_t size = 0;
  std::string text;  // as the CPU's manual has it: destination first
};

// x86-64 code that begins at `address`. Bytes that are no instruction come out as such.
std::vector<Instruction> disassemble(std::string_view code, std::uint64_t address);

}  // namespace xenoprof
