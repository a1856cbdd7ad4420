// SPDX-License-Identifier: GPL-2.0-or-later
#include "symbols/instructions.h"

#include <capstone/capstone.h>

#include <memory>

namespace xenoprof {

std::vector<Instruction> disassemble(std::string_view code, std::uint64_t address) {
  std::vector<Instruction> instructions;
  csh handle = 0;
  if (cs_open(CS_ARCH_X86, CS_MODE_64, &handle) != CS_ERR_OK) {
    return instructions;
  }
  cs_option(handle, CS_OPT_SKIPDATA, CS_OPT_ON);
  const auto* next = reinterpret_cast<const std::uint8_t*>(code.data());
  std::size_t left = code.size();
  cs_insn* decoded = cs_malloc(handle);
  while (cs_disasm_iter(handle, &next, &left, &address, decoded)) {
    std::string text = decoded->mnemonic;
    if (decoded->op_str[0] != '\0') {
      text += ' ';
      text += decoded->op_str;
    }
    instructions.push_back({decoded->address, decoded->size, std::move(text)});
  }
  cs_free(decoded, 1);
  cs_close(&handle);
  return instructions;
}

}  // namespace xenoprof
