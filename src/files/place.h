// SPDX-License-Identifier: GPL-2.0-or-later
// Where a path leads, found folder by folder. Links that another user made are not followed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "files/file_descriptor.h"
#include "model/result.h"

namespace xenoprof {

// What is done there goes through `folder`: the way to it may be another one by now.
struct Place {
  FileDescriptor folder;       // O_PATH
  std::string name;            // in the folder; "." for the folder itself
  std::filesystem::path path;  // for messages
  bool by_link = false;    // the last name of the given path is that of a link, which was followed
  bool is_procfs = false;  // of `folder`
  // The first folder on the way in which other users can rename what is there; empty: none. Of an
  // absolute path only.
  std::filesystem::path exposed;
};

enum class MissingFolders : std::uint8_t { kRefused, kMade };

// Links of this user and of root are followed, also at the end. A link of another user's ends the
// search on the way; at the end it is the place itself, and so is a link of procfs. Folders that
// are made have mode 0700.
Result<Place> find_place(const std::filesystem::path& path,
                         MissingFolders missing = MissingFolders::kRefused);

}  // namespace xenoprof
