// SPDX-License-Identifier: GPL-2.0-or-later
// Debian packages in private roots: fetched with the machine's own apt configuration, unpacked, not
// installed. No root rights are needed and the system's package state is not touched.
#pragma once

#include <filesystem>
#include <memory>

#include "file_lock.h"
#include "model/result.h"
#include "progress.h"

namespace xenoprof::lab {

struct Roots {
  std::filesystem::path tools;    // what runs here: QEMU
  std::filesystem::path machine;  // what runs in the machines: Xen, Linux, perf, ...
  // While it lives, no other lab replaces what is in them.
  std::shared_ptr<const FileLock> in_use;
};

enum class Refresh { kWhenMissing, kAlways };

// Fetches and unpacks what is missing. When nothing is, no program is run and nothing fetched.
// kAlways asks the archives for newer packages.
Result<Roots> ensure_roots(Refresh refresh, Progress& progress);

}  // namespace xenoprof::lab
