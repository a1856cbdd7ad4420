// SPDX-License-Identifier: GPL-2.0-or-later
// A file of a test's, for what takes an open one.
#pragma once

#include <fcntl.h>

#include <filesystem>

#include "files/file_descriptor.h"

namespace xenoprof {

inline FileDescriptor new_file(const std::filesystem::path& path) {
  return FileDescriptor(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
}

}  // namespace xenoprof
