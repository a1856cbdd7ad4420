// SPDX-License-Identifier: GPL-2.0-or-later
#include "instruction.h"

namespace xenoprof::pmu {
namespace {

bool is_prefix(uint8_t byte) {
  // REX, which counts for nothing unless it is the last. Outside 64-bit code these are whole
  // one-byte instructions, with nothing after them.
  if ((byte & 0xf0) == 0x40) {
    return true;
  }
  switch (byte) {
    case 0x26:
    case 0x2e:
    case 0x36:
    case 0x3e:
    case 0x64:
    case 0x65:
    case 0x66:
    case 0x67:
    case 0xf0:
    case 0xf2:
    case 0xf3:
      return true;
    default:
      return false;
  }
}

InstructionKind classify_two_byte(uint8_t opcode) {
  if (opcode >= 0x80 && opcode <= 0x8f) {
    return InstructionKind::kConditional;  // jcc near
  }
  switch (opcode) {
    case 0x05:  // syscall
    case 0x07:  // sysret
    case 0x34:  // sysenter
    case 0x35:  // sysexit
      return InstructionKind::kFar;
    case 0x30:
      return InstructionKind::kWrmsr;
    case 0x32:
      return InstructionKind::kRdmsr;
    case 0x33:
      return InstructionKind::kRdpmc;
    default:
      return InstructionKind::kOther;
  }
}

}  // namespace

InstructionKind classify(std::span<const uint8_t> code) {
  while (!code.empty() && is_prefix(code.front())) {
    code = code.subspan(1);
  }
  if (code.empty()) {
    return InstructionKind::kOther;
  }
  const uint8_t opcode = code[0];
  if (opcode >= 0x70 && opcode <= 0x7f) {
    return InstructionKind::kConditional;  // jcc short
  }
  switch (opcode) {
    case 0x0f:
      return code.size() < 2 ? InstructionKind::kOther : classify_two_byte(code[1]);
    case 0xe0:  // loopne
    case 0xe1:  // loope
    case 0xe2:  // loop
    case 0xe3:  // jcxz
      return InstructionKind::kConditional;
    case 0xe9:  // jmp near
    case 0xeb:  // jmp short
      return InstructionKind::kJump;
    case 0xe8:
      return InstructionKind::kCall;
    case 0xc2:  // ret
    case 0xc3:
      return InstructionKind::kReturn;
    case 0x9a:  // call far
    case 0xca:  // ret far
    case 0xcb:
    case 0xcc:  // int3
    case 0xcd:  // int
    case 0xce:  // into
    case 0xcf:  // iret
    case 0xea:  // jmp far
    case 0xf1:  // int1
      return InstructionKind::kFar;
    case 0xff:
      switch (code.size() < 2 ? 0 : code[1] >> 3 & 7) {
        case 2:
          return InstructionKind::kIndirectCall;
        case 4:
          return InstructionKind::kIndirectJump;
        case 3:  // call far
        case 5:  // jmp far
          return InstructionKind::kFar;
        default:
          return InstructionKind::kOther;
      }
    default:
      return InstructionKind::kOther;
  }
}

}  // namespace xenoprof::pmu
