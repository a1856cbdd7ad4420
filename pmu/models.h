// SPDX-License-Identifier: GPL-2.0-or-later
// The vCPUs' modelled processors, and the callbacks by which translated code feeds them.
#pragma once

#include <cstdint>

#include "counting.h"
#include "geometry.h"
#include "instruction.h"
#include "processor.h"

namespace xenoprof::pmu {

// What the callback of a translation block knows from translation; packed into its pointer.
struct Block {
  uint64_t page_offset : 12;  // of its first byte
  uint64_t bytes : 13;        // at most 512 instructions of 15 bytes
  uint64_t last_bytes : 4;    // length of its last instruction
  uint64_t last_kind : 4;     // InstructionKind of its last instruction
  uint64_t code64 : 1;
  uint64_t mode : 2;
  uint64_t parts : kPartBits;
  uint64_t present : 1;  // always 1: a packed Block is never 0
  uint64_t units : 10;   // lines that it is in, or pages where lines are not kept
  uint64_t unused : 10;
};
static_assert(sizeof(Block) == sizeof(void*));

// The same of a memory access.
struct AccessSite {
  uint64_t mode : 2;
  uint64_t parts : kPartBits;
  uint64_t unused : 55;
};
static_assert(sizeof(AccessSite) == sizeof(void*));

void start_models(const Geometry& geometry, const QemuPrivate& qemu);
QemuPrivate::Listener& processor_listener();
void add_vcpu_model(unsigned vcpu);

// Callbacks of translated code: at the start of a block, with it in the pointer, and after each
// access, with an AccessSite. `unit` is the bytes of a line, or of a page where lines are not kept.
qemu_plugin_vcpu_udata_cb_t code_callback(const Block& block, uint64_t unit);
qemu_plugin_vcpu_mem_cb_t data_callback(uint64_t unit);

// Wanted when other parts are put into code: what is short cut looks at none. All vCPUs must have
// stopped.
void forget_what_models_found_last();

Processor::Flushed flushed_walks(unsigned vcpu);

}  // namespace xenoprof::pmu
