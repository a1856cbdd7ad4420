// SPDX-License-Identifier: GPL-2.0-or-later
#include "perf/data_format.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace xenoprof::perf {

std::vector<std::string> event_names_in(Bytes feature) {
  std::uint32_t count = 0;
  std::uint32_t attr_size = 0;
  if (!take(feature, count) || !take(feature, attr_size)) {
    return {};
  }
  std::vector<std::string> names;
  for (; count > 0; --count) {
    std::uint32_t ids = 0;
    std::uint32_t length = 0;
    if (!skip(feature, attr_size) || !take(feature, ids) || !take(feature, length) ||
        length > feature.size()) {
      return {};
    }
    names.emplace_back(text_of(feature.first(length)));
    if (!skip(feature, length) || !skip(feature, std::uint64_t{ids} * sizeof(std::uint64_t))) {
      return {};
    }
  }
  return names;
}

std::vector<BuildId> build_ids_in(Bytes feature) {
  std::vector<BuildId> result;
  BuildIdEntry entry;
  for (Bytes rest = feature; take(rest, entry);) {
    if (entry.header.size < sizeof entry || entry.header.size - sizeof entry > rest.size()) {
      break;
    }
    const Bytes path = rest.first(entry.header.size - sizeof entry);
    const bool sized = (entry.header.misc & kHasSize) != 0;
    const std::size_t size = sized ? std::min<std::size_t>(entry.size, 20) : 20;
    const unsigned mode = entry.header.misc & PERF_RECORD_MISC_CPUMODE_MASK;
    result.push_back({.path = std::string(text_of(path)),
                      .id = {entry.id.begin(), entry.id.begin() + size},
                      .kernel = mode == PERF_RECORD_MISC_KERNEL});
    skip(rest, path.size());
  }
  return result;
}

Result<bool> read_at(int descriptor, std::uint64_t offset, std::span<std::byte> bytes,
                     const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t got = ::pread(descriptor, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (got < 0) {
      if (errno == EINTR) {
        continue;
      }
      return fail("cannot read {}: {}", path.string(), std::strerror(errno));
    }
    if (got == 0) {
      return false;
    }
    offset += static_cast<std::uint64_t>(got);
    bytes = bytes.subspan(static_cast<std::size_t>(got));
  }
  return true;
}

Result<void> write_at(int descriptor, std::uint64_t offset, std::span<const std::byte> bytes,
                      const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t put =
        ::pwrite(descriptor, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (put < 0) {
      if (errno == EINTR) {
        continue;
      }
      return fail("cannot write {}: {}", path.string(), std::strerror(errno));
    }
    offset += static_cast<std::uint64_t>(put);
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
  return {};
}

}  // namespace xenoprof::perf
