// SPDX-License-Identifier: GPL-2.0-or-later
// The folder that a session leaves, from the moment it is begun.
#pragma once

#include <filesystem>
#include <utility>

#include "model/result.h"
#include "session/file_descriptor.h"

namespace xenoprof {

class OutputFolder {
 public:
  // Makes the folder and locks it for as long as this lives, which has to be until all is written.
  // An earlier session there, also one that was killed, steps aside; one that still records, and
  // anything else, is not ours to touch. An empty path: nothing is kept.
  static Result<OutputFolder> open(const std::filesystem::path& path);
  OutputFolder(OutputFolder&& other) noexcept;
  OutputFolder& operator=(OutputFolder&&) = delete;
  // Of a session that did not come about: takes away what open() and it made, and puts the earlier
  // one back.
  ~OutputFolder();

  // The session has begun: the earlier one becomes DIR.old, in the place of the one that is there.
  // Takes no time of the session's: what that one held is removed at the end.
  void begun();

 private:
  OutputFolder(std::filesystem::path path, FileDescriptor lock, bool made)
      : path_(std::move(path)), lock_(std::move(lock)), made_(made) {}

  std::filesystem::path path_;  // empty: there is none, or it was moved from
  FileDescriptor lock_;
  bool made_;
  bool begun_ = false;
};

// Gives the room back that was kept for profile and session.json, before they are written: a disk
// that the perf.data filled up must not cost those.
void release_reserve(const std::filesystem::path& folder);

}  // namespace xenoprof
