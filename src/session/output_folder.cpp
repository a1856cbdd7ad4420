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

namespace fs = std::filesystem;

constexpr char kReserveFile[] = ".reserve";
constexpr off_t kReserveSize = 4 << 20;

// One that was killed has no session.json yet, but its reserve is still there.
bool is_session(const fs::path& folder) {
  std::error_code error;
  return fs::exists(folder / kSessionFile, error) || fs::exists(folder / kReserveFile, error);
}

fs::path beside(const fs::path& folder, const char* suffix) {
  return folder.string() + suffix;
}
// Where the earlier session waits until it is known whether there will be another one.
fs::path aside(const fs::path& folder) {
  return beside(folder, ".before");
}
fs::path old(const fs::path& folder) {
  return beside(folder, ".old");
}
// What was old until then, and takes its time to be removed.
fs::path outdated(const fs::path& folder) {
  return beside(folder, ".outdated");
}

}  // namespace

Result<void> open_output(const fs::path& folder) {
  std::error_code error;
  if (is_session(aside(folder)) && !fs::exists(folder / kSessionFile, error)) {
    discard_output(folder);  // of one that was killed before it had begun
  }
  remove_outdated(folder);
  if (is_session(folder)) {
    if (fs::exists(old(folder), error) && !is_session(old(folder))) {
      return fail(
          "{} is no session, and in the way of the earlier one: choose another place with -o",
          old(folder).string());
    }
    fs::rename(folder, aside(folder), error);
    if (error) {
      return fail("cannot move the earlier session {} aside: {}", folder.string(), error.message());
    }
  }
  fs::create_directories(folder, error);
  if (error) {
    discard_output(folder);
    return fail("cannot make the folder {}: {}", folder.string(), error.message());
  }
  if (!fs::is_empty(folder, error)) {
    return fail("{} is there and is no session: choose another place with -o", folder.string());
  }
  const fs::path reserve = folder / kReserveFile;
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

void settle_output(const fs::path& folder) {
  std::error_code ignored;
  if (is_session(aside(folder))) {
    fs::rename(old(folder), outdated(folder), ignored);
    fs::rename(aside(folder), old(folder), ignored);
  }
}

void remove_outdated(const fs::path& folder) {
  std::error_code ignored;
  if (is_session(outdated(folder))) {
    fs::remove_all(outdated(folder), ignored);
  }
}

void release_reserve(const fs::path& folder) {
  std::error_code ignored;
  fs::remove(folder / kReserveFile, ignored);
}

void discard_output(const fs::path& folder) {
  std::error_code ignored;
  release_reserve(folder);
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    if (entry.path().filename().string().ends_with(".perf.data")) {
      fs::remove(entry.path(), ignored);
    }
  }
  fs::remove(folder, ignored);  // only if nothing else is in it
  if (is_session(aside(folder))) {
    fs::rename(aside(folder), folder, ignored);
  }
}

}  // namespace xenoprof
