// SPDX-License-Identifier: GPL-2.0-or-later
#include <linux/perf_event.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <iterator>
#include <map>
#include <string_view>
#include <utility>

#include "perf/bytes.h"
#include "perf/data_file.h"
#include "perf/data_format.h"

namespace xenoprof::perf {
namespace {

constexpr std::size_t kBlock = std::size_t{256} << 10;

using Buffer = std::vector<std::byte>;

// perf's form of text in features: a length that is a multiple of 64, zeros at the end.
void put_text(Buffer& buffer, std::string_view text) {
  const auto length = static_cast<std::uint32_t>((text.size() + 64) / 64 * 64);
  put(buffer, length);
  put_bytes(buffer, std::as_bytes(std::span(text)));
  buffer.resize(buffer.size() + length - text.size());
}

// perf's own events have a type and number of their own; the others are known by name only.
struct HardwareName {
  std::string_view name;
  std::uint64_t config;
};
constexpr std::array kHardwareNames = {
    HardwareName{"cycles", PERF_COUNT_HW_CPU_CYCLES},
    HardwareName{"cpu-cycles", PERF_COUNT_HW_CPU_CYCLES},
    HardwareName{"instructions", PERF_COUNT_HW_INSTRUCTIONS},
    HardwareName{"branches", PERF_COUNT_HW_BRANCH_INSTRUCTIONS},
    HardwareName{"branch-instructions", PERF_COUNT_HW_BRANCH_INSTRUCTIONS},
    HardwareName{"branch-misses", PERF_COUNT_HW_BRANCH_MISSES},
    HardwareName{"cache-references", PERF_COUNT_HW_CACHE_REFERENCES},
    HardwareName{"cache-misses", PERF_COUNT_HW_CACHE_MISSES},
};

struct WrittenAttribute {
  perf_event_attr attr;
  std::string name;
  std::uint64_t id;
};

std::vector<WrittenAttribute> attributes(const Layout& layout) {
  perf_event_attr common = {};
  common.size = sizeof common;
  apply(layout, common);
  common.sample_id_all = 1;

  perf_event_attr sideband = common;
  sideband.type = PERF_TYPE_SOFTWARE;
  sideband.config = PERF_COUNT_SW_DUMMY;
  sideband.sample_period = 1;
  sideband.mmap = 1;
  sideband.mmap2 = 1;
  sideband.mmap_data = layout.stack_bytes != 0;
  sideband.comm = 1;
  sideband.comm_exec = 1;
  sideband.task = 1;
  std::vector<WrittenAttribute> result = {{sideband, "dummy:HG", kSidebandId}};

  for (std::size_t i = 0; i < layout.events.size(); ++i) {
    const Event& event = layout.events[i];
    perf_event_attr attr = common;
    const auto* known = std::find_if(kHardwareNames.begin(), kHardwareNames.end(),
                                     [&](const HardwareName& it) { return it.name == event.name; });
    if (i < layout.countings.size()) {
      apply(layout.countings[i], event.count, attr);
    } else if (known != kHardwareNames.end()) {
      attr.type = PERF_TYPE_HARDWARE;
      attr.config = known->config;
      attr.sample_period = event.count;
    } else {
      attr.type = PERF_TYPE_RAW;
      attr.sample_period = event.count;
    }
    if (attr.sample_period == 0) {
      // Taken by frequency, and nothing tells what each stands for: for perf each is then one.
      attr.freq = 1;
      attr.sample_freq = 1;
    }
    result.push_back({attr, event.name, event_id(i)});
  }
  return result;
}

Buffer event_names(const Layout& layout) {
  Buffer buffer;
  const auto all = attributes(layout);
  put(buffer, static_cast<std::uint32_t>(all.size()));
  put(buffer, static_cast<std::uint32_t>(sizeof(perf_event_attr)));
  for (const WrittenAttribute& attribute : all) {
    put(buffer, attribute.attr);
    put(buffer, std::uint32_t{1});  // identifiers
    put_text(buffer, attribute.name);
    put(buffer, attribute.id);
  }
  return buffer;
}

Buffer build_ids(const std::vector<BuildId>& all) {
  Buffer buffer;
  for (const BuildId& build_id : all) {
    const std::string_view path = std::string_view(build_id.path).substr(0, 4096);
    const std::size_t room = (path.size() + 64) / 64 * 64;
    BuildIdEntry fields = {};
    fields.header.misc = kHasSize;
    fields.header.misc |= build_id.kernel ? PERF_RECORD_MISC_KERNEL : PERF_RECORD_MISC_USER;
    fields.header.size = static_cast<std::uint16_t>(sizeof fields + room);
    fields.pid = -1;
    fields.size = static_cast<std::uint8_t>(std::min(build_id.id.size(), fields.id.size()));
    std::copy_n(build_id.id.begin(), fields.size, fields.id.begin());
    put(buffer, fields);
    put_bytes(buffer, std::as_bytes(std::span(path)));
    buffer.resize(buffer.size() + room - path.size());
  }
  return buffer;
}

std::map<Feature, Buffer> feature_sections(const Layout& layout, const Features& features) {
  std::map<Feature, Buffer> sections;
  sections[kEventNamesFeature] = event_names(layout);
  const auto text = [&](Feature feature, const std::string& value) {
    if (!value.empty()) {
      put_text(sections[feature], value);
    }
  };
  text(kHostnameFeature, features.hostname);
  text(kOsReleaseFeature, features.os_release);
  text(kArchitectureFeature, features.architecture);
  if (features.cpus != 0) {
    Buffer& cpus = sections[kCpusFeature];
    put(cpus, features.cpus);  // available
    put(cpus, features.cpus);  // online
  }
  if (!features.command_line.empty()) {
    Buffer& words = sections[kCommandLineFeature];
    put(words, static_cast<std::uint32_t>(features.command_line.size()));
    for (const std::string& word : features.command_line) {
      put_text(words, word);
    }
  }
  if (!features.build_ids.empty()) {
    sections[kBuildIdFeature] = build_ids(features.build_ids);
  }
  return sections;
}

Result<void> write_data_size(int descriptor, std::uint64_t size,
                             const std::filesystem::path& path) {
  return write_at(descriptor, offsetof(FileHeader, data) + offsetof(FileSection, size),
                  std::as_bytes(std::span(&size, 1)), path);
}

}  // namespace

DataWriter::DataWriter(std::filesystem::path path, FileDescriptor file, const Layout& layout)
    : path_(std::move(path)), file_(std::move(file)), layout_(layout) {}

Result<DataWriter> DataWriter::create(FileDescriptor file, const std::filesystem::path& path,
                                      const Layout& layout) {
  DataWriter writer(path, std::move(file), layout);

  const auto all = attributes(layout);
  FileHeader header;
  header.size = sizeof header;
  header.attr_size = sizeof(perf_event_attr) + sizeof(FileSection);
  header.attrs = {sizeof header + all.size() * sizeof(std::uint64_t),
                  all.size() * header.attr_size};
  header.data = {header.attrs.offset + header.attrs.size, 0};
  Buffer head;
  put(head, header);
  for (const WrittenAttribute& attribute : all) {
    put(head, attribute.id);
  }
  for (std::size_t i = 0; i < all.size(); ++i) {
    put(head, all[i].attr);
    put(head, FileSection{sizeof header + i * sizeof(std::uint64_t), sizeof(std::uint64_t)});
  }
  writer.data_offset_ = header.data.offset;
  if (auto done = write_at(writer.file_.get(), 0, head, path); !done) {
    return std::unexpected(done.error());
  }
  return writer;
}

Result<void> DataWriter::write(Bytes records) {
  put_bytes(buffer_, records);
  return buffer_.size() < kBlock ? Result<void>{} : flush();
}

Result<void> DataWriter::flush() {
  if (buffer_.empty()) {
    return {};
  }
  const std::uint64_t size = buffer_.size();
  const auto done = write_at(file_.get(), data_offset_ + data_bytes_, buffer_, path_);
  buffer_.clear();
  if (!done) {
    return done;
  }
  // The size follows the data, so that what the header promises is always there.
  data_bytes_ += size;
  return write_data_size(file_.get(), data_bytes_, path_);
}

Result<void> DataWriter::finish(const Features& features) {
  if (auto done = flush(); !done) {
    return done;
  }
  const auto sections = feature_sections(layout_, features);
  const std::uint64_t table = data_offset_ + data_bytes_;
  std::uint64_t offset = table + sections.size() * sizeof(FileSection);
  std::array<std::uint64_t, 4> bits = {};
  Buffer tail;
  for (const auto& [feature, section] : sections) {
    bits[feature / 64] |= std::uint64_t{1} << (feature % 64);
    put(tail, FileSection{offset, section.size()});
    offset += section.size();
  }
  for (const auto& [feature, section] : sections) {
    put_bytes(tail, section);
  }
  if (auto done = write_at(file_.get(), table, tail, path_); !done) {
    return done;
  }
  return write_at(file_.get(), offsetof(FileHeader, features), std::as_bytes(std::span(bits)),
                  path_);
}

}  // namespace xenoprof::perf
