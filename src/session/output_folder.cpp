// SPDX-License-Identifier: GPL-2.0-or-later
#include "session/output_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

#include "report/session_file.h"

namespace xenoprof {
namespace {

namespace fs = std::filesystem;

constexpr char kReserveFile[] = ".reserve";
constexpr off_t kReserveSize = 4 << 20;
constexpr int kAttempts = 10;

bool is_whole(const Folder& folder) {
  return folder.has_file(kSessionFile) && folder.has_file(kProfileFile);
}

// One that was killed, or whose disk was full, is not whole, but its reserve is still there.
bool is_session(const Folder& folder) {
  return is_whole(folder) || folder.has_file(kReserveFile);
}

std::string old(const Place& place) {
  return place.name + ".old";
}
// Names that nobody else would give. Where the earlier session waits until it is known whether
// there will be another one:
std::string aside(const Place& place) {
  return place.name + ".xenoprof-before";
}
// What was old until then, and takes its time to be removed.
std::string outdated(const Place& place) {
  return place.name + ".xenoprof-outdated";
}

std::optional<struct stat> status_of(const Place& place, const std::string& name) {
  struct stat status{};
  return ::fstatat(place.folder.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0
             ? std::optional(status)
             : std::nullopt;
}

bool is_own_link(const struct stat& status) {
  return S_ISLNK(status.st_mode) && status.st_uid == ::geteuid();
}

// A session of ours: what is another user's is none.
std::optional<Folder> session_at(const Place& place, const std::string& name) {
  auto folder = Folder::open(place, name);
  return folder && *folder && is_session(**folder) ? *std::move(folder) : std::nullopt;
}

bool rename(const Place& place, const std::string& from, const std::string& to,
            unsigned flags = 0) {
  return ::renameat2(place.folder.get(), from.c_str(), place.folder.get(), to.c_str(), flags) == 0;
}

// Also if it was interrupted in that before: the reserve, by which it is known, goes last.
void remove_outdated(const Place& place) {
  const std::string name = outdated(place);
  if (const auto status = status_of(place, name); status && is_own_link(*status)) {
    ::unlinkat(place.folder.get(), name.c_str(), 0);  // what it leads to is its user's
    return;
  }
  const auto folder = session_at(place, name);
  if (!folder) {
    return;
  }
  if (!folder->has_file(kReserveFile)) {
    (void)folder->create(kReserveFile);
  }
  folder->clear(kReserveFile);
  folder->remove(kReserveFile);
  // Only if it is empty, whatever has that name by now.
  ::unlinkat(place.folder.get(), name.c_str(), AT_REMOVEDIR);
}

// Takes away what a session that has not begun has made.
void discard(const Place& place, const Folder& folder, bool made) {
  for (const std::string& name : folder.names()) {
    if (name.ends_with(".perf.data")) {
      folder.remove(name);
    }
  }
  folder.remove(kReserveFile);
  if (made) {
    // Nothing but a folder, and only if nothing else is in it.
    ::unlinkat(place.folder.get(), place.name.c_str(), AT_REMOVEDIR);
  }
  if (session_at(place, aside(place))) {
    // Not in the place of another's that was made just now.
    rename(place, aside(place), place.name, RENAME_NOREPLACE);
  }
}

// None: what was locked does not have that name any more, look again. Without a lock where its file
// system has none.
Result<std::optional<Folder>> lock_folder(const Place& place, const std::string& name) {
  const fs::path path = place.path.parent_path() / name;
  const auto there = status_of(place, name);
  if (!there) {
    return std::nullopt;
  }
  if (!S_ISDIR(there->st_mode) && !S_ISLNK(there->st_mode)) {
    return fail("cannot make the folder {}: something else is there", path.string());
  }
  auto folder = Folder::open(place, name);
  if (!folder || !*folder) {
    return folder;
  }
  if (::flock((*folder)->descriptor(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    return fail("another session is recording into {}: choose another place with -o",
                path.string());
  }
  struct stat locked{};
  const auto now = status_of(place, name);
  if (!now || ::fstat((*folder)->descriptor(), &locked) != 0 || locked.st_ino != now->st_ino ||
      locked.st_dev != now->st_dev) {
    return std::nullopt;
  }
  return folder;
}

std::unexpected<Error> in_the_way(const Place& place, const std::string& name) {
  return fail("{} is in the way of the earlier session: choose another place with -o",
              (place.path.parent_path() / name).string());
}

// Whether the earlier session, if there is one, can become the old one.
Result<void> is_free(const Place& place, const Folder& folder) {
  if (!is_session(folder) && !session_at(place, aside(place))) {
    return {};
  }
  if (status_of(place, outdated(place))) {
    return in_the_way(place, outdated(place));
  }
  const auto status = status_of(place, old(place));
  if (!status) {
    return {};
  }
  if (is_own_link(*status)) {
    // It alone is replaced.
    const std::string inner = old(place) + "/" + kSessionFile;
    return ::faccessat(place.folder.get(), inner.c_str(), F_OK, 0) == 0
               ? Result<void>()
               : in_the_way(place, old(place));
  }
  if (!S_ISDIR(status->st_mode)) {
    return in_the_way(place, old(place));
  }
  const auto locked = lock_folder(place, old(place));
  if (!locked) {
    return std::unexpected(locked.error());
  }
  return *locked && !is_session(**locked) ? in_the_way(place, old(place)) : Result<void>();
}

Result<void> reserve(const Folder& folder) {
  const auto opened = folder.create(kReserveFile);
  if (!opened) {
    return fail("{}; choose another place with -o", opened.error().message);
  }
  if (const int failed = ::posix_fallocate(opened->get(), 0, kReserveSize); failed != 0) {
    return fail("cannot write into {}: {}; choose another place with -o", folder.path().string(),
                std::strerror(failed));
  }
  return {};
}

}  // namespace

Result<OutputFolder> OutputFolder::open(const fs::path& given) {
  if (given.empty()) {
    return OutputFolder();
  }
  // What a link leads to makes room, not the link.
  auto place = find_place(given, MissingFolders::kMade);
  if (!place) {
    return std::unexpected(place.error());
  }
  if (place->by_link && !status_of(*place, place->name)) {
    return fail("cannot make the folder {}: something else is there", given.string());
  }
  const std::string path = place->path.string();
  // Others may do the same at the same time: whoever makes the folder has it, or locks it first.
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const bool made = ::mkdirat(place->folder.get(), place->name.c_str(), S_IRWXU) == 0;
    if (!made && errno != EEXIST) {
      return fail("cannot make the folder {}: {}", path, std::strerror(errno));
    }
    auto locked = lock_folder(*place, place->name);
    if (!locked) {
      return std::unexpected(locked.error());
    }
    if (!*locked) {
      continue;
    }
    const Folder& folder = **locked;
    remove_outdated(*place);
    if (auto free = is_free(*place, folder); !free) {
      return std::unexpected(free.error());
    }
    if (folder.names().empty()) {
      OutputFolder output(*std::move(place), **std::move(locked), made);
      if (auto done = reserve(*output.folder_); !done) {
        return std::unexpected(done.error());
      }
      return output;
    }
    if (!is_session(folder)) {
      return fail("{} is there and is no session: choose another place with -o", path);
    }
    if (session_at(*place, aside(*place)) && !is_whole(folder)) {
      discard(*place, folder, true);  // of one that was killed before it had begun
      continue;
    }
    if (status_of(*place, aside(*place))) {
      return in_the_way(*place, aside(*place));
    }
    if (!rename(*place, place->name, aside(*place))) {
      return fail("cannot move the earlier session {} aside: {}", path, std::strerror(errno));
    }
  }
  return fail("{} is made and moved by others all the time: choose another place with -o", path);
}

OutputFolder::OutputFolder(OutputFolder&& other) noexcept
    : place_(std::move(other.place_)),
      folder_(std::exchange(other.folder_, std::nullopt)),
      made_(other.made_),
      begun_(other.begun_) {}

OutputFolder::~OutputFolder() {
  if (!folder_) {
    return;
  }
  if (!begun_) {
    discard(place_, *folder_, made_);
    return;
  }
  if (is_whole(*folder_)) {
    folder_->remove(kReserveFile);
  }
  remove_outdated(place_);
}

void OutputFolder::begun() {
  if (!folder_) {
    return;
  }
  begun_ = true;
  if (session_at(place_, aside(place_))) {
    rename(place_, old(place_), outdated(place_));
    rename(place_, aside(place_), old(place_));
  }
}

void OutputFolder::release_reserve() const {
  if (folder_) {
    const FileDescriptor emptied(
        ::openat(folder_->descriptor(), kReserveFile, O_WRONLY | O_TRUNC | O_NOFOLLOW | O_CLOEXEC));
  }
}

}  // namespace xenoprof
