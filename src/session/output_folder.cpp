// SPDX-License-Identifier: GPL-2.0-or-later
#include "session/output_folder.h"

#include <fcntl.h>
#include <sys/file.h>
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

bool is_whole(const fs::path& folder) {
  std::error_code error;
  return fs::exists(folder / kSessionFile, error) && fs::exists(folder / kProfileFile, error);
}

// One that was killed is not whole, but its reserve is still there.
bool is_session(const fs::path& folder) {
  std::error_code error;
  return is_whole(folder) || fs::exists(folder / kReserveFile, error);
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

void remove_outdated(const fs::path& folder) {
  std::error_code ignored;
  if (is_session(outdated(folder))) {
    fs::remove_all(outdated(folder), ignored);
  }
}

void put_back(const fs::path& folder) {
  std::error_code ignored;
  if (is_session(aside(folder))) {
    fs::rename(aside(folder), folder, ignored);
  }
}

void discard(const fs::path& folder, bool made) {
  std::error_code ignored;
  release_reserve(folder);
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    if (entry.path().filename().string().ends_with(".perf.data")) {
      fs::remove(entry.path(), ignored);
    }
  }
  if (made) {
    ::rmdir(folder.c_str());  // nothing but a folder, and only if nothing else is in it
  }
  put_back(folder);
}

// An error: another session records into it. None that is open: there is no folder, or its file
// system has no locks.
Result<FileDescriptor> lock(const fs::path& folder) {
  FileDescriptor opened(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (opened && ::flock(opened.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    return fail("another session is recording into {}: choose another place with -o",
                folder.string());
  }
  return opened;
}

Result<void> reserve(const fs::path& folder) {
  const fs::path file = folder / kReserveFile;
  const FileDescriptor opened(::open(file.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  const int failed = !opened ? errno : ::posix_fallocate(opened.get(), 0, kReserveSize);
  if (failed != 0) {
    return fail("cannot write into {}: {}; choose another place with -o", folder.string(),
                std::strerror(failed));
  }
  return {};
}

}  // namespace

Result<OutputFolder> OutputFolder::open(const fs::path& path) {
  auto locked = lock(path);
  if (!locked) {
    return std::unexpected(locked.error());
  }
  std::error_code error;
  if (is_session(aside(path)) && fs::exists(path / kReserveFile, error)) {
    discard(path, true);  // of one that was killed before it had begun
  }
  remove_outdated(path);
  if (is_session(path)) {
    if (fs::exists(old(path), error) && !is_session(old(path))) {
      return fail(
          "{} is no session, and in the way of the earlier one: choose another place with -o",
          old(path).string());
    }
    fs::rename(path, aside(path), error);
    if (error) {
      return fail("cannot move the earlier session {} aside: {}", path.string(), error.message());
    }
  }
  const bool made = fs::create_directories(path, error);
  if (error) {
    put_back(path);
    return fail("cannot make the folder {}: {}", path.string(), error.message());
  }
  if (made) {
    locked = lock(path);
  }
  if (!locked) {
    return std::unexpected(locked.error());
  }
  if (!fs::is_empty(path, error)) {
    return fail("{} is there and is no session: choose another place with -o", path.string());
  }
  OutputFolder folder(path, *std::move(locked), made);
  if (auto done = reserve(path); !done) {
    return std::unexpected(done.error());
  }
  return folder;
}

OutputFolder::OutputFolder(OutputFolder&& other) noexcept
    : path_(std::exchange(other.path_, {})),
      lock_(std::move(other.lock_)),
      made_(other.made_),
      begun_(other.begun_) {}

OutputFolder::~OutputFolder() {
  if (path_.empty()) {
    return;
  }
  if (begun_) {
    remove_outdated(path_);
  } else {
    discard(path_, made_);
  }
}

void OutputFolder::begun() {
  begun_ = true;
  std::error_code ignored;
  if (is_session(aside(path_))) {
    fs::rename(old(path_), outdated(path_), ignored);
    fs::rename(aside(path_), old(path_), ignored);
  }
}

void release_reserve(const fs::path& folder) {
  std::error_code ignored;
  fs::remove(folder / kReserveFile, ignored);
}

}  // namespace xenoprof
