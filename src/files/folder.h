// SPDX-License-Identifier: GPL-2.0-or-later
// A folder in which nobody but this user can plant anything. It is opened once, and all that is
// done in it goes through that descriptor: no path is looked up a second time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "files/file_descriptor.h"
#include "files/place.h"
#include "model/result.h"

namespace xenoprof {

class Folder {
 public:
  // None: nothing has that name. An error: it is no folder, belongs to another user, or others may
  // write there.
  static Result<std::optional<Folder>> open(const Place& place);
  // The same of a name beside it.
  static Result<std::optional<Folder>> open(const Place& place, const std::string& name);
  // One that has to be there.
  static Result<Folder> open(const std::filesystem::path& path);
  // Made with mode 0700 if it is missing, as are those on the way to it.
  static Result<Folder> make(const std::filesystem::path& path);
  // The same, and refused if others can put another one in its place: for what has to use its path.
  static Result<Folder> make_unexposed(const std::filesystem::path& path);

  int descriptor() const { return descriptor_.get(); }
  const std::filesystem::path& path() const { return path_; }  // for messages

  // Files of mode 0600. The one is there at once, to be read and written, in the place of what had
  // the name; the other whole or not at all.
  Result<FileDescriptor> create(const std::string& name) const;
  Result<void> write(const std::string& name, std::string_view bytes) const;
  Result<FileDescriptor> read(const std::string& name) const;
  bool has_file(const std::string& name) const;
  std::vector<std::string> names() const;
  void remove(const std::string& name) const;
  // Removes what is in it but `kept`, subfolders as well. What another user owns of them stays.
  void clear(std::string_view kept = {}) const;

 private:
  Folder(FileDescriptor descriptor, std::filesystem::path path)
      : descriptor_(std::move(descriptor)), path_(std::move(path)) {}
  static Result<Folder> make(const Place& place);

  FileDescriptor descriptor_;
  std::filesystem::path path_;
};

}  // namespace xenoprof
