// SPDX-License-Identifier: GPL-2.0-or-later
// As much x86 decoding as the counters need.
#pragma once

#include <cstdint>
#include <span>

namespace xenoprof::pmu {

enum class InstructionKind : uint8_t {
  kOther,
  kWrmsr,
  kRdmsr,
  kRdpmc,
  // Branches: made to change the flow of control, whether they do or not.
  kConditional,  // jcc, loop
  kJump,         // to an address in the instruction
  kCall,         // the same
  kIndirectJump,
  kIndirectCall,
  kReturn,
  kFar,  // to another segment or ring: software interrupts, system calls, returns from them
};

constexpr bool is_branch(InstructionKind kind) {
  return kind >= InstructionKind::kConditional;
}

// Those that a processor may get wrong, and what tells it about returns.
constexpr bool is_predicted(InstructionKind kind) {
  return is_branch(kind) && kind != InstructionKind::kJump && kind != InstructionKind::kFar;
}

// `code` is one whole instruction.
InstructionKind classify(std::span<const uint8_t> code);

}  // namespace xenoprof::pmu
