// SPDX-License-Identifier: GPL-2.0-or-later
#include "perf/records.h"

#include <linux/perf_event.h>

#include <algorithm>
#include <cstring>

#include "perf/bytes.h"

namespace xenoprof::perf {
namespace {

// What sample_id_all appends to every record but samples, for our sample_type().
struct Trailer {
  std::int32_t pid;
  std::int32_t tid;
  std::uint64_t time;
  std::uint32_t cpu;
  std::uint32_t reserved;
  std::uint64_t id;
};
static_assert(sizeof(Trailer) == 32);

struct MmapFields {
  std::int32_t pid;
  std::int32_t tid;
  std::uint64_t start;
  std::uint64_t length;
  std::uint64_t page_offset;
};
static_assert(sizeof(MmapFields) == 32);

// The two forms of what PERF_RECORD_MMAP2 has beyond PERF_RECORD_MMAP.
struct InodeFields {
  std::uint32_t major;
  std::uint32_t minor;
  std::uint64_t inode;
  std::uint64_t generation;
};
struct BuildIdFields {
  std::uint8_t size;
  std::uint8_t reserved[3];
  std::uint8_t id[20];
};
static_assert(sizeof(InodeFields) == 24 && sizeof(BuildIdFields) == 24);

struct CommFields {
  std::int32_t pid;
  std::int32_t tid;
};

struct TaskFields {  // of fork and exit
  std::int32_t pid;
  std::int32_t parent_pid;
  std::int32_t tid;
  std::int32_t parent_tid;
  std::uint64_t time;
};
static_assert(sizeof(TaskFields) == 24);

struct LostFields {
  std::uint64_t id;
  std::uint64_t count;
};

struct KsymbolFields {
  std::uint64_t address;
  std::uint32_t length;
  std::uint16_t type;
  std::uint16_t flags;
};
static_assert(sizeof(KsymbolFields) == 16);

struct SampleFields {
  std::uint64_t id;
  std::uint64_t ip;
  std::int32_t pid;
  std::int32_t tid;
  std::uint64_t time;
  std::uint32_t cpu;
  std::uint32_t reserved;
};
static_assert(sizeof(SampleFields) == 40);

// A record's size has 16 bits.
constexpr std::size_t kMaxCallChain = 8000;
constexpr std::size_t kMaxText = 8192;

// Text ends with a zero, or with the bytes.
std::string_view text_of(Bytes bytes) {
  const auto* start = reinterpret_cast<const char*>(bytes.data());
  return {start, strnlen(start, bytes.size())};
}

std::unexpected<Error> too_short(std::uint32_t type, std::size_t size) {
  return fail("a record of type {} has {} bytes, too few for what it should hold", type, size);
}

}  // namespace

std::uint64_t sample_type(const Layout& layout) {
  std::uint64_t type = PERF_SAMPLE_IDENTIFIER | PERF_SAMPLE_IP | PERF_SAMPLE_TID |
                       PERF_SAMPLE_TIME | PERF_SAMPLE_CPU;
  if (layout.call_chains) {
    type |= PERF_SAMPLE_CALLCHAIN;
  }
  return type;
}

Result<Bytes> first_record(Bytes bytes) {
  perf_event_header header;
  Bytes rest = bytes;
  if (!take(rest, header)) {
    return fail("a record is cut off in its header");
  }
  // perf aligns every record to 8 bytes.
  if (header.size < sizeof header || header.size % 8 != 0) {
    return fail("a record of type {} says that it has {} bytes", std::uint32_t{header.type},
                std::uint16_t{header.size});
  }
  if (header.size > bytes.size()) {
    return fail("a record of type {} is cut off after {} of {} bytes", std::uint32_t{header.type},
                bytes.size(), std::uint16_t{header.size});
  }
  return bytes.first(header.size);
}

RecordParser::RecordParser(const Layout& layout)
    : num_events_(layout.events.size()), call_chains_(layout.call_chains) {}

Result<Record> RecordParser::parse_sample(std::uint16_t misc, Bytes payload) {
  const std::size_t size = payload.size() + sizeof(perf_event_header);
  SampleFields fields;
  if (!take(payload, fields)) {
    return too_short(PERF_RECORD_SAMPLE, size);
  }
  if (fields.id < event_id(0) || fields.id - event_id(0) >= num_events_) {
    return fail("a sample belongs to event number {}, which was not announced", fields.id);
  }
  call_chain_.clear();
  if (call_chains_) {
    std::uint64_t length = 0;
    if (!take(payload, length) || length > payload.size() / sizeof(std::uint64_t)) {
      return too_short(PERF_RECORD_SAMPLE, size);
    }
    for (std::uint64_t entry = 0; length > 0 && take(payload, entry); --length) {
      call_chain_.push_back(entry);
    }
  }
  const unsigned mode = misc & PERF_RECORD_MISC_CPUMODE_MASK;
  return Record{fields.time, SampleRecord{.ip = fields.ip,
                                          .pid = fields.pid,
                                          .tid = fields.tid,
                                          .cpu = fields.cpu,
                                          .event = fields.id - event_id(0),
                                          .user = mode == PERF_RECORD_MISC_USER,
                                          .hypervisor = mode == PERF_RECORD_MISC_HYPERVISOR,
                                          .call_chain = call_chain_}};
}

Result<Record> RecordParser::parse(Bytes record) {
  const auto whole = first_record(record);
  if (!whole) {
    return std::unexpected(whole.error());
  }
  perf_event_header header;
  Bytes payload = *whole;
  take(payload, header);
  if (header.type == PERF_RECORD_SAMPLE) {
    return parse_sample(header.misc, payload);
  }

  const auto short_record = [&] { return too_short(header.type, whole->size()); };
  Record result;
  // Records made by perf itself (64 and up) have no trailer; we know none of them.
  if (header.type >= 64) {
    result.body = OtherRecord{header.type};
    return result;
  }
  Trailer trailer;
  if (payload.size() < sizeof trailer) {
    return short_record();
  }
  Bytes tail = payload.last(sizeof trailer);
  take(tail, trailer);
  payload = payload.first(payload.size() - sizeof trailer);
  result.time = trailer.time;

  const unsigned mode = header.misc & PERF_RECORD_MISC_CPUMODE_MASK;
  switch (header.type) {
    case PERF_RECORD_MMAP:
    case PERF_RECORD_MMAP2: {
      MmapFields fields;
      if (!take(payload, fields)) {
        return short_record();
      }
      MmapRecord mmap{.kernel = mode == PERF_RECORD_MISC_KERNEL,
                      .pid = fields.pid,
                      .tid = fields.tid,
                      .start = fields.start,
                      .length = fields.length,
                      .page_offset = fields.page_offset};
      if (header.type == PERF_RECORD_MMAP2) {
        // After the inode or the build-id come protection and flags.
        if (payload.size() < sizeof(BuildIdFields) + 8) {
          return short_record();
        }
        if ((header.misc & PERF_RECORD_MISC_MMAP_BUILD_ID) != 0) {
          const auto size = std::to_integer<std::size_t>(payload[0]);
          mmap.build_id = payload.subspan(offsetof(BuildIdFields, id),
                                          std::min(size, sizeof(BuildIdFields::id)));
        }
        payload = payload.subspan(sizeof(BuildIdFields) + 8);
      }
      mmap.path = text_of(payload);
      result.body = mmap;
      return result;
    }
    case PERF_RECORD_COMM: {
      CommFields fields;
      if (!take(payload, fields)) {
        return short_record();
      }
      result.body = CommRecord{.pid = fields.pid,
                               .tid = fields.tid,
                               .name = text_of(payload),
                               .exec = (header.misc & PERF_RECORD_MISC_COMM_EXEC) != 0};
      return result;
    }
    case PERF_RECORD_FORK:
    case PERF_RECORD_EXIT: {
      TaskFields fields;
      if (!take(payload, fields)) {
        return short_record();
      }
      if (header.type == PERF_RECORD_FORK) {
        result.body = ForkRecord{.pid = fields.pid,
                                 .parent_pid = fields.parent_pid,
                                 .tid = fields.tid,
                                 .parent_tid = fields.parent_tid};
      } else {
        result.body = ExitRecord{.pid = fields.pid, .tid = fields.tid};
      }
      return result;
    }
    case PERF_RECORD_LOST: {
      LostFields fields;
      if (!take(payload, fields)) {
        return short_record();
      }
      result.body = LostRecord{.id = fields.id, .count = fields.count};
      return result;
    }
    case PERF_RECORD_KSYMBOL: {
      KsymbolFields fields;
      if (!take(payload, fields)) {
        return short_record();
      }
      result.body =
          KsymbolRecord{.address = fields.address,
                        .length = fields.length,
                        .removed = (fields.flags & PERF_RECORD_KSYMBOL_FLAGS_UNREGISTER) != 0,
                        .name = text_of(payload)};
      return result;
    }
    default:
      result.body = OtherRecord{header.type};
      return result;
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

Bytes RecordBuilder::end(std::int32_t pid, std::int32_t tid, std::uint64_t time, std::uint64_t id) {
  put(buffer_, Trailer{.pid = pid, .tid = tid, .time = time, .cpu = 0, .reserved = 0, .id = id});
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
  begin(PERF_RECORD_MMAP2, PERF_RECORD_MISC_USER);
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

Bytes RecordBuilder::lost(std::uint64_t time, std::uint64_t id, std::uint64_t count) {
  begin(PERF_RECORD_LOST, 0);
  put(buffer_, LostFields{.id = id, .count = count});
  return end(0, 0, time, id);
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
