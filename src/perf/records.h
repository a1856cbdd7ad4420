// SPDX-License-Identifier: GPL-2.0-or-later
// The records of a perf.data: plain bytes, each a perf_event_header with its payload, as
// linux/perf_event.h lays them out. The same bytes travel over the wire and into the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <variant>
#include <vector>

#include "model/event.h"
#include "model/mode.h"
#include "model/result.h"
#include "perf/bytes.h"
#include "perf/counting.h"

struct perf_event_attr;

namespace xenoprof::perf {

// What the attributes of a perf.data say, which is all one has to know to read its records. Whoever
// receives records over the wire needs the same Layout as their sender.
struct Layout {
  std::vector<Event> events;  // those with samples, in the order of their attributes
  bool call_chains = false;
  // Of the user's stack, copied with each sample so that its callers can be found without frame
  // pointers; 0: none, and the call chains are the kernel's findings. Only beside `countings`.
  std::uint32_t stack_bytes = 0;
  // By event, where this system's own perf counts them; else empty.
  std::vector<Counting> countings = {};

  friend bool operator==(const Layout&, const Layout&) = default;
};

// The identifiers that tell which attribute a record belongs to: the first attribute carries the
// sideband (mappings, names, forks, exits), the profiled events follow.
inline constexpr std::uint64_t kSidebandId = 1;
constexpr std::uint64_t event_id(std::size_t event) {
  return kSidebandId + 1 + event;
}

// Events are sampled by frequency: each sample tells its count.
bool has_periods(const Layout& layout);

// PERF_SAMPLE_* bits of every attribute that we write.
std::uint64_t sample_type(const Layout& layout);
// Sets them, and what else of an attribute says how its samples look.
void apply(const Layout& layout, perf_event_attr& attr);

// The most of a stack that fits into a record, whose size has 16 bits, beside the rest of a sample
// with the longest call chain that kernel.perf_event_max_stack allows by default.
inline constexpr std::uint32_t kMostStackBytes = 64'000;

// Xen keeps this range for itself in every x86-64 PV domain (xen/include/public/arch-x86/xen.h,
// HYPERVISOR_VIRT_START and _END); elsewhere it is a hole (Documentation/arch/x86/x86_64/mm.rst).
inline constexpr std::uint64_t kXenStart = 0xffff800000000000u;
inline constexpr std::uint64_t kXenEnd = 0xffff880000000000u;

// What was copied of the user's registers and stack, for whoever looks for the callers.
struct UserStack {
  std::uint64_t mask = 0;   // 1 << PERF_REG_X86_*: those that are there
  Bytes registers;          // a word each, in the order of the mask's bits; empty: of no user code
  bool narrow = false;      // of 32-bit code
  Bytes stack;              // from the stack pointer on
  bool more_stack = false;  // than was asked for; else it ends there
};

// Views point into the bytes that were parsed, `call_chain` into the parser: both are gone with the
// next parse().
struct SampleRecord {
  std::uint64_t ip = 0;
  std::int32_t pid = 0;
  std::int32_t tid = 0;
  std::uint32_t cpu = 0;     // the vCPU
  std::size_t event = 0;     // index into Layout::events
  std::uint64_t period = 0;  // events that it stands for; 0: not told
  bool user = false;         // PERF_RECORD_MISC_USER; the hypervisor's samples are kernel ones here
  bool hypervisor = false;   // PERF_RECORD_MISC_HYPERVISOR, which we never write
  bool guest = false;        // of a virtual machine, whose addresses mean nothing here
  std::span<const std::uint64_t> call_chain;  // with PERF_CONTEXT_* markers
  // With it the call chain is the kernel's part alone.
  std::optional<UserStack> user_stack = {};
};

struct MmapRecord {
  bool kernel = false;
  bool data = false;  // not executable
  std::int32_t pid = 0;
  std::int32_t tid = 0;
  std::uint64_t start = 0;
  std::uint64_t length = 0;
  std::uint64_t page_offset = 0;  // bytes
  std::string_view path;
  Bytes build_id;  // empty when unknown
};

struct CommRecord {
  std::int32_t pid = 0;
  std::int32_t tid = 0;
  std::string_view name;
  bool exec = false;
};

struct ForkRecord {
  std::int32_t pid = 0;
  std::int32_t parent_pid = 0;
  std::int32_t tid = 0;
  std::int32_t parent_tid = 0;
};

struct ExitRecord {
  std::int32_t pid = 0;
  std::int32_t tid = 0;
};

struct LostRecord {
  std::uint64_t id = 0;
  std::uint64_t count = 0;
};

struct KsymbolRecord {
  std::uint64_t address = 0;
  std::uint32_t length = 0;
  bool removed = false;
  std::string_view name;
};

// Of a type that the profile does not need, or that we do not know.
struct OtherRecord {
  std::uint32_t type = 0;
};

struct Record {
  std::uint64_t time =
      0;  // of the kernel's clock for perf, nanoseconds; 0: was so before recording began
  std::variant<OtherRecord, SampleRecord, MmapRecord, CommRecord, ForkRecord, ExitRecord,
               LostRecord, KsymbolRecord>
      body;
};

// Makes records. What is returned lives until the next call.
class RecordBuilder {
 public:
  explicit RecordBuilder(const Layout& layout)
      : periods_(has_periods(layout)), call_chains_(layout.call_chains) {}

  // `call_chain` (with context markers) is left out when the layout has none.
  Bytes sample(std::uint64_t time, std::size_t event, Mode mode, std::uint64_t ip, std::int32_t pid,
               std::int32_t tid, std::uint32_t cpu, std::span<const std::uint64_t> call_chain);
  // A piece of the kernel's address space: "[kernel.kallsyms]_text", a module's file, "[xen]".
  Bytes kernel_mmap(std::uint64_t start, std::uint64_t length, std::uint64_t page_offset,
                    std::string_view path);
  // A mapping of a process.
  struct Inode {
    std::uint32_t major = 0;
    std::uint32_t minor = 0;
    std::uint64_t number = 0;
  };
  Bytes mmap(std::uint64_t time, std::int32_t pid, std::int32_t tid, std::uint64_t start,
             std::uint64_t length, std::uint64_t page_offset, const Inode& inode,
             std::uint32_t protection, std::string_view path);
  Bytes comm(std::uint64_t time, std::int32_t pid, std::int32_t tid, std::string_view name,
             bool exec);
  Bytes fork(std::uint64_t time, const ForkRecord& fork);
  Bytes exit(std::uint64_t time, const ExitRecord& exit);
  Bytes lost(std::uint64_t time, std::uint32_t cpu, std::uint64_t id, std::uint64_t count);
  Bytes ksymbol(const KsymbolRecord& symbol);
  // A record of the kernel's dummy event, as it is but for its identifier.
  Bytes sideband(Bytes record);

 private:
  void put_text(std::string_view text);
  void begin(std::uint32_t type, std::uint16_t misc);
  Bytes end(std::int32_t pid, std::int32_t tid, std::uint64_t time, std::uint64_t id,
            std::uint32_t cpu = 0);
  Bytes close();

  bool periods_;
  bool call_chains_;
  std::vector<std::byte> buffer_;
};

// What stands at the head of every domain's file so that perf knows Xen's addresses.
Bytes xen_mmap(RecordBuilder& builder);

// The head of a passive domain's records: its kernel and Xen, nothing else is known of it.
std::vector<std::byte> passive_head(const Layout& layout);

struct XenFunction {
  std::uint64_t address = 0;
  std::uint32_t length = 0;
  std::string_view name;
};
// Records that make `perf report` name these functions of Xen. They may stand behind the samples:
// perf heeds them first.
std::vector<std::byte> xen_function_records(const Layout& layout,
                                            std::span<const XenFunction> functions);

}  // namespace xenoprof::perf
