// SPDX-License-Identifier: GPL-2.0-or-later
// An open file of which one object is the owner.
#pragma once

#include <unistd.h>

#include <utility>

namespace xenoprof {

class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int number) : number_(number) {}
  FileDescriptor(FileDescriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~FileDescriptor() {
    if (number_ >= 0) {
      ::close(number_);
    }
  }

  // Negative: none.
  int get() const { return number_; }
  explicit operator bool() const { return number_ >= 0; }
  // From now on the caller's to close.
  int release() { return std::exchange(number_, -1); }

 private:
  int number_ = -1;
};

}  // namespace xenoprof
