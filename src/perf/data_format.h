// SPDX-License-Identifier: GPL-2.0-or-later
// What a perf.data holds besides records (tools/perf/util/header.h of Linux 6.1).
#pragma once

#include <linux/perf_event.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "model/result.h"
#include "perf/bytes.h"
#include "perf/data_file.h"

namespace xenoprof::perf {

inline constexpr std::uint64_t kMagic = 0x32454c4946524550u;         // "PERFILE2"
inline constexpr std::uint64_t kSwappedMagic = 0x50455246494c4532u;  // of a big-endian machine

struct FileSection {
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
};

struct FileHeader {
  std::uint64_t magic = kMagic;
  std::uint64_t size = 0;       // of this header; 16 in a file made for a pipe
  std::uint64_t attr_size = 0;  // of one attribute and its FileSection of identifiers
  FileSection attrs;
  FileSection data;  // size 0: not known, up to the end of the file
  FileSection event_types;
  // A bit per feature. The table of their FileSections, in order of the bits, begins where the data
  // ends.
  std::uint64_t features[4] = {};
};
static_assert(sizeof(FileHeader) == 104);

// struct perf_record_header_build_id of tools/lib/perf/include/perf/event.h; the path follows.
struct BuildIdEntry {
  perf_event_header header;
  std::int32_t pid;
  std::array<std::byte, 20> id;
  std::uint8_t size;  // of the id; it counts with kHasSize in header.misc, otherwise it is 20
  std::uint8_t reserved[3];
};
static_assert(sizeof(BuildIdEntry) == 36);
inline constexpr std::uint16_t kHasSize = 1 << 15;  // PERF_RECORD_MISC_BUILD_ID_SIZE

enum Feature : unsigned {
  kBuildIdFeature = 2,
  kHostnameFeature = 3,
  kOsReleaseFeature = 4,
  kArchitectureFeature = 6,
  kCpusFeature = 7,
  kCommandLineFeature = 11,
  kEventNamesFeature = 12,
};

// Names of the events in the form of kEventNamesFeature, in the order of the attributes; none when
// it is broken.
std::vector<std::string> event_names_in(Bytes feature);
// The entries of kBuildIdFeature, up to the first that is broken.
std::vector<BuildId> build_ids_in(Bytes feature);

// Reads exactly `bytes`, or nothing (false) where the file ends before.
Result<bool> read_at(int descriptor, std::uint64_t offset, std::span<std::byte> bytes,
                     const std::filesystem::path& path);
Result<void> write_at(int descriptor, std::uint64_t offset, std::span<const std::byte> bytes,
                      const std::filesystem::path& path);

}  // namespace xenoprof::perf
