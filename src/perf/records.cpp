// SPDX-License-Identifier: GPL-2.0-or-later
#include "perf/records.h"

#include <linux/perf_event.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "perf/bytes.h"
#include "perf/record_fields.h"

namespace xenoprof::perf {
namespace {

// All of x86-64 that unwinding may ask for (asm/perf_regs.h, enum perf_event_x86_regs): neither
// flags nor segments.
constexpr std::uint64_t kGeneralRegisters = 0xff01ff;

// A record's size has 16 bits.
constexpr std::size_t kMaxCallChain = 8000;
constexpr std::size_t kMaxText = 8192;

}  // namespace

bool has_periods(const Layout& layout) {
  return std::ranges::any_of(layout.countings,
                             [](const Counting& it) { return it.frequency != 0; });
}

std::uint64_t sample_type(const Layout& layout) {
  std::uint64_t type = PERF_SAMPLE_IDENTIFIER | PERF_SAMPLE_IP | PERF_SAMPLE_TID |
                       PERF_SAMPLE_TIME | PERF_SAMPLE_CPU;
  if (layout.call_chains) {
    type |= PERF_SAMPLE_CALLCHAIN;
  }
  if (has_periods(layout)) {
    type |= PERF_SAMPLE_PERIOD;
  }
  if (layout.stack_bytes != 0) {
    type |= PERF_SAMPLE_REGS_USER | PERF_SAMPLE_STACK_USER;
  }
  return type;
}

void apply(const Layout& layout, perf_event_attr& attr) {
  attr.sample_type = sample_type(layout);
  if (layout.stack_bytes != 0) {
    attr.sample_regs_user = kGeneralRegisters;
    attr.sample_stack_user = layout.stack_bytes;
    attr.exclude_callchain_user = 1;
  }
}

void RecordBuilder::put_text(std::string_view text) {
  text = text.substr(0, kMaxText);
  put_bytes(buffer_, std::as_bytes(std::span(text)));
  // A zero at least, and up to the next multiple of 8.
  buffer_.resize((buffer_.size() + 8) / 8 * 8);
}

void RecordBuilder::begin(std::uint32_t type, std::uint16_t misc) {
  buffer_.clear();
  put(buffer_, perf_event_header{.type = type, .misc = misc, .size = 0});
}

Bytes RecordBuilder::close() {
  const auto size = static_cast<std::uint16_t>(buffer_.size());
  std::memcpy(buffer_.data() + offsetof(perf_event_header, size), &size, sizeof size);
  return buffer_;
}

Bytes RecordBuilder::end(std::int32_t pid, std::int32_t tid, std::uint64_t time, std::uint64_t id,
                         std::uint32_t cpu) {
  put(buffer_,
      SampleIdFields{.pid = pid, .tid = tid, .time = time, .cpu = cpu, .reserved = 0, .id = id});
  return close();
}

Bytes RecordBuilder::sample(std::uint64_t time, std::size_t event, Mode mode, std::uint64_t ip,
                            std::int32_t pid, std::int32_t tid, std::uint32_t cpu,
                            std::span<const std::uint64_t> call_chain) {
  // perf resolves nothing in PERF_RECORD_MISC_HYPERVISOR, so Xen is a piece of the kernel's address
  // space and told by its addresses.
  begin(PERF_RECORD_SAMPLE, mode == Mode::kUser ? PERF_RECORD_MISC_USER : PERF_RECORD_MISC_KERNEL);
  put(buffer_, SampleFields{.id = event_id(event),
                            .ip = ip,
                            .pid = pid,
                            .tid = tid,
                            .time = time,
                            .cpu = cpu,
                            .reserved = 0});
  if (periods_) {
    put(buffer_, std::uint64_t{1});  // it is one sample, of a count that is not known here
  }
  if (call_chains_) {
    call_chain = call_chain.first(std::min(call_chain.size(), kMaxCallChain));
    put(buffer_, std::uint64_t{call_chain.size()});
    put_bytes(buffer_, std::as_bytes(call_chain));
  }
  return close();
}

Bytes RecordBuilder::kernel_mmap(std::uint64_t start, std::uint64_t length,
                                 std::uint64_t page_offset, std::string_view path) {
  begin(PERF_RECORD_MMAP, PERF_RECORD_MISC_KERNEL);
  put(buffer_,
      MmapFields{
          .pid = -1, .tid = 0, .start = start, .length = length, .page_offset = page_offset});
  put_text(path);
  return end(-1, 0, 0, kSidebandId);
}

Bytes RecordBuilder::mmap(std::uint64_t time, std::int32_t pid, std::int32_t tid,
                          std::uint64_t start, std::uint64_t length, std::uint64_t page_offset,
                          const Inode& inode, std::uint32_t protection, std::string_view path) {
  const bool data = (protection & PROT_EXEC) == 0;
  begin(PERF_RECORD_MMAP2, PERF_RECORD_MISC_USER | (data ? PERF_RECORD_MISC_MMAP_DATA : 0));
  put(buffer_,
      MmapFields{
          .pid = pid, .tid = tid, .start = start, .length = length, .page_offset = page_offset});
  put(buffer_,
      InodeFields{
          .major = inode.major, .minor = inode.minor, .inode = inode.number, .generation = 0});
  put(buffer_, protection);
  put(buffer_, std::uint32_t{0});  // flags: MAP_SHARED and the like, which nobody needs
  put_text(path);
  return end(pid, tid, time, kSidebandId);
}

Bytes RecordBuilder::comm(std::uint64_t time, std::int32_t pid, std::int32_t tid,
                          std::string_view name, bool exec) {
  begin(PERF_RECORD_COMM, exec ? PERF_RECORD_MISC_COMM_EXEC : 0);
  put(buffer_, CommFields{.pid = pid, .tid = tid});
  put_text(name);
  return end(pid, tid, time, kSidebandId);
}

Bytes RecordBuilder::fork(std::uint64_t time, const ForkRecord& fork) {
  begin(PERF_RECORD_FORK, 0);
  put(buffer_, TaskFields{.pid = fork.pid,
                          .parent_pid = fork.parent_pid,
                          .tid = fork.tid,
                          .parent_tid = fork.parent_tid,
                          .time = time});
  return end(fork.parent_pid, fork.parent_tid, time, kSidebandId);
}

Bytes RecordBuilder::exit(std::uint64_t time, const ExitRecord& exit) {
  begin(PERF_RECORD_EXIT, 0);
  put(buffer_, TaskFields{.pid = exit.pid,
                          .parent_pid = exit.pid,
                          .tid = exit.tid,
                          .parent_tid = exit.tid,
                          .time = time});
  return end(exit.pid, exit.tid, time, kSidebandId);
}

Bytes RecordBuilder::lost(std::uint64_t time, std::uint32_t cpu, std::uint64_t id,
                          std::uint64_t count) {
  begin(PERF_RECORD_LOST, 0);
  put(buffer_, LostFields{.id = id, .count = count});
  return end(0, 0, time, id, cpu);
}

Bytes RecordBuilder::ksymbol(const KsymbolRecord& symbol) {
  begin(PERF_RECORD_KSYMBOL, 0);
  put(buffer_, KsymbolFields{
                   .address = symbol.address,
                   .length = symbol.length,
                   .type = PERF_RECORD_KSYMBOL_TYPE_OOL,
                   .flags = symbol.removed ? std::uint16_t{PERF_RECORD_KSYMBOL_FLAGS_UNREGISTER}
                                           : std::uint16_t{0},
               });
  put_text(symbol.name);
  return end(-1, 0, 0, kSidebandId);
}

Bytes RecordBuilder::sideband(Bytes record) {
  buffer_.assign(record.begin(), record.end());
  const std::uint64_t id = kSidebandId;
  std::memcpy(buffer_.data() + buffer_.size() - sizeof id, &id, sizeof id);
  return buffer_;
}

Bytes xen_mmap(RecordBuilder& builder) {
  return builder.kernel_mmap(kXenStart, kXenEnd - kXenStart, 0, "[xen]");
}

std::vector<std::byte> passive_head(const Layout& layout) {
  std::vector<std::byte> records;
  RecordBuilder builder(layout);
  const auto add = [&](Bytes record) { put_bytes(records, record); };
  add(xen_mmap(builder));
  // Linux's kernel text and modules (Documentation/arch/x86/x86_64/mm.rst); where in it the text
  // begins is for whoever has the domain's System.map.
  constexpr std::uint64_t kTextStart = 0xffffffff80000000u;
  add(builder.kernel_mmap(kTextStart, ~std::uint64_t{0} - kTextStart, kTextStart,
                          "[kernel.kallsyms]_text"));
  add(builder.comm(0, 0, 0, "[kernel]", false));
  return records;
}

std::vector<std::byte> xen_function_records(const Layout& layout,
                                            std::span<const XenFunction> functions) {
  std::vector<std::byte> records;
  RecordBuilder builder(layout);
  const auto add = [&](Bytes record) { put_bytes(records, record); };
  // perf (6.1, machine__process_ksymbol_register) gives a symbol within a mapping the mapping's
  // start as its address. So the mapping that xen_mmap() made goes first; then each symbol gets
  // one of its own.
  add(builder.ksymbol({.address = kXenStart, .length = 0, .removed = true, .name = "[xen]"}));
  // A page of it stays, where no code is: as long as there is a module that the running kernel does
  // not have, perf leaves /proc/kcore alone (validate_kcore_modules), whose loading would throw the
  // functions' mappings away.
  constexpr std::uint64_t kPage = 4096;
  add(builder.kernel_mmap(kXenStart, kPage, 0, "[xen]"));
  for (const XenFunction& function : functions) {
    add(builder.ksymbol({.address = function.address,
                         .length = function.length,
                         .removed = false,
                         .name = function.name}));
  }
  return records;
}

}  // namespace xenoprof::perf
