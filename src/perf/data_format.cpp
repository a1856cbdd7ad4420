// SPDX-License-Identifier: GPL-2.0-or-later
#include "perf/data_format.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "perf/data_file.h"

namespace xenoprof::perf {

File::File(File&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}

File& File::operator=(File&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

File::~File() {
  if (descriptor_ >= 0) {
    ::close(descriptor_);
  }
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
