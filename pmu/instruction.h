// SPDX-License-Identifier: GPL-2.0-or-later
// As much x86 decoding as the counters need.
#pragma once

#include <cstdint>
#include <span>

namespace xenoprof::pmu {

enum class InstructionKind : uint8_t { kOther, kBranch, kWrmsr, kRdmsr, kRdpmc };

// `code` is one whole instruction. A branch is any instruction made to change the flow of control:
// jumps taken or not, calls, returns, software interrupts, system calls.
InstructionKind classify(std::span<const uint8_t> code);

}  // namespace xenoprof::pmu
