// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <filesystem>

#include "model/result.h"

namespace xenoprof::lab {

// A lock between processes, held until the object or the process ends.
class FileLock {
 public:
  enum class Wait { kUntilFree, kNever };
  enum class Kind { kExclusive, kShared };
  // Makes the file when it is missing. With kNever a held lock is an error that says so. A wait
  // ends with Ctrl-C.
  static Result<FileLock> take(const std::filesystem::path& file, Wait wait,
                               Kind kind = Kind::kExclusive);
  ~FileLock();
  FileLock(FileLock&& other) noexcept;
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;
  FileLock& operator=(FileLock&&) = delete;

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace xenoprof::lab
