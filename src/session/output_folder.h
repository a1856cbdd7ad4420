// SPDX-License-Identifier: GPL-2.0-or-later
// The folder that a session leaves, from the moment it is begun.
#pragma once

#include <filesystem>
#include <optional>
#include <utility>

#include "files/folder.h"
#include "files/place.h"
#include "model/result.h"

namespace xenoprof {

class OutputFolder {
 public:
  // Makes the folder and locks it for as long as this lives, which has to be until all is written.
  // An earlier session there, also one that was killed, steps aside; one that still records, and
  // anything else, is not ours to touch, and neither is what belongs to another user or is writable
  // for others. An empty path: nothing is kept.
  static Result<OutputFolder> open(const std::filesystem::path& path);
  OutputFolder(OutputFolder&& other) noexcept;
  OutputFolder& operator=(OutputFolder&&) = delete;
  // Of a session that did not come about: takes away what open() and it made, and puts the earlier
  // one back.
  ~OutputFolder();

  // Where the session's files go; null: nothing is kept.
  const Folder* files() const { return folder_ ? &*folder_ : nullptr; }
  // The session has begun: the earlier one becomes DIR.old, in the place of the one that is there.
  // Takes no time of the session's: what that one held is removed at the end.
  void begun();
  // Gives the room back that was kept for profile and session.json, before they are written: a disk
  // that the perf.data filled up must not cost those.
  void release_reserve() const;

 private:
  OutputFolder() = default;
  OutputFolder(Place place, Folder folder, bool made)
      : place_(std::move(place)), folder_(std::move(folder)), made_(made) {}

  Place place_;
  std::optional<Folder> folder_;  // locked; none: nothing is kept, or it was moved from
  bool made_ = false;
  bool begun_ = false;
};

}  // namespace xenoprof
