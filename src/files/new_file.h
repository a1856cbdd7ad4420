// SPDX-License-Identifier: GPL-2.0-or-later
// A file that appears whole or not at all, in the place of one of its name. A link that another
// user planted there is replaced, not followed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "files/file_descriptor.h"
#include "model/result.h"

namespace xenoprof {

class Folder;

// What a process that was killed leaves of such a file has a name that begins like this.
inline constexpr std::string_view kUnfinished = ".xenoprof-";

enum class Readers : std::uint8_t {
  // As the umask says, or as with the earlier file if that is this user's.
  kAsUsual,
  kThisUser,  // mode 0600
};

class NewFile {
 public:
  // What is no regular file, as /dev/stdout or a FIFO, is opened as it is.
  static Result<NewFile> make(const std::filesystem::path& path, Readers readers);
  // For this user alone to read.
  static Result<NewFile> make(const Folder& folder, const std::string& name);
  NewFile(NewFile&& other) noexcept;
  NewFile& operator=(NewFile&&) = delete;
  // Without commit(): leaves everything as it was.
  ~NewFile();

  int descriptor() const { return file_.get(); }
  const std::filesystem::path& path() const { return path_; }
  Result<void> write(std::string_view bytes);
  // The last call.
  Result<void> commit();

 private:
  NewFile(FileDescriptor folder, std::string name, std::filesystem::path path)
      : folder_(std::move(folder)), name_(std::move(name)), path_(std::move(path)) {}
  Result<void> begin(mode_t mode);
  std::unexpected<Error> failed(int error) const;

  FileDescriptor folder_;
  std::string name_;
  std::filesystem::path path_;  // for messages
  std::string temporary_;       // its name until commit(); empty: it has none of its own
  FileDescriptor file_;
};

Result<void> write_file(const std::filesystem::path& path, std::string_view bytes,
                        Readers readers = Readers::kAsUsual);

}  // namespace xenoprof
