// SPDX-License-Identifier: GPL-2.0-or-later
#include <fcntl.h>
#include <linux/perf_event.h>
#include <sys/stat.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "perf/data_file.h"
#include "perf/data_format.h"

static_assert(std::endian::native == std::endian::little, "perf.data is read as it lies in memory");

namespace xenoprof::perf {
namespace {

constexpr std::size_t kBlock = std::size_t{64} << 10;  // at least as large as any record
// More than any PMU counts at once.
constexpr std::uint64_t kMaxAttributes = 256;
constexpr std::uint32_t kMaxName = 4096;

// A section of the file, read piece by piece; nothing outside of it is ever touched.
class Section {
 public:
  Section(int descriptor, const std::filesystem::path& path, FileSection section)
      : descriptor_(descriptor), path_(path), section_(section) {}

  // False when the section holds less than that.
  bool read(std::span<std::byte> bytes) {
    if (bytes.size() > section_.size) {
      return false;
    }
    const auto done = read_at(descriptor_, section_.offset, bytes, path_);
    return skip(bytes.size()) && done && *done;
  }
  template <class T>
  bool read(T& value) {
    return read(std::as_writable_bytes(std::span(&value, 1)));
  }
  bool skip(std::uint64_t size) {
    if (size > section_.size) {
      return false;
    }
    section_.offset += size;
    section_.size -= size;
    return true;
  }

 private:
  int descriptor_;
  const std::filesystem::path& path_;
  FileSection section_;
};

bool within(const FileSection& section, std::uint64_t size) {
  return section.offset <= size && section.size <= size - section.offset;
}

// Names of the events, in the order of the attributes; empty when the file has none or broken ones.
std::vector<std::string> read_names(int descriptor, const std::filesystem::path& path,
                                    const FileHeader& header, std::uint64_t file_size) {
  constexpr std::uint64_t kBit = std::uint64_t{1} << kEventNamesFeature;
  if ((header.features[0] & kBit) == 0) {
    return {};
  }
  const auto before = static_cast<std::uint64_t>(std::popcount(header.features[0] & (kBit - 1)));
  FileSection place = {header.data.offset + header.data.size + before * sizeof(FileSection),
                       sizeof(FileSection)};
  FileSection section;
  if (!within(place, file_size) || !Section(descriptor, path, place).read(section) ||
      !within(section, file_size)) {
    return {};
  }
  Section text(descriptor, path, section);
  std::uint32_t count = 0;
  std::uint32_t attr_size = 0;
  if (!text.read(count) || !text.read(attr_size) || count > kMaxAttributes) {
    return {};
  }
  std::vector<std::string> names;
  for (std::uint32_t i = 0; i < count; ++i) {
    std::uint32_t num_ids = 0;
    std::uint32_t length = 0;
    if (!text.skip(attr_size) || !text.read(num_ids) || !text.read(length) || length > kMaxName) {
      return {};
    }
    std::string name(length, '\0');
    if (!text.read(std::as_writable_bytes(std::span(name))) ||
        !text.skip(std::uint64_t{num_ids} * sizeof(std::uint64_t))) {
      return {};
    }
    name.resize(strnlen(name.data(), name.size()));
    names.push_back(std::move(name));
  }
  return names;
}

std::string plain_name(const perf_event_attr& attr) {
  if (attr.type == PERF_TYPE_HARDWARE) {
    switch (attr.config) {
      case PERF_COUNT_HW_CPU_CYCLES:
        return "cycles";
      case PERF_COUNT_HW_INSTRUCTIONS:
        return "instructions";
      case PERF_COUNT_HW_BRANCH_INSTRUCTIONS:
        return "branches";
      case PERF_COUNT_HW_BRANCH_MISSES:
        return "branch-misses";
      case PERF_COUNT_HW_CACHE_REFERENCES:
        return "cache-references";
      case PERF_COUNT_HW_CACHE_MISSES:
        return "cache-misses";
      default:
        break;
    }
  }
  return fmt::format("event-{}-{:#x}", std::uint32_t{attr.type}, std::uint64_t{attr.config});
}

}  // namespace

DataReader::DataReader(std::filesystem::path path, File file, Layout layout, std::uint64_t offset,
                       std::uint64_t end, bool truncated)
    : path_(std::move(path)),
      file_(std::move(file)),
      layout_(std::move(layout)),
      parser_(layout_),
      offset_(offset),
      end_(end),
      truncated_(truncated) {}

Result<DataReader> DataReader::open(const std::filesystem::path& path) {
  File file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status = {};
  if (file.descriptor() < 0 || ::fstat(file.descriptor(), &status) != 0) {
    return fail("cannot open {}: {}", path.string(), std::strerror(errno));
  }
  if (!S_ISREG(status.st_mode)) {
    return fail("{} is no regular file, so no perf.data", path.string());
  }
  const auto size = static_cast<std::uint64_t>(status.st_size);
  FileHeader header;
  const auto whole =
      read_at(file.descriptor(), 0, std::as_writable_bytes(std::span(&header, 1)), path);
  if (!whole) {
    return std::unexpected(whole.error());
  }
  // A file of 16 bytes or more tells what it is.
  if (size >= 16 && header.magic == kSwappedMagic) {
    return fail("{} was recorded on a big-endian machine, which is not supported", path.string());
  }
  if (size >= 16 && header.magic == kMagic && header.size == 16) {
    return fail("{} is in perf's form for pipes, which is not supported; let perf write a file",
                path.string());
  }
  if (!*whole || header.magic != kMagic || header.size != sizeof header) {
    return fail("{} is no perf.data", path.string());
  }

  const auto broken = [&] {
    return fail("{} is damaged: its attributes lie outside of the file or make no sense",
                path.string());
  };
  if (header.attr_size < PERF_ATTR_SIZE_VER0 + sizeof(FileSection) || header.attr_size > kBlock ||
      !within(header.attrs, size) || header.attrs.size % header.attr_size != 0 ||
      header.attrs.size / header.attr_size > kMaxAttributes || header.data.offset > size) {
    return broken();
  }
  const auto foreign = [&] {
    return fail("{} was not recorded by xenoprof; perf.data of other programs cannot be read yet",
                path.string());
  };
  const std::uint64_t count = header.attrs.size / header.attr_size;
  const auto names = read_names(file.descriptor(), path, header, size);
  Layout layout;
  Section attrs(file.descriptor(), path, header.attrs);
  for (std::uint64_t i = 0; i < count; ++i) {
    perf_event_attr attr = {};
    const std::uint64_t attr_size = header.attr_size - sizeof(FileSection);
    const std::uint64_t known = std::min<std::uint64_t>(attr_size, sizeof attr);
    FileSection ids;
    std::uint64_t id = 0;
    if (!attrs.read(std::as_writable_bytes(std::span(&attr, 1)).first(known)) ||
        !attrs.skip(attr_size - known) || !attrs.read(ids) || !within(ids, size)) {
      return broken();
    }
    if (i == 0) {
      layout.call_chains = (attr.sample_type & PERF_SAMPLE_CALLCHAIN) != 0;
    }
    if (attr.sample_type != sample_type(layout) || attr.sample_id_all == 0 ||
        ids.size != sizeof id || !Section(file.descriptor(), path, ids).read(id) ||
        id != kSidebandId + i) {
      return foreign();
    }
    if (i > 0) {
      layout.events.push_back({i < names.size() && !names[i].empty() ? names[i] : plain_name(attr),
                               attr.sample_period});
    }
  }
  if (count == 0) {
    return foreign();
  }
  const std::uint64_t room = size - header.data.offset;
  // A writer that was killed before it knew the size leaves 0.
  const std::uint64_t length = header.data.size == 0 ? room : std::min(header.data.size, room);
  return DataReader(path, std::move(file), std::move(layout), header.data.offset,
                    header.data.offset + length, length < header.data.size);
}

// Makes `size` bytes available from position_ on; false when the data end before.
Result<bool> DataReader::fill(std::size_t size) {
  if (buffer_.size() - position_ >= size) {
    return true;
  }
  buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(position_));
  position_ = 0;
  const std::size_t kept = buffer_.size();
  const auto more =
      static_cast<std::size_t>(std::min<std::uint64_t>(end_ - offset_, kBlock + size));
  if (kept + more < size) {
    return false;
  }
  buffer_.resize(kept + more);
  const auto done = read_at(file_.descriptor(), offset_, std::span(buffer_).subspan(kept), path_);
  if (!done) {
    return done;
  }
  if (!*done) {  // the file shrank under us
    buffer_.resize(kept);
    return false;
  }
  offset_ += more;
  return true;
}

Result<std::optional<Record>> DataReader::next() {
  const auto at = [&] { return offset_ - (buffer_.size() - position_); };
  perf_event_header header;
  auto filled = fill(sizeof header);
  if (!filled) {
    return std::unexpected(filled.error());
  }
  if (!*filled) {
    truncated_ = truncated_ || at() != end_;
    return std::nullopt;
  }
  std::memcpy(&header, buffer_.data() + position_, sizeof header);
  filled = fill(std::max<std::size_t>(header.size, sizeof header));
  if (!filled) {
    return std::unexpected(filled.error());
  }
  if (!*filled) {
    truncated_ = true;
    return std::nullopt;
  }
  const std::uint64_t place = at();
  const auto bytes = first_record(Bytes(buffer_).subspan(position_));
  auto record = bytes ? parser_.parse(*bytes) : Result<Record>(std::unexpected(bytes.error()));
  if (!record) {
    return fail("{} is damaged at byte {}: {}", path_.string(), place, record.error().message);
  }
  position_ += bytes->size();
  return std::move(*record);
}

}  // namespace xenoprof::perf
