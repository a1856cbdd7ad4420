// SPDX-License-Identifier: GPL-2.0-or-later
// How the fields of records lie in memory (linux/perf_event.h, enum perf_event_type).
#pragma once

#include <cstdint>

namespace xenoprof::perf {

// What every sample of a sample_type() has, before the rest.
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

// What sample_id_all appends to every record but samples, for our sample_type().
struct SampleIdFields {
  std::int32_t pid;
  std::int32_t tid;
  std::uint64_t time;
  std::uint32_t cpu;
  std::uint32_t reserved;
  std::uint64_t id;
};
static_assert(sizeof(SampleIdFields) == 32);

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

// The other task of a switch: the next one where this one is switched out, else the previous one.
struct SwitchFields {
  std::int32_t pid;
  std::int32_t tid;
};

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

}  // namespace xenoprof::perf
