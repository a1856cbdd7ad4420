// SPDX-License-Identifier: GPL-2.0-or-later
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <system_error>

#include "pprof/pprof.h"

namespace xenoprof::pprof {
namespace {

// A compressed file cannot be larger than this and unpack to less than the limit: deflate never
// adds more than a few bytes for each 16 KiB.
constexpr std::size_t kMaxFile = kFileLimits.bytes + kFileLimits.bytes / 1024;

Result<void> write_all(int file, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file, bytes.data(), bytes.size());
    if (written < 0 && errno != EINTR) {
      return fail("{}", std::strerror(errno));
    }
    bytes.remove_prefix(written > 0 ? static_cast<std::size_t>(written) : 0);
  }
  return {};
}

}  // namespace

Result<void> write(const Profile& profile, const std::filesystem::path& path) {
  const std::string bytes = encode(profile);
  // A pipe or a device is written to as it is: a file must not take its place.
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  const bool replaced =
      !std::filesystem::exists(status) || std::filesystem::is_regular_file(status);
  std::filesystem::path unfinished = path;
  unfinished += replaced ? ".part" : "";
  const int file = ::open(unfinished.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file < 0) {
    return fail("{} cannot be written: {}.", path.string(), std::strerror(errno));
  }
  Result<void> done = write_all(file, bytes);
  // close() tells of a full disk on network file systems.
  if (::close(file) != 0 && done) {
    done = fail("{}", std::strerror(errno));
  }
  if (done && replaced && std::rename(unfinished.c_str(), path.c_str()) != 0) {
    done = fail("{}", std::strerror(errno));
  }
  if (!done) {
    if (replaced) {
      ::unlink(unfinished.c_str());
    }
    return fail("{} cannot be written: {}.", path.string(), done.error().message);
  }
  return {};
}

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
