// SPDX-License-Identifier: GPL-2.0-or-later
// The newc cpio archives that Linux boots from. The kernel unpacks several, one after the other in
// one file, so images are made of layers that change at different times.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>

#include "model/result.h"

namespace xenoprof::lab {

class InitramfsLayer {
 public:
  // Paths are absolute, as seen in the booted system; folders above them come by themselves.
  void add_folder(const std::string& path);
  void add_link(const std::string& path, const std::string& target);
  // A file with the content of `source` when the layer is written.
  void add_file(const std::string& path, const std::filesystem::path& source, unsigned mode);
  void add_text(const std::string& path, std::string text, unsigned mode);
  bool contains(const std::string& path) const { return entries_.contains(path); }

  // A value that changes with the content: names, modes, texts, and the sources' size and time.
  std::uint64_t key() const;
  // The archive, padded so that another one can follow.
  Result<std::string> archive() const;

 private:
  enum class Kind { kFolder, kLink, kFile, kText };
  struct Entry {
    Kind kind;
    std::string text;  // target, source or content
    unsigned mode;
  };
  void add(const std::string& path, Entry entry);

  std::map<std::string, Entry> entries_;  // in order: folders before what they hold
};

}  // namespace xenoprof::lab
