// SPDX-License-Identifier: GPL-2.0-or-later
#include "translation.h"

#include <algorithm>
#include <array>
#include <bit>
#include <optional>

#include "counting.h"
#include "instruction.h"
#include "models.h"

namespace xenoprof::pmu {
namespace {

// The longest encoding of a PMU instruction looked for: a segment prefix or two before two bytes.
constexpr size_t kLongestPmuInstruction = 4;

void on_reset_vector(unsigned, void*) {
  note_machine_reset();
}

InstructionKind kind_of(const qemu_plugin_insn* instruction) {
  std::array<uint8_t, 16> code;
  const size_t size = std::min(qemu_plugin_insn_size(instruction), code.size());
  return classify({code.data(), qemu_plugin_insn_data(instruction, code.data(), size)});
}

void call_at_limit(qemu_plugin_insn* instruction, Source source, Mode mode) {
  qemu_plugin_register_vcpu_insn_exec_cond_cb(instruction, on_limit, QEMU_PLUGIN_CB_NO_REGS,
                                              QEMU_PLUGIN_COND_GE, gauge_of(source, mode), kLimit,
                                              nullptr);
}

constexpr uint64_t kPageBytes = 4096;

// How many lines, pages or windows of fetching the code touches.
uint64_t units(uint64_t start, uint64_t end, uint64_t unit) {
  return (end - 1) / unit - start / unit + 1;
}

struct Stretch {
  qemu_plugin_insn* first;
  uint64_t start;  // addresses
  uint64_t end;
  size_t instructions;
  bool branch;
};

void count_stretch(const Stretch& stretch, Mode mode, SourceSet sources, const Geometry& geometry) {
  const auto add = [&](Source source, uint64_t amount) {
    if (!(sources & bits(source)) || amount == 0) {
      return;
    }
    qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(stretch.first, QEMU_PLUGIN_INLINE_ADD_U64,
                                                        gauge_of(source, mode), amount);
    call_at_limit(stretch.first, source, mode);
  };
  add(kInstructions, stretch.instructions);
  add(kWaitCycles, stretch.instructions * (geometry.cycles_per_instruction - 1));
  add(kBranches, stretch.branch ? 1 : 0);
  add(kFetches, units(stretch.start, stretch.end, geometry.fetch_bytes));
  if (sources & bits(kDataAccesses)) {
    call_at_limit(stretch.first, kDataAccesses, mode);  // they are added one by one
  }
}

// The line or page that an instruction's byte is in, as a number that no other one has; 0 if
// unknown. In the emulator's memory, as a block may serve at several addresses.
uint64_t identity(const qemu_plugin_insn* instruction, size_t byte, uint64_t unit, Parts parts) {
  const auto at = reinterpret_cast<uintptr_t>(qemu_plugin_insn_haddr(instruction));
  if (at == 0) {
    return 0;
  }
  constexpr unsigned kAddressBits = 48;
  return (at + byte) / unit * unit | uint64_t{parts} << kAddressBits;
}

// What a side of the model keeps.
uint64_t unit_of(Parts parts, Parts cache, const Geometry& geometry) {
  return parts & cache ? geometry.line_bytes : kPageBytes;
}

Block describe(qemu_plugin_tb* tb, const Surroundings& surroundings, Parts parts,
               const Geometry& geometry) {
  const uint64_t start = qemu_plugin_tb_vaddr(tb);
  const qemu_plugin_insn* last = qemu_plugin_tb_get_insn(tb, qemu_plugin_tb_n_insns(tb) - 1);
  const size_t last_bytes = qemu_plugin_insn_size(last);
  const uint64_t bytes = qemu_plugin_insn_vaddr(last) + last_bytes - start;
  return {.page_offset = start & 0xfff,
          .bytes = bytes & 0x1fff,
          .last_bytes = last_bytes & 0xf,
          .last_kind = static_cast<uint64_t>(kind_of(last)) & 0xf,
          .code64 = surroundings.code64,
          .mode = surroundings.mode & 3u,
          .parts = parts & ((1u << kPartBits) - 1),
          .present = 1,
          .units = units(start, start + bytes, unit_of(parts, kCodeCachePart, geometry)) & 0x3ff,
          .unused = 0};
}

void feed_models(qemu_plugin_tb* tb, const Block& block, const Geometry& geometry) {
  const auto parts = static_cast<Parts>(block.parts);
  const uint64_t unit = unit_of(parts, kCodeCachePart, geometry);
  const qemu_plugin_vcpu_udata_cb_t callback = code_callback(block, unit);
  void* const packed = std::bit_cast<void*>(block);
  const size_t count = qemu_plugin_tb_n_insns(tb);
  qemu_plugin_insn* const first = qemu_plugin_tb_get_insn(tb, 0);
  qemu_plugin_insn* const last = qemu_plugin_tb_get_insn(tb, count - 1);
  if (parts & kPredictorPart) {
    qemu_plugin_register_vcpu_insn_exec_cb(first, callback, QEMU_PLUGIN_CB_NO_REGS, packed);
    if (is_predicted(static_cast<InstructionKind>(block.last_kind))) {
      qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(last, QEMU_PLUGIN_INLINE_STORE_U64,
                                                          word_of(&Vcpu::pending_branch),
                                                          std::bit_cast<uint64_t>(block));
    }
  } else if (parts & (kCodeTlbPart | kCodeCachePart)) {
    // Code in the line (without a cache: in the page) that was fetched last needs no call.
    const uint64_t end = uint64_t{block.page_offset} + block.bytes;
    const bool last_over_pages = (end - block.last_bytes) / kPageBytes != (end - 1) / kPageBytes;
    const uint64_t entered = block.units == 1 ? identity(first, 0, unit, parts) : 0;
    const uint64_t left_in =
        last_over_pages ? 0 : identity(last, block.last_bytes - 1u, unit, parts);
    if (entered != 0) {
      qemu_plugin_register_vcpu_insn_exec_cond_cb(first, callback, QEMU_PLUGIN_CB_NO_REGS,
                                                  QEMU_PLUGIN_COND_NE, word_of(&Vcpu::fetched),
                                                  entered, packed);
    } else {
      qemu_plugin_register_vcpu_insn_exec_cb(first, callback, QEMU_PLUGIN_CB_NO_REGS, packed);
    }
    qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(first, QEMU_PLUGIN_INLINE_STORE_U64,
                                                        word_of(&Vcpu::fetched), left_in);
  }
  if (parts & (kDataTlbPart | kDataCachePart)) {
    const AccessSite site{block.mode, block.parts, 0};
    const qemu_plugin_vcpu_mem_cb_t on_access =
        data_callback(unit_of(parts, kDataCachePart, geometry));
    for (size_t i = 0; i < count; ++i) {
      qemu_plugin_register_vcpu_mem_cb(qemu_plugin_tb_get_insn(tb, i), on_access,
                                       QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW,
                                       std::bit_cast<void*>(site));
    }
  }
}

}  // namespace

void instrument(qemu_plugin_tb* tb, const Surroundings& surroundings, const Geometry& geometry,
                qemu_plugin_vcpu_udata_cb_t on_pmu_instruction) {
  const SourceSet sources = counted_sources();
  const uint64_t address = qemu_plugin_tb_vaddr(tb);
  if (begins_machine(address, surroundings)) {
    qemu_plugin_register_vcpu_tb_exec_cb(tb, on_reset_vector, QEMU_PLUGIN_CB_NO_REGS, nullptr);
  }
  if (sources == 0) {
    return;
  }
  const Mode mode = surroundings.mode;
  const bool user = mode == kUser || mode == kGuestUser;
  const size_t count = qemu_plugin_tb_n_insns(tb);
  // Before the block's first stretch is counted: the models' callback may be the one to interrupt.
  if (const Parts parts = parts_for(sources); parts != 0) {
    feed_models(tb, describe(tb, surroundings, parts, geometry), geometry);
  }
  Stretch stretch{qemu_plugin_tb_get_insn(tb, 0), address, address, 0, false};
  for (size_t i = 0; i < count; ++i) {
    qemu_plugin_insn* instruction = qemu_plugin_tb_get_insn(tb, i);
    const size_t size = qemu_plugin_insn_size(instruction);
    const bool last = i + 1 == count;
    const bool need_branch = last && (sources & bits(kBranches));
    const InstructionKind kind = need_branch || size <= kLongestPmuInstruction
                                     ? kind_of(instruction)
                                     : InstructionKind::kOther;
    const bool privileged = kind == InstructionKind::kRdmsr || kind == InstructionKind::kWrmsr;
    // In user mode QEMU's own RDMSR and WRMSR fault, as they must.
    const bool answered = kind == InstructionKind::kRdpmc || (privileged && !user);
    stretch.end += size;
    ++stretch.instructions;
    stretch.branch = is_branch(kind);
    if (answered || last) {
      count_stretch(stretch, mode, sources, geometry);
      stretch = {last ? nullptr : qemu_plugin_tb_get_insn(tb, i + 1), stretch.end, stretch.end, 0,
                 false};
    }
    if (sources & bits(kDataAccesses)) {
      qemu_plugin_register_vcpu_mem_inline_per_vcpu(instruction, QEMU_PLUGIN_MEM_RW,
                                                    QEMU_PLUGIN_INLINE_ADD_U64,
                                                    gauge_of(kDataAccesses, mode), 1);
    }
    if (answered) {
      const PmuSite site{kind, static_cast<uint8_t>(size), mode, 0, sources};
      qemu_plugin_register_vcpu_insn_exec_cb(instruction, on_pmu_instruction,
                                             QEMU_PLUGIN_CB_RW_REGS, std::bit_cast<void*>(site));
    }
  }
}

}  // namespace xenoprof::pmu
