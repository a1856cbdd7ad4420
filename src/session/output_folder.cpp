// SPDX-License-Identifier: GPL-2.0-or-later
#include "session/output_folder.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "report/session_file.h"

namespace xenoprof {
namespace {

constexpr char kReserveFile[] = ".reserve";
constexpr off_t kReserveSize = 4 << 20;

// One that was killed has no session.json yet, but its reserve is still there.
bool is_session(const std::filesystem::path& folder) {
  std::error_code error;
  return std::filesystem::exists(folder / kSessionFile, error) ||
         std::filesystem::exists(folder / kReserveFile, error);
}

// Where the earlier session waits until it is known whether there will be another one.
std::filesystem::path aside(const std::filesystem::path& folder) {
  return folder.string() + ".before";
}

}  // namespace

Result<void> open_output(const std::filesystem::path& folder) {
  std::error_code error;
  settle_output(folder);  // one that was killed while it began
  if (is_session(folder)) {
    std::filesystem::rename(folder, aside(folder), error);
    if (error) {
      return fail("cannot move the earlier session {} aside: {}", folder.string(), error.message());
    }
  }
  std::filesystem::create_directories(folder, error);
  if (error) {
    return fail("cannot make the folder {}: {}", folder.string(), error.message());
  }
  if (!std::filesystem::is_empty(folder, error)) {
    return fail("{} is there and is no session: choose another place with -o", folder.string());
  }
  const std::filesystem::path reserve = folder / kReserveFile;
  const int fd = ::open(reserve.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
  const int failed = fd < 0 ? errno : ::posix_fallocate(fd, 0, kReserveSize);
  if (fd >= 0) {
    ::close(fd);
  }
  if (failed != 0) {
    discard_output(folder);
    return fail("cannot write into {}: {}; choose another place with -o", folder.string(),
                std::strerror(failed));
  }
  return {};
}

void settle_output(const std::filesystem::path& folder) {
  std::error_code ignored;
  if (!is_session(aside(folder))) {
    return;
  }
  const std::filesystem::path old = folder.string() + ".old";
  if (is_session(old)) {
    std::filesystem::remove_all(old, ignored);
  }
  std::filesystem::rename(aside(folder), old, ignored);
}

void release_reserve(const std::filesystem::path& folder) {
  std::error_code ignored;
  std::filesystem::remove(folder / kReserveFile, ignored);
}

void discard_output(const std::filesystem::path& folder) {
  std::error_code ignored;
  release_reserve(folder);
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    if (entry.path().filename().string().ends_with(".perf.data")) {
      std::filesystem::remove(entry.path(), ignored);
    }
  }
  std::filesystem::remove(folder, ignored);  // only if nothing else is in it
  if (is_session(aside(folder))) {
    std::filesystem::rename(aside(folder), folder, ignored);
  }
}

}  // namespace xenoprof
