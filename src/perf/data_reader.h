// SPDX-License-Identifier: GPL-2.0-or-later
// Any perf.data of a little-endian Linux since 4.0, as a file or as `perf record -o -` writes it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "model/result.h"
#include "perf/attribute.h"
#include "perf/data_file.h"
#include "perf/data_format.h"
#include "perf/pieces.h"
#include "perf/record_parser.h"
#include "perf/records.h"
#include "perf/time_order.h"

struct ZSTD_DCtx_s;

namespace xenoprof::perf {

// The file may be anyone's: whatever it holds, memory stays within a small multiple of its size.
class DataReader {
 public:
  static Result<DataReader> open(const std::filesystem::path& path);
  // One that is open, at its beginning; `path` is for messages.
  static Result<DataReader> read(FileDescriptor file, const std::filesystem::path& path);
  DataReader(DataReader&&) noexcept = default;

  const Layout& layout() const { return layout_; }
  // The next record, null at the end: in the order of time, those without a time at once. It lives
  // until the next call. Records that the profile does not need are left out.
  Result<const Record*> next();

  // Of the file's data, until now.
  std::uint64_t bytes_read() const { return bytes_read_; }
  // At the end: the file stopped within a record, or before what its header promises.
  bool truncated() const { return truncated_; }
  // The build-ids that the file lists apart from its mappings.
  const std::vector<BuildId>& build_ids() const { return build_ids_; }
  // What was lost when recording, and what was met and not understood: a sentence each.
  std::vector<std::string> notes() const;

 private:
  DataReader(std::filesystem::path path, FileDescriptor file);

  Result<void> read_file_head(std::uint64_t file_size);
  Result<void> read_attributes(const FileHeader& header, std::uint64_t file_size);
  void read_features(const FileHeader& header, std::uint64_t file_size);
  Result<void> read_pipe_head();
  Result<void> take_head_record(Bytes record);
  void take_feature(std::uint64_t feature, Bytes content);
  Result<void> use_attributes();

  Result<bool> fill(std::size_t size);
  Result<std::optional<Bytes>> peek_record();
  Result<void> pass_over(std::uint64_t size);
  Result<const Record*> parse(Bytes record, std::uint64_t offset);
  // Null: the record waits for its turn or is done with.
  Result<const Record*> take_record(Bytes record, std::uint64_t offset);
  Result<void> decompress();
  std::string place(std::uint64_t offset) const;

  // Set in the offset of a record that was compressed: it counts decompressed bytes then.
  static constexpr std::uint64_t kCompressed = std::uint64_t{1} << 63;

  std::filesystem::path path_;
  FileDescriptor file_;
  std::vector<Attribute> attributes_;
  std::vector<std::string> event_names_;  // of attributes_, where the file lists them
  // By an identifier of the event, where a pipe tells them in records.
  std::unordered_map<std::uint64_t, std::string> name_of_id_;
  std::vector<BuildId> build_ids_;
  Layout layout_;
  std::optional<RecordParser> parser_;
  std::uint64_t left_ = 0;  // bytes of the data that are not in pieces_ yet
  std::uint64_t bytes_read_ = 0;
  bool pipe_ = false;
  Pieces pieces_;
  std::unique_ptr<ZSTD_DCtx_s, std::size_t (*)(ZSTD_DCtx_s*)> zstd_;
  Bytes compressed_;          // what is to be decompressed next, within the last piece
  bool more_inside_ = false;  // the decompressor holds output for which there was no room
  Pieces decompressed_{kCompressed};
  std::uint64_t compressed_bytes_ = 0;
  std::uint64_t decompressed_bytes_ = 0;
  TimeOrder waiting_;
  Record record_;  // that next() gave
  bool ended_ = false;
  bool truncated_ = false;

  // For want of room, as the kernel told in between, and, since perf 6.1, each event's sum of the
  // same, which perf adds at the end in records without a time (tools/perf/builtin-record.c,
  // record__read_lost_samples).
  std::uint64_t lost_ = 0;
  std::uint64_t lost_in_all_ = 0;
  std::uint64_t lost_by_hardware_ = 0;  // samples that never came to the kernel's buffer
  std::uint64_t throttled_ = 0;         // times that the kernel paused an event
  std::uint64_t strays_ = 0;            // samples of events that the file does not describe
  std::uint64_t aux_bytes_ = 0;
  std::map<std::uint32_t, std::uint64_t> unknown_;  // records by type
};

}  // namespace xenoprof::perf
