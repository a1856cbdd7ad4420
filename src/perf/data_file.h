// SPDX-License-Identifier: GPL-2.0-or-later
// perf.data, the file (tools/perf/Documentation/perf.data-file-format.txt of Linux): what stock
// perf reads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "files/file_descriptor.h"
#include "model/result.h"
#include "perf/records.h"

namespace xenoprof::perf {

struct BuildId {
  std::string path;
  std::vector<std::byte> id;  // at most 20 bytes
  bool kernel = false;        // "[kernel.kallsyms]", modules
};

// Whom the file tells of. Empty fields are left out.
struct Features {
  std::string hostname;
  std::string os_release;
  std::string architecture;
  std::vector<std::string> command_line;
  std::uint32_t cpus = 0;
  std::vector<BuildId> build_ids;
};

class DataWriter {
 public:
  // Into a file that is open to be written, and new; `path` is for messages.
  static Result<DataWriter> create(FileDescriptor file, const std::filesystem::path& path,
                                   const Layout& layout);

  // Whole records, one or many. They reach the file in blocks; a file that is never finished can
  // be read up to the last flush(). A block that cannot be written is dropped, and the file stays
  // as it was before it.
  Result<void> write(Bytes records);
  Result<void> flush();
  // Writes what is left and the features; the last call.
  Result<void> finish(const Features& features);

 private:
  DataWriter(std::filesystem::path path, FileDescriptor file, const Layout& layout);

  std::filesystem::path path_;
  FileDescriptor file_;
  Layout layout_;
  std::uint64_t data_offset_ = 0;
  std::uint64_t data_bytes_ = 0;
  std::vector<std::byte> buffer_;
};

}  // namespace xenoprof::perf
