// SPDX-License-Identifier: GPL-2.0-or-later
#include "file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "interrupt.h"

namespace xenoprof::lab {

Result<FileLock> FileLock::take(const std::filesystem::path& file, Wait wait, Kind kind) {
  const int fd = open(file.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0)
    return fail("cannot open {}: {}", file.string(), std::strerror(errno));
  FileLock lock(fd);
  const int operation =
      (kind == Kind::kShared ? LOCK_SH : LOCK_EX) | (wait == Wait::kNever ? LOCK_NB : 0);
  while (flock(fd, operation) != 0) {
    if (errno == EINTR && interrupted())
      return fail("interrupted while another xenoprof lab command holds {}", file.string());
    if (errno == EINTR)
      continue;
    if (errno == EWOULDBLOCK)
      return fail("{} is in use by another xenoprof lab command; wait for it", file.string());
    return fail("cannot lock {}: {}", file.string(), std::strerror(errno));
  }
  return lock;
}

FileLock::~FileLock() {
  if (fd_ >= 0)
    close(fd_);
}

FileLock::FileLock(FileLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

}  // namespace xenoprof::lab
