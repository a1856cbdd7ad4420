// SPDX-License-Identifier: GPL-2.0-or-later
#include "files/folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "files/new_file.h"

namespace xenoprof {
namespace {

namespace fs = std::filesystem;

constexpr int kFolder = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

std::vector<std::string> names_in(int folder) {
  std::vector<std::string> names;
  // A description of its own: the position in the list belongs to it.
  const int again = ::openat(folder, ".", kFolder);
  const std::unique_ptr<DIR, int (*)(DIR*)> list(again < 0 ? nullptr : ::fdopendir(again),
                                                 ::closedir);
  while (const dirent* entry = list ? ::readdir(list.get()) : nullptr) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") {
      names.emplace_back(name);
    }
  }
  return names;
}

void clear_folder(int folder, std::string_view kept) {
  for (const std::string& name : names_in(folder)) {
    if (name == kept || ::unlinkat(folder, name.c_str(), 0) == 0 || errno != EISDIR) {
      continue;
    }
    const FileDescriptor inner(::openat(folder, name.c_str(), kFolder));
    struct stat status{};
    if (inner && ::fstat(inner.get(), &status) == 0 && status.st_uid == ::geteuid()) {
      clear_folder(inner.get(), {});
      ::unlinkat(folder, name.c_str(), AT_REMOVEDIR);
    }
  }
}

// POSIX ACLs that let others write show in the group's bits (acl(5)).
Result<void> is_ours_alone(const struct stat& status, const fs::path& path) {
  if (status.st_uid != ::geteuid()) {
    return fail(
        "cannot use the folder {}: it belongs to user {}, who can change what is written "
        "there; name another folder",
        path.string(), status.st_uid);
  }
  if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return fail(
        "cannot use the folder {0}: other users may write there (mode {1:04o}); take that "
        "from them with `chmod go-w {0}`, or name another folder",
        path.string(), status.st_mode & 07777);
  }
  return {};
}

}  // namespace

Result<std::optional<Folder>> Folder::open(const Place& place) {
  return open(place, place.name);
}

Result<std::optional<Folder>> Folder::open(const Place& place, const std::string& name) {
  const fs::path path = place.path.parent_path() / name;
  const auto failed = [&](int error) {
    return fail("cannot use the folder {}: {}", path.string(), std::strerror(error));
  };
  FileDescriptor opened(::openat(place.folder.get(), name.c_str(), kFolder));
  struct stat status{};
  if (!opened) {
    const int error = errno;
    if (error == ENOENT) {
      return std::nullopt;
    }
    if (::fstatat(place.folder.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISLNK(status.st_mode)) {
      return fail(
          "cannot use the folder {}: it is a link that user {} made; name the folder that "
          "it leads to, or another one",
          path.string(), status.st_uid);
    }
    return failed(error);
  }
  if (::fstat(opened.get(), &status) != 0) {
    return failed(errno);
  }
  if (auto ours = is_ours_alone(status, path); !ours) {
    return std::unexpected(ours.error());
  }
  return Folder(std::move(opened), path);
}

Result<Folder> Folder::open(const fs::path& path) {
  const auto place = find_place(path);
  if (!place) {
    return std::unexpected(place.error());
  }
  auto folder = open(*place);
  if (!folder) {
    return std::unexpected(folder.error());
  }
  return *folder ? Result<Folder>(**std::move(folder))
                 : fail("cannot open {}: {}", path.string(), std::strerror(ENOENT));
}

Result<Folder> Folder::make(const Place& place) {
  if (::mkdirat(place.folder.get(), place.name.c_str(), S_IRWXU) != 0 && errno != EEXIST) {
    return fail("cannot make the folder {}: {}", place.path.string(), std::strerror(errno));
  }
  auto folder = open(place);
  if (!folder) {
    return std::unexpected(folder.error());
  }
  return *folder ? Result<Folder>(**std::move(folder))
                 : fail("cannot make the folder {}: somebody removed it", place.path.string());
}

Result<Folder> Folder::make(const fs::path& path) {
  const auto place = find_place(path, MissingFolders::kMade);
  return place ? make(*place) : std::unexpected(place.error());
}

Result<Folder> Folder::make_unexposed(const fs::path& path) {
  std::error_code error;
  const auto place = find_place(fs::absolute(path, error), MissingFolders::kMade);
  if (!place) {
    return std::unexpected(place.error());
  }
  if (!place->exposed.empty()) {
    return fail(
        "cannot use the folder {}: other users can put something else in its place, as "
        "{} is writable for them or belongs to one of them; name another folder",
        place->path.string(), place->exposed.string());
  }
  return make(*place);
}

Result<FileDescriptor> Folder::create(const std::string& name) const {
  ::unlinkat(descriptor(), name.c_str(), 0);
  FileDescriptor file(::openat(descriptor(), name.c_str(),
                               O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                               S_IRUSR | S_IWUSR));
  if (!file) {
    return fail("cannot create {}: {}", (path_ / name).string(), std::strerror(errno));
  }
  return file;
}

Result<void> Folder::write(const std::string& name, std::string_view bytes) const {
  auto file = NewFile::make(*this, name);
  if (!file) {
    return std::unexpected(file.error());
  }
  const auto written = file->write(bytes);
  return written ? file->commit() : written;
}

Result<FileDescriptor> Folder::read(const std::string& name) const {
  FileDescriptor file(::openat(descriptor(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!file) {
    return fail("cannot open {}: {}", (path_ / name).string(), std::strerror(errno));
  }
  return file;
}

bool Folder::has_file(const std::string& name) const {
  struct stat status{};
  return ::fstatat(descriptor(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
         S_ISREG(status.st_mode);
}

std::vector<std::string> Folder::names() const {
  return names_in(descriptor());
}

void Folder::remove(const std::string& name) const {
  ::unlinkat(descriptor(), name.c_str(), 0);
}

void Folder::clear(std::string_view kept) const {
  clear_folder(descriptor(), kept);
}

}  // namespace xenoprof
