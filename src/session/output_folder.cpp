// SPDX-License-Identifier: GPL-2.0-or-later
#include "session/output_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <optional>
#include <string>

#include "report/session_file.h"

namespace xenoprof {
namespace {

namespace fs = std::filesystem;

constexpr char kReserveFile[] = ".reserve";
constexpr off_t kReserveSize = 4 << 20;
constexpr int kAttempts = 10;

bool is_whole(const fs::path& folder) {
  std::error_code error;
  return fs::exists(folder / kSessionFile, error) && fs::exists(folder / kProfileFile, error);
}

// One that was killed, or whose disk was full, is not whole, but its reserve is still there.
bool is_session(const fs::path& folder) {
  std::error_code error;
  return is_whole(folder) || fs::exists(folder / kReserveFile, error);
}

fs::path beside(const fs::path& folder, const char* suffix) {
  return folder.string() + suffix;
}
fs::path old(const fs::path& folder) {
  return beside(folder, ".old");
}
// Names that nobody else would give. Where the earlier session waits until it is known whether
// there will be another one:
fs::path aside(const fs::path& folder) {
  return beside(folder, ".xenoprof-before");
}
// What was old until then, and takes its time to be removed.
fs::path outdated(const fs::path& folder) {
  return beside(folder, ".xenoprof-outdated");
}

// Also if it was interrupted in that before: the reserve, by which it is known, goes last.
void remove_outdated(const fs::path& folder) {
  const fs::path place = outdated(folder);
  std::error_code ignored;
  if (fs::is_symlink(place, ignored)) {
    fs::remove(place, ignored);  // what it leads to is its user's
    return;
  }
  if (!is_session(place)) {
    return;
  }
  std::ofstream(place / kReserveFile).flush();
  for (const auto& entry : fs::directory_iterator(place, ignored)) {
    if (entry.path().filename() != kReserveFile) {
      fs::remove_all(entry.path(), ignored);
    }
  }
  fs::remove_all(place, ignored);
}

// Takes away what a session that has not begun has made.
void discard(const fs::path& folder, bool made) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    if (entry.path().filename().string().ends_with(".perf.data")) {
      fs::remove(entry.path(), ignored);
    }
  }
  fs::remove(folder / kReserveFile, ignored);
  if (made) {
    ::rmdir(folder.c_str());  // nothing but a folder, and only if nothing else is in it
  }
  if (is_session(aside(folder))) {
    // Not in the place of another's that was made just now.
    ::renameat2(AT_FDCWD, aside(folder).c_str(), AT_FDCWD, folder.c_str(), RENAME_NOREPLACE);
  }
}

// None: `folder` is not what was locked any more, look again. Without a lock where its file system
// has none.
Result<std::optional<FileDescriptor>> lock(const fs::path& folder) {
  FileDescriptor opened(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  struct stat locked{};
  struct stat there{};
  if (!opened) {
    const int failed = errno;
    std::error_code ignored;
    if (failed == ENOENT && !fs::is_symlink(folder, ignored)) {
      return std::nullopt;
    }
    return fail("cannot make the folder {}: {} is there", folder.string(),
                failed == ENOTDIR || failed == ENOENT ? "something else" : "what cannot be read");
  }
  if (::flock(opened.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    return fail("another session is recording into {}: choose another place with -o",
                folder.string());
  }
  if (::fstat(opened.get(), &locked) != 0 || ::stat(folder.c_str(), &there) != 0 ||
      locked.st_ino != there.st_ino || locked.st_dev != there.st_dev) {
    return std::nullopt;
  }
  return std::optional(std::move(opened));
}

std::unexpected<Error> in_the_way(const fs::path& place) {
  return fail("{} is in the way of the earlier session: choose another place with -o",
              place.string());
}

// Whether the earlier session, if there is one, can become the old one.
Result<void> is_free(const fs::path& folder) {
  std::error_code error;
  if (!is_session(folder) && !is_session(aside(folder))) {
    return {};
  }
  if (fs::exists(outdated(folder), error)) {
    return in_the_way(outdated(folder));
  }
  if (!fs::exists(old(folder), error)) {
    return {};
  }
  if (!is_session(old(folder))) {
    return in_the_way(old(folder));
  }
  const auto locked = lock(old(folder));
  return locked ? Result<void>() : std::unexpected(locked.error());
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

Result<OutputFolder> OutputFolder::open(const fs::path& given) {
  if (given.empty()) {
    return OutputFolder({}, {}, false);
  }
  std::error_code error;
  // What a link leads to makes room, not the link.
  const bool leads = fs::is_symlink(given, error) && fs::is_directory(given, error);
  const fs::path path = leads ? fs::canonical(given, error) : given;
  fs::create_directories(fs::absolute(path, error).parent_path(), error);
  // Others may do the same at the same time: whoever makes the folder has it, or locks it first.
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const bool made = ::mkdir(path.c_str(), 0777) == 0;
    if (!made && errno != EEXIST) {
      return fail("cannot make the folder {}: {}", path.string(), std::strerror(errno));
    }
    auto locked = lock(path);
    if (!locked) {
      return std::unexpected(locked.error());
    }
    if (!*locked) {
      continue;
    }
    remove_outdated(path);
    if (auto free = is_free(path); !free) {
      return std::unexpected(free.error());
    }
    if (fs::is_empty(path, error) && !error) {
      OutputFolder folder(path, **std::move(locked), made);
      if (auto done = reserve(path); !done) {
        return std::unexpected(done.error());
      }
      return folder;
    }
    if (!is_session(path)) {
      return fail("{} is there and is no session: choose another place with -o", path.string());
    }
    if (is_session(aside(path)) && !is_whole(path)) {
      discard(path, true);  // of one that was killed before it had begun
      continue;
    }
    if (fs::exists(aside(path), error)) {
      return in_the_way(aside(path));
    }
    fs::rename(path, aside(path), error);
    if (error) {
      return fail("cannot move the earlier session {} aside: {}", path.string(), error.message());
    }
  }
  return fail("{} is made and moved by others all the time: choose another place with -o",
              path.string());
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
  if (!begun_) {
    discard(path_, made_);
    return;
  }
  if (is_whole(path_)) {
    std::error_code ignored;
    fs::remove(path_ / kReserveFile, ignored);
  }
  remove_outdated(path_);
}

void OutputFolder::begun() {
  if (path_.empty()) {
    return;
  }
  begun_ = true;
  std::error_code ignored;
  if (is_session(aside(path_))) {
    fs::rename(old(path_), outdated(path_), ignored);
    fs::rename(aside(path_), old(path_), ignored);
  }
}

void release_reserve(const fs::path& folder) {
  std::error_code ignored;
  fs::resize_file(folder / kReserveFile, 0, ignored);
}

}  // namespace xenoprof
