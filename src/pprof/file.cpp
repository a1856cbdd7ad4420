// SPDX-License-Identifier: GPL-2.0-or-later
#include <cerrno>
#include <cstring>
#include <fstream>
#include <system_error>

#include "pprof/pprof.h"

namespace xenoprof::pprof {
namespace {

// A compressed file cannot be larger than this and unpack to less than the limit: deflate never
// adds more than a few bytes for each 16 KiB.
constexpr std::size_t kMaxFile = kFileLimits.bytes + kFileLimits.bytes / 1024;

}  // namespace

Result<Stored> read(const std::filesystem::path& path, const Progress& progress) {
  std::error_code error;
  const std::uintmax_t size = std::filesystem::file_size(path, error);
  if (error) {
    return fail("{} cannot be read: {}.", path.string(), error.message());
  }
  if (size > kMaxFile) {
    return fail("{} cannot be read: it is larger than {} MiB.", path.string(), kMaxFile >> 20);
  }
  std::string bytes(size, '\0');
  std::ifstream file(path, std::ios::binary);
  if (!file.read(bytes.data(), static_cast<std::streamsize>(size))) {
    return fail("{} cannot be read: {}.", path.string(), std::strerror(errno));
  }
  auto stored = decode_stored(bytes, kFileLimits, progress);
  if (!stored) {
    return fail("{}: {}", path.string(), stored.error().message);
  }
  return stored;
}

}  // namespace xenoprof::pprof
