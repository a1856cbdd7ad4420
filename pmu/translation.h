// SPDX-License-Identifier: GPL-2.0-or-later
// What code counts as it runs, put in as QEMU translates it.
//
// Code is cut into stretches that end at a PMU instruction or at the end of QEMU's translation
// block. A stretch is added to the totals when it is entered, so at a PMU instruction the totals
// hold exactly what has retired, that instruction included.
#pragma once

#include <cstdint>

#include "counters.h"
#include "geometry.h"
#include "instruction.h"
#include "qemu_plugin_api.h"

namespace xenoprof::pmu {

// What a PMU instruction's callback knows from translation; packed into the callback's pointer.
struct PmuSite {
  InstructionKind kind;
  uint8_t length;
  Mode mode;
  uint8_t unused;
  SourceSet counted;  // what its stretch was counted with
};
static_assert(sizeof(PmuSite) == sizeof(void*));

// Of the code being translated. QEMU keeps blocks of different ones apart, so what holds now holds
// whenever the block runs.
struct Surroundings {
  Mode mode;
  bool code64;
};

// The first code to run after a machine reset, known by more than its address: a guest of a
// hypervisor begins there too, and a program may have code there.
constexpr uint64_t kResetVector = 0xfffffff0;
constexpr bool begins_machine(uint64_t address, const Surroundings& surroundings) {
  return address == kResetVector && surroundings.mode == kKernel && !surroundings.code64;
}

void instrument(qemu_plugin_tb* tb, const Surroundings& surroundings, const Geometry& geometry,
                qemu_plugin_vcpu_udata_cb_t on_pmu_instruction);

}  // namespace xenoprof::pmu
