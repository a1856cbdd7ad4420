// SPDX-License-Identifier: GPL-2.0-or-later
// What a perf.data holds besides records (tools/perf/util/header.h of Linux 6.1).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

#include "model/result.h"

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

enum Feature : unsigned {
  kBuildIdFeature = 2,
  kHostnameFeature = 3,
  kOsReleaseFeature = 4,
  kArchitectureFeature = 6,
  kCpusFeature = 7,
  kCommandLineFeature = 11,
  kEventNamesFeature = 12,
};

// Reads exactly `bytes`, or nothing (false) where the file ends before.
Result<bool> read_at(int descriptor, std::uint64_t offset, std::span<std::byte> bytes,
                     const std::filesystem::path& path);
Result<void> write_at(int descriptor, std::uint64_t offset, std::span<const std::byte> bytes,
                      const std::filesystem::path& path);

}  // namespace xenoprof::perf
