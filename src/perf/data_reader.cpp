// SPDX-License-Identifier: GPL-2.0-or-later
#include "perf/data_reader.h"

#include <fcntl.h>
#include <fmt/ranges.h>
#include <linux/perf_event.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "model/text.h"

static_assert(std::endian::native == std::endian::little, "perf.data is read as it lies in memory");

namespace xenoprof::perf {
namespace {

constexpr std::size_t kMaxAttributes = 4096;
// The profile keeps a number for each event with every sample.
constexpr std::size_t kMaxEvents = 64;
constexpr std::size_t kMaxName = 4096;
constexpr std::uint64_t kMaxFeature = std::uint64_t{64} << 20;
constexpr std::uint64_t kUpToTheEnd = std::numeric_limits<std::uint64_t>::max();

// What perf itself compresses shrinks to a tenth; the rest is room for the odd file.
constexpr std::uint64_t kMaxRatio = 1000;

// The misc of a PERF_RECORD_LOST_SAMPLES of what a filter of the user's threw away
// (tools/lib/perf/include/perf/event.h of 6.3, PERF_RECORD_MISC_LOST_SAMPLES_BPF).
constexpr std::uint16_t kFiltered = 1u << 15;

// A record's size has 16 bits.
constexpr std::size_t kMaxRecord = std::size_t{64} << 10;

// Records of perf itself (enum perf_user_event_type in tools/lib/perf/include/perf/event.h of 6.1;
// kCompressed2 is of 6.16).
enum UserRecord : std::uint32_t {
  kHeaderAttribute = 64,
  kHeaderEventType = 65,
  kHeaderTracingData = 66,
  kHeaderBuildId = 67,
  kFinishedRound = 68,
  kAuxtrace = 71,
  kEventUpdate = 78,
  kHeaderFeature = 80,
  kCompressed1 = 81,
  kFinishedInit = 82,
  kCompressed2 = 83,
};
constexpr std::uint64_t kEventUpdateName = 2;  // PERF_EVENT_UPDATE__NAME

// What perf.data may hold and a profile does not need: it changes neither whose samples are whose
// nor where they fell.
bool is_needless(std::uint32_t type) {
  switch (type) {
    case PERF_RECORD_READ:
    case PERF_RECORD_ITRACE_START:
    case PERF_RECORD_SWITCH:
    case PERF_RECORD_SWITCH_CPU_WIDE:
    case PERF_RECORD_NAMESPACES:
    case PERF_RECORD_BPF_EVENT:
    case PERF_RECORD_CGROUP:
    case PERF_RECORD_TEXT_POKE:
    case PERF_RECORD_AUX_OUTPUT_HW_ID:
    case PERF_RECORD_UNTHROTTLE:
    case kFinishedInit:
    case kHeaderEventType:
    case 69:  // ID_INDEX
    case 70:  // AUXTRACE_INFO
    case 72:  // AUXTRACE_ERROR
    case 73:  // THREAD_MAP
    case 74:  // CPU_MAP
    case 75:  // STAT_CONFIG
    case 76:  // STAT
    case 77:  // STAT_ROUND
    case 79:  // TIME_CONV
      return true;
    default:
      return false;
  }
}

bool within(const FileSection& section, std::uint64_t size) {
  return section.offset <= size && section.size <= size - section.offset;
}

}  // namespace

DataReader::DataReader(std::filesystem::path path, FileDescriptor file)
    : path_(std::move(path)), file_(std::move(file)), zstd_(nullptr, &ZSTD_freeDCtx) {}

Result<DataReader> DataReader::open(const std::filesystem::path& path) {
  FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  return file ? read(std::move(file), path)
              : fail("cannot open {}: {}", path.string(), std::strerror(errno));
}

Result<DataReader> DataReader::read(FileDescriptor file, const std::filesystem::path& path) {
  struct stat status = {};
  if (::fstat(file.get(), &status) != 0) {
    return fail("cannot open {}: {}", path.string(), std::strerror(errno));
  }
  const bool regular = S_ISREG(status.st_mode);
  DataReader reader(path, std::move(file));
  const auto size = static_cast<std::uint64_t>(status.st_size);
  reader.left_ = regular ? size : kUpToTheEnd;
  // A file of 16 bytes or more tells what it is.
  struct {
    std::uint64_t magic;
    std::uint64_t size;
  } start;
  const auto started = reader.fill(sizeof start);
  if (!started) {
    return std::unexpected(started.error());
  }
  if (*started) {
    start = value_at<decltype(start)>(reader.pieces_.unread(), 0);
  }
  if (*started && start.magic == kSwappedMagic) {
    return fail("{} was recorded on a big-endian machine, which is not supported", path.string());
  }
  if (!*started || start.magic != kMagic) {
    return fail("{} is no perf.data", path.string());
  }
  reader.pipe_ = start.size == sizeof start;
  if (!reader.pipe_ && !regular) {
    return fail("{} is no regular file, and its data are not in perf's form for pipes",
                path.string());
  }
  if (!reader.pipe_ && start.size != sizeof(FileHeader)) {
    return fail("{} is no perf.data, or of a version that is not known", path.string());
  }
  auto head = reader.pipe_ ? reader.read_pipe_head() : reader.read_file_head(size);
  if (!head) {
    return std::unexpected(head.error());
  }
  return reader;
}

Result<void> DataReader::read_file_head(std::uint64_t file_size) {
  FileHeader header;
  const auto whole = read_at(file_.get(), 0, std::as_writable_bytes(std::span(&header, 1)), path_);
  if (!whole) {
    return std::unexpected(whole.error());
  }
  if (!*whole || header.data.offset > file_size) {
    return fail("{} is damaged: it ends before its data begin", path_.string());
  }
  if (auto done = read_attributes(header, file_size); !done) {
    return done;
  }
  read_features(header, file_size);
  if (auto done = use_attributes(); !done) {
    return done;
  }
  const std::uint64_t room = file_size - header.data.offset;
  // A writer that was killed before it knew the size leaves 0.
  left_ = header.data.size == 0 ? room : std::min(header.data.size, room);
  truncated_ = left_ < header.data.size;
  pieces_ = Pieces(header.data.offset);
  if (::lseek(file_.get(), static_cast<off_t>(header.data.offset), SEEK_SET) < 0) {
    return fail("cannot read {}: {}", path_.string(), std::strerror(errno));
  }
  return {};
}

Result<void> DataReader::read_attributes(const FileHeader& header, std::uint64_t file_size) {
  const auto broken = [&] {
    return fail("{} is damaged: its attributes lie outside of the file or make no sense",
                path_.string());
  };
  const FileSection& all = header.attrs;
  if (header.attr_size < PERF_ATTR_SIZE_VER0 + sizeof(FileSection) ||
      header.attr_size > std::size_t{64} << 10 || !within(all, file_size) ||
      all.size % header.attr_size != 0 || all.size / header.attr_size > kMaxAttributes) {
    return broken();
  }
  std::vector<std::byte> entry(header.attr_size);
  // No two events share their identifiers, so all of them fit into the file.
  std::uint64_t room = file_size;
  for (std::uint64_t at = 0; at < all.size; at += header.attr_size) {
    auto done = read_at(file_.get(), all.offset + at, entry, path_);
    if (!done || !*done) {
      return broken();
    }
    const Bytes bytes = entry;
    const auto ids = value_at<FileSection>(bytes, bytes.size() - sizeof(FileSection));
    auto attribute = attribute_from(bytes.first(bytes.size() - sizeof(FileSection)));
    if (!attribute || !within(ids, file_size) || ids.size % sizeof(std::uint64_t) != 0 ||
        ids.size > room) {
      return broken();
    }
    room -= ids.size;
    attribute->ids.resize(ids.size / sizeof(std::uint64_t));
    done =
        read_at(file_.get(), ids.offset, std::as_writable_bytes(std::span(attribute->ids)), path_);
    if (!done || !*done) {
      return broken();
    }
    attributes_.push_back(*std::move(attribute));
  }
  return {};
}

// A feature that is broken is as good as none.
void DataReader::read_features(const FileHeader& header, std::uint64_t file_size) {
  // Where a writer was killed there is no table, and nothing knows where it would begin.
  if (header.data.size == 0) {
    return;
  }
  std::uint64_t at = header.data.offset + header.data.size;
  for (unsigned bit = 0; bit < 64; ++bit) {
    if ((header.features[0] >> bit & 1) == 0) {
      continue;
    }
    FileSection section;
    const FileSection place{std::exchange(at, at + sizeof section), sizeof section};
    if (!within(place, file_size)) {
      return;
    }
    auto done =
        read_at(file_.get(), place.offset, std::as_writable_bytes(std::span(&section, 1)), path_);
    if (!done || !*done) {
      return;
    }
    if ((bit != kEventNamesFeature && bit != kBuildIdFeature) || !within(section, file_size) ||
        section.size > kMaxFeature) {
      continue;
    }
    std::vector<std::byte> content(section.size);
    done = read_at(file_.get(), section.offset, content, path_);
    if (done && *done) {
      take_feature(bit, content);
    }
  }
}

void DataReader::take_feature(std::uint64_t feature, Bytes content) {
  if (feature == kBuildIdFeature) {
    auto ids = build_ids_in(content);
    build_ids_.insert(build_ids_.end(), std::make_move_iterator(ids.begin()),
                      std::make_move_iterator(ids.end()));
  } else if (feature == kEventNamesFeature) {
    event_names_ = event_names_in(content);
  }
}

// The attributes come first in a pipe, among other records of perf itself.
Result<void> DataReader::read_pipe_head() {
  pieces_.take(16);
  for (;;) {
    const auto record = peek_record();
    if (!record) {
      return std::unexpected(record.error());
    }
    if (!*record) {
      break;
    }
    const auto type = value_at<perf_event_header>(**record, 0).type;
    if (type < kHeaderAttribute || type == kFinishedRound || type == kCompressed1 ||
        type == kCompressed2 || type == kFinishedInit || type == kAuxtrace) {
      break;
    }
    const Bytes taken = pieces_.take((*record)->size());
    if (auto done = take_head_record(taken); !done) {
      return done;
    }
  }
  return use_attributes();
}

// One that only tells of the recording, wherever it stands.
Result<void> DataReader::take_head_record(Bytes record) {
  perf_event_header header = {};
  Bytes payload = record;
  perf::take(payload, header);
  const auto damaged = [&] {
    return fail("{} is damaged: a record of type {} is too short", path_.string(),
                std::uint32_t{header.type});
  };
  switch (header.type) {
    case kHeaderAttribute: {
      if (parser_) {
        ++unknown_[header.type];  // too late
        return {};
      }
      // The attribute says its own size; identifiers follow.
      constexpr std::size_t kSizeAt = offsetof(perf_event_attr, size);
      if (payload.size() < PERF_ATTR_SIZE_VER0) {
        return damaged();
      }
      std::size_t size = value_at<std::uint32_t>(payload, kSizeAt);
      size = size == 0 ? PERF_ATTR_SIZE_VER0 : size;
      if (size > payload.size() || attributes_.size() == kMaxAttributes) {
        return damaged();
      }
      auto attribute = attribute_from(payload.first(size));
      if (!attribute) {
        return damaged();
      }
      payload = payload.subspan(size);
      for (std::uint64_t id = 0; perf::take(payload, id);) {
        attribute->ids.push_back(id);
      }
      attributes_.push_back(*std::move(attribute));
      return {};
    }
    case kEventUpdate: {
      std::uint64_t kind = 0;
      std::uint64_t id = 0;
      if (!perf::take(payload, kind) || !perf::take(payload, id)) {
        return damaged();
      }
      if (kind == kEventUpdateName && !parser_) {
        name_of_id_[id] = text_of(payload).substr(0, kMaxName);
      }
      return {};
    }
    case kHeaderFeature: {
      std::uint64_t feature = 0;
      if (!perf::take(payload, feature)) {
        return damaged();
      }
      take_feature(feature, payload);
      return {};
    }
    case kHeaderBuildId:
      take_feature(kBuildIdFeature, record);
      return {};
    case kHeaderTracingData: {
      // The formats of tracepoints stand behind the record.
      std::uint32_t size = 0;
      if (!perf::take(payload, size)) {
        return damaged();
      }
      return pass_over((std::uint64_t{size} + 7) / 8 * 8);
    }
    default:
      if (!is_needless(header.type)) {
        ++unknown_[header.type];
      }
      return {};
  }
}

Result<void> DataReader::use_attributes() {
  if (attributes_.empty()) {
    return fail("{} describes no event", path_.string());
  }
  for (Attribute& attribute : attributes_) {
    for (const std::uint64_t id : attribute.ids) {
      if (const auto name = name_of_id_.find(id); name != name_of_id_.end()) {
        attribute.name = name->second;
      }
    }
  }
  for (std::size_t i = 0; i < std::min(event_names_.size(), attributes_.size()); ++i) {
    if (!event_names_[i].empty()) {
      attributes_[i].name = event_names_[i].substr(0, kMaxName);
    }
  }
  for (const Attribute& attribute : attributes_) {
    if (!attribute.sideband) {
      layout_.events.push_back({attribute.name, attribute.period});
      layout_.call_chains |= (attribute.sample_type & PERF_SAMPLE_CALLCHAIN) != 0;
    }
  }
  if (layout_.events.size() > kMaxEvents) {
    return fail("{} has {} events; a profile can have {}", path_.string(), layout_.events.size(),
                kMaxEvents);
  }
  parser_.emplace(attributes_);
  return {};
}

// Makes `size` unread bytes available; false when the data end before.
Result<bool> DataReader::fill(std::size_t size) {
  while (pieces_.unread().size() < size) {
    const std::span<std::byte> room = pieces_.room(size - pieces_.unread().size());
    const auto most = static_cast<std::size_t>(std::min<std::uint64_t>(left_, room.size()));
    const ssize_t got = most == 0 ? 0 : ::read(file_.get(), room.data(), most);
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0) {
      return fail("cannot read {}: {}", path_.string(), std::strerror(errno));
    }
    if (got == 0) {
      return false;
    }
    pieces_.filled(static_cast<std::size_t>(got));
    bytes_read_ += static_cast<std::uint64_t>(got);
    left_ -= left_ == kUpToTheEnd ? 0 : static_cast<std::uint64_t>(got);
  }
  return true;
}

// The next record as it lies in the file, still to be taken; nothing at the end.
Result<std::optional<Bytes>> DataReader::peek_record() {
  perf_event_header header = {};
  const Bytes unread = pieces_.unread();
  if (unread.size() >= sizeof header) {
    header = value_at<perf_event_header>(unread, 0);
    if (header.size >= sizeof header && header.size <= unread.size()) {
      return unread.first(header.size);
    }
  }
  auto filled = fill(sizeof header);
  if (!filled) {
    return std::unexpected(filled.error());
  }
  if (!*filled) {
    truncated_ = truncated_ || !pieces_.unread().empty() || (left_ != 0 && left_ != kUpToTheEnd);
    return std::nullopt;
  }
  header = value_at<perf_event_header>(pieces_.unread(), 0);
  if (header.size < sizeof header) {
    return fail("{} is damaged at {}: a record of type {} says that it has {} bytes",
                path_.string(), place(pieces_.offset()), std::uint32_t{header.type},
                std::uint16_t{header.size});
  }
  filled = fill(header.size);
  if (!filled) {
    return std::unexpected(filled.error());
  }
  if (!*filled) {
    truncated_ = true;
    return std::nullopt;
  }
  return pieces_.unread().first(header.size);
}

// Leaves out bytes that are no records.
Result<void> DataReader::pass_over(std::uint64_t size) {
  while (size > 0) {
    const auto filled = fill(1);
    if (!filled) {
      return std::unexpected(filled.error());
    }
    if (!*filled) {
      truncated_ = true;
      return {};
    }
    const auto passed =
        static_cast<std::size_t>(std::min<std::uint64_t>(size, pieces_.unread().size()));
    pieces_.take(passed);
    size -= passed;
    pieces_.release_before(waiting_.oldest(pieces_.offset()));
  }
  return {};
}

std::string DataReader::place(std::uint64_t offset) const {
  return (offset & kCompressed) != 0
             ? fmt::format("byte {} of what was compressed", offset & ~kCompressed)
             : fmt::format("byte {}", offset);
}

Result<const Record*> DataReader::parse(Bytes record, std::uint64_t offset) {
  auto parsed = parser_->parse(record);
  if (!parsed) {
    return fail("{} is damaged at {}: {}", path_.string(), place(offset), parsed.error().message);
  }
  record_ = *parsed;
  return &record_;
}

Result<const Record*> DataReader::take_record(Bytes record, std::uint64_t offset) {
  const auto header = value_at<perf_event_header>(record, 0);
  switch (header.type) {
    case PERF_RECORD_SAMPLE:
    case PERF_RECORD_MMAP:
    case PERF_RECORD_MMAP2:
    case PERF_RECORD_COMM:
    case PERF_RECORD_FORK:
    case PERF_RECORD_EXIT:
    case PERF_RECORD_KSYMBOL:
      break;
    case PERF_RECORD_LOST:
      if (record.size() >= sizeof header + 16) {
        lost_ += value_at<std::uint64_t>(record, sizeof header + 8);
      }
      return nullptr;
    case PERF_RECORD_LOST_SAMPLES:
      if (record.size() >= sizeof header + 8 && (header.misc & kFiltered) == 0) {
        const std::uint64_t time = parser_->time_of(record).value_or(0);
        (time == 0 ? lost_in_all_ : lost_by_hardware_) +=
            value_at<std::uint64_t>(record, sizeof header);
      }
      return nullptr;
    case PERF_RECORD_THROTTLE:
      ++throttled_;
      return nullptr;
    case PERF_RECORD_AUX:
      if (record.size() >= sizeof header + 16) {
        aux_bytes_ += value_at<std::uint64_t>(record, sizeof header + 8);
      }
      return nullptr;
    default:
      if (header.type >= kHeaderAttribute) {
        if (auto done = take_head_record(record); !done) {
          return std::unexpected(done.error());
        }
      } else if (!is_needless(header.type)) {
        ++unknown_[header.type];
      }
      return nullptr;
  }
  const auto time = parser_->time_of(record);
  if (!time) {
    ++strays_;
    return nullptr;
  }
  if (*time == 0 || *time == ~std::uint64_t{0}) {
    return parse(record, offset);
  }
  waiting_.add({.time = *time, .offset = offset, .record = record.data()});
  return nullptr;
}

// A little at a time: what a record was compressed to may be large.
Result<void> DataReader::decompress() {
  if (zstd_ == nullptr) {
    zstd_.reset(ZSTD_createDCtx());
  }
  const std::span<std::byte> room = decompressed_.room(kMaxRecord);
  ZSTD_inBuffer in{compressed_.data(), compressed_.size(), 0};
  ZSTD_outBuffer out{room.data(), room.size(), 0};
  const std::size_t status = ZSTD_decompressStream(zstd_.get(), &out, &in);
  if (ZSTD_isError(status) != 0) {
    return fail("{} is damaged before {}: compressed data are broken: {}", path_.string(),
                place(pieces_.offset()), ZSTD_getErrorName(status));
  }
  decompressed_.filled(out.pos);
  compressed_ = compressed_.subspan(in.pos);
  more_inside_ = out.pos == out.size;
  compressed_bytes_ += in.pos;
  decompressed_bytes_ += out.pos;
  if (decompressed_bytes_ > kMaxRatio * compressed_bytes_ + (std::uint64_t{16} << 20)) {
    return fail("{} is damaged before {}: compressed data grow beyond reason", path_.string(),
                place(pieces_.offset()));
  }
  return {};
}

Result<const Record*> DataReader::next() {
  for (;;) {
    if (const auto entry = waiting_.next()) {
      const auto size = value_at<perf_event_header>(Bytes(entry->record, 8), 0).size;
      return parse(Bytes(entry->record, size), entry->offset);
    }
    if (ended_) {
      return nullptr;
    }
    // What was compressed comes before what stands behind it.
    if (const Bytes bytes = decompressed_.unread(); bytes.size() >= sizeof(perf_event_header)) {
      const auto header = value_at<perf_event_header>(bytes, 0);
      if (header.size < sizeof header) {
        return fail("{} is damaged at {}: a record of type {} says that it has {} bytes",
                    path_.string(), place(decompressed_.offset()), std::uint32_t{header.type},
                    std::uint16_t{header.size});
      }
      if (header.size <= bytes.size()) {
        const std::uint64_t offset = decompressed_.offset();
        auto record = take_record(decompressed_.take(header.size), offset);
        if (!record || *record) {
          return record;
        }
        continue;
      }
    }
    if (waiting_.empty()) {
      pieces_.release_before(pieces_.offset());
      decompressed_.release_before(decompressed_.offset());
    }
    if (!compressed_.empty() || more_inside_) {
      if (auto done = decompress(); !done) {
        return std::unexpected(done.error());
      }
      continue;
    }
    const auto raw = peek_record();
    if (!raw) {
      return std::unexpected(raw.error());
    }
    if (!*raw) {
      truncated_ = truncated_ || !decompressed_.unread().empty();
      ended_ = true;
      waiting_.end();
      continue;
    }
    const std::uint64_t offset = pieces_.offset();
    const Bytes bytes = pieces_.take((*raw)->size());
    const Bytes payload = bytes.subspan(sizeof(perf_event_header));
    Result<void> done;
    switch (value_at<perf_event_header>(bytes, 0).type) {
      case kFinishedRound:
        waiting_.end_turn();
        pieces_.release_before(waiting_.oldest(pieces_.offset()));
        decompressed_.release_before(waiting_.oldest(decompressed_.offset()));
        break;
      case kCompressed1:
        compressed_ = payload;
        break;
      case kCompressed2: {
        // The size of the data, which padding follows.
        Bytes rest = payload;
        std::uint64_t size = 0;
        if (!perf::take(rest, size) || size > rest.size()) {
          return fail("{} is damaged at {}: compressed data are cut off", path_.string(),
                      place(offset));
        }
        compressed_ = rest.first(size);
        break;
      }
      case kAuxtrace: {
        // A trace stands behind the record.
        if (payload.size() < sizeof(std::uint64_t)) {
          return fail("{} is damaged at {}: a trace has no size", path_.string(), place(offset));
        }
        const auto size = value_at<std::uint64_t>(payload, 0);
        aux_bytes_ = std::max(aux_bytes_, size);
        done = pass_over(size);
        break;
      }
      default: {
        auto record = take_record(bytes, offset);
        if (!record || *record) {
          return record;
        }
      }
    }
    if (!done) {
      return std::unexpected(done.error());
    }
  }
}

std::vector<std::string> DataReader::notes() const {
  std::vector<std::string> notes;
  if (const std::uint64_t lost = lost_by_hardware_ + std::max(lost_, lost_in_all_); lost != 0) {
    notes.push_back(fmt::format("{} samples or other records were lost while {} was recorded.",
                                with_separators(lost), path_.string()));
  }
  if (throttled_ != 0) {
    notes.push_back(fmt::format(
        "The kernel paused the recording {} times, as it took too long: samples are missing.",
        with_separators(throttled_)));
  }
  if (strays_ != 0) {
    notes.push_back(fmt::format("{} samples are of events that {} does not describe.",
                                with_separators(strays_), path_.string()));
  }
  if (aux_bytes_ != 0) {
    notes.push_back(
        fmt::format("{} bytes of hardware traces were not decoded.", with_separators(aux_bytes_)));
  }
  for (const auto& [type, count] : unknown_) {
    notes.push_back(fmt::format("{} records of type {} were not understood and left out.",
                                with_separators(count), type));
  }
  if (truncated_) {
    notes.push_back(fmt::format("{} stops before its end.", path_.string()));
  }
  return notes;
}

}  // namespace xenoprof::perf
