// SPDX-License-Identifier: GPL-2.0-or-later
#include "paths.h"

#include <cstdlib>
#include <system_error>

#include "files/folder.h"

namespace xenoprof::lab {
namespace {

std::filesystem::path from_environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

Result<std::filesystem::path> cache_folder() {
  std::filesystem::path folder = from_environment("XENOPROF_CACHE");
  if (folder.empty()) {
    std::filesystem::path caches = from_environment("XDG_CACHE_HOME");
    if (caches.empty()) {
      const auto home = from_environment("HOME");
      if (home.empty())
        return fail("no cache folder: set XENOPROF_CACHE or HOME");
      caches = home / ".cache";
    }
    folder = caches / "xenoprof";
  }
  std::error_code error;
  folder = std::filesystem::absolute(folder, error);
  if (const auto ours = Folder::make_unexposed(folder); !ours)
    return fail("{} (the cache: XENOPROF_CACHE or XDG_CACHE_HOME)", ours.error().message);
  return folder;
}

Result<std::filesystem::path> build_prefix() {
  if (auto prefix = from_environment("XENOPROF_PREFIX"); !prefix.empty())
    return prefix;
  std::error_code error;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error)
    return fail("cannot read /proc/self/exe: {}", error.message());
  return program.parent_path().parent_path();
}

}  // namespace xenoprof::lab
