// SPDX-License-Identifier: GPL-2.0-or-later
#include "files/new_file.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "files/folder.h"
#include "files/place.h"

namespace xenoprof {
namespace {

namespace fs = std::filesystem;

constexpr mode_t kThisUserOnly = S_IRUSR | S_IWUSR;
constexpr mode_t kUmaskDecides = 0666;

// A number that is taken is not worth more attempts: nobody can know it before.
std::string temporary_name() {
  std::uint64_t number = 0;
  (void)!::getrandom(&number, sizeof number, 0);
  return fmt::format("{}{:016x}", kUnfinished, number);
}

}  // namespace

std::unexpected<Error> NewFile::failed(int error) const {
  return fail("{} cannot be written: {}.", path_.string(), std::strerror(error));
}

Result<void> NewFile::begin(mode_t mode) {
  std::string name = temporary_name();
  file_ = FileDescriptor(::openat(folder_.get(), name.c_str(),
                                  O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
  if (!file_) {
    return failed(errno);
  }
  temporary_ = std::move(name);
  return {};
}

Result<NewFile> NewFile::make(const fs::path& path, Readers readers) {
  auto place = find_place(path);
  if (!place) {
    return fail("{} cannot be written: {}.", path.string(), place.error().message);
  }
  NewFile file(std::move(place->folder), place->name, path);
  struct stat there{};
  const bool is_there =
      ::fstatat(file.folder_.get(), file.name_.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0;
  if (S_ISDIR(there.st_mode) || !path.has_filename()) {
    return file.failed(EISDIR);
  }
  // A link that find_place() did not follow is another user's, or procfs', of an open file.
  const bool open_file = S_ISLNK(there.st_mode) && place->is_procfs;
  const bool replaced = !is_there || S_ISREG(there.st_mode) || S_ISLNK(there.st_mode);
  if (open_file || !replaced) {
    const int flags = open_file ? O_TRUNC : O_NOFOLLOW;
    file.file_ = FileDescriptor(
        ::openat(file.folder_.get(), file.name_.c_str(), O_WRONLY | O_NOCTTY | O_CLOEXEC | flags));
    if (!file.file_ || ::fstat(file.descriptor(), &there) != 0) {
      return file.failed(errno);
    }
    if (S_ISREG(there.st_mode) && !open_file) {
      return file.failed(EEXIST);  // it was none when it was looked at
    }
    return file;
  }
  const bool ours = is_there && S_ISREG(there.st_mode) && there.st_uid == ::geteuid();
  const mode_t kept = there.st_mode & 0777;
  auto begun = file.begin(readers == Readers::kThisUser || ours ? kThisUserOnly : kUmaskDecides);
  if (begun && readers == Readers::kAsUsual && ours && ::fchmod(file.descriptor(), kept) != 0) {
    begun = file.failed(errno);
  }
  return begun ? Result<NewFile>(std::move(file)) : std::unexpected(begun.error());
}

Result<NewFile> NewFile::make(const Folder& folder, const std::string& name) {
  NewFile file(FileDescriptor(::fcntl(folder.descriptor(), F_DUPFD_CLOEXEC, 0)), name,
               folder.path() / name);
  auto begun = file.begin(kThisUserOnly);
  return begun ? Result<NewFile>(std::move(file)) : std::unexpected(begun.error());
}

NewFile::NewFile(NewFile&& other) noexcept
    : folder_(std::move(other.folder_)),
      name_(std::move(other.name_)),
      path_(std::move(other.path_)),
      temporary_(std::exchange(other.temporary_, {})),
      file_(std::move(other.file_)) {}

NewFile::~NewFile() {
  if (!temporary_.empty()) {
    ::unlinkat(folder_.get(), temporary_.c_str(), 0);
  }
}

Result<void> NewFile::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file_.get(), bytes.data(), bytes.size());
    if (written < 0 && errno != EINTR) {
      return failed(errno);
    }
    bytes.remove_prefix(written > 0 ? static_cast<std::size_t>(written) : 0);
  }
  return {};
}

Result<void> NewFile::commit() {
  // close() tells of a full disk on network file systems.
  if (::close(file_.release()) != 0 ||
      (!temporary_.empty() &&
       ::renameat(folder_.get(), temporary_.c_str(), folder_.get(), name_.c_str()) != 0)) {
    return failed(errno);
  }
  temporary_.clear();
  return {};
}

Result<void> write_file(const fs::path& path, std::string_view bytes, Readers readers) {
  auto file = NewFile::make(path, readers);
  if (!file) {
    return std::unexpected(file.error());
  }
  const auto written = file->write(bytes);
  return written ? file->commit() : written;
}

}  // namespace xenoprof
