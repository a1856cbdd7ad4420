// SPDX-License-Identifier: GPL-2.0-or-later
#include <fmt/format.h>
#include <google/protobuf/io/coded_stream.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <ranges>
#include <string>
#include <utility>
#include <vector>

#include "pprof.pb.h"
#include "pprof/gzip.h"
#include "pprof/parts.h"
#include "pprof/pprof.h"

namespace xenoprof::pprof {
namespace {

namespace format = perftools::profiles;
using Message = format::Profile;

// Writes a message part by part, compressed at once: a large profile's parts as objects would take
// many times the memory of the profile.
class Writer {
 public:
  void add(int field, std::string_view content) {
    begin(field, content.size());
    buffer_ += content;
    pass_on();
  }
  // Two parts of one message, in this order.
  void add(int field, const google::protobuf::MessageLite& one,
           const google::protobuf::MessageLite& other) {
    begin(field, one.ByteSizeLong() + other.ByteSizeLong());
    one.AppendToString(&buffer_);
    other.AppendToString(&buffer_);
    pass_on();
  }
  void add(int field, const google::protobuf::MessageLite& part) {
    begin(field, part.ByteSizeLong());
    part.AppendToString(&buffer_);
    pass_on();
  }

  // Fields as they are.
  void add(const Message& fields) {
    fields.AppendToString(&buffer_);
    pass_on();
  }

  std::string finish() {
    gzip_.add(buffer_);
    return gzip_.finish();
  }

 private:
  static constexpr std::size_t kBlock = std::size_t{1} << 20;

  void begin(int field, std::size_t size) {
    constexpr std::uint32_t kLengthDelimited = 2;
    put(static_cast<std::uint32_t>(field) << 3 | kLengthDelimited);
    put(static_cast<std::uint32_t>(size));
  }
  void put(std::uint32_t number) {
    std::uint8_t bytes[5];
    const auto* const end =
        google::protobuf::io::CodedOutputStream::WriteVarint32ToArray(number, bytes);
    buffer_.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(end - bytes));
  }
  void pass_on() {
    if (buffer_.size() >= kBlock) {
      gzip_.add_aside(buffer_);
    }
  }

  std::string buffer_;
  Gzip gzip_;
};

// The message's table of strings, in the order in which they are asked for.
class Strings {
 public:
  explicit Strings(const Profile& profile) : profile_(profile) { id(0); }

  std::int64_t id(StringId text) {
    ids_.resize(std::max<std::size_t>(ids_.size(), text + std::size_t{1}), kNone);
    if (ids_[text] == kNone) {
      ids_[text] = add(profile_.text(text));
    }
    return ids_[text];
  }
  // For what the profile itself has no id for, which may stand in the table twice then.
  std::int64_t add(std::string_view text) {
    texts_.emplace_back(text);
    return static_cast<std::int64_t>(texts_.size() - 1);
  }
  const std::vector<std::string>& texts() const { return texts_; }

 private:
  static constexpr std::int64_t kNone = -1;

  const Profile& profile_;
  std::vector<std::int64_t> ids_;  // by StringId
  std::vector<std::string> texts_;
};

void encode_events(const Profile& profile, Strings& strings, Writer& writer) {
  const std::int64_t unit = strings.add(kUnit);
  Message message;
  for (const Event& event : profile.events()) {
    format::ValueType& type = *message.add_sample_type();
    type.set_type(strings.add(event.name));
    type.set_unit(unit);
    message.add_comment(strings.add(fmt::format("event {} count {}", event.name, event.count)));
  }
  writer.add(message);
}

void encode_images(const Profile& profile, Strings& strings, Writer& writer) {
  // pprof wants the addresses of locations within their mapping.
  std::vector<std::uint64_t> limits(profile.images().size());
  for (const Location& location : profile.locations()) {
    std::uint64_t& limit = limits[location.image];
    limit = std::max(
        limit, location.address == ~std::uint64_t{0} ? location.address : location.address + 1);
  }
  format::Mapping mapping;
  for (std::size_t i = 0; i < profile.images().size(); ++i) {
    const Image& image = profile.images()[i];
    mapping.set_id(i + 1);
    mapping.set_memory_limit(limits[i]);
    mapping.set_filename(strings.id(image.name));
    mapping.set_build_id(strings.id(image.build_id));
    mapping.set_has_functions(true);  // or pprof would look for this machine's files
    writer.add(Message::kMappingFieldNumber, mapping);
  }
}

void encode_locations(const Profile& profile, const std::vector<LocationId>& locations,
                      Strings& strings, Writer& writer) {
  std::map<std::pair<StringId, StringId>, std::uint64_t> functions;  // by name and file
  format::Function function;
  const auto function_id = [&](StringId name, StringId file) {
    const auto [entry, added] = functions.try_emplace({name, file}, functions.size() + 1);
    if (added) {
      function.set_id(entry->second);
      function.set_name(strings.id(name));
      function.set_system_name(function.name());
      function.set_filename(strings.id(file));
      writer.add(Message::kFunctionFieldNumber, function);
    }
    return entry->second;
  };
  format::Location location;
  for (std::size_t i = 0; i < locations.size(); ++i) {
    const Location& from = profile.locations()[locations[i]];
    location.Clear();
    location.set_id(i + 1);
    location.set_mapping_id(from.image + 1);
    location.set_address(from.address);
    for (const Line& line : profile.lines(from)) {
      format::Line& added = *location.add_line();
      added.set_function_id(function_id(line.function, line.file));
      added.set_line(line.line);
    }
    // Without any line pprof shows the address.
    if (location.line_size() == 0 && from.symbol != 0) {
      location.add_line()->set_function_id(function_id(from.symbol, 0));
    }
    writer.add(Message::kLocationFieldNumber, location);
  }
}

// The way through the tree of stacks, callees in the order of their locations. Neighbours have most
// of their callers in common there: that compresses best.
class TreeOrder {
 public:
  TreeOrder(const Profile& profile, const std::vector<LocationId>& locations)
      : frames_(profile.frames()), first_(frames_.size()), next_(frames_.size()) {
    // Frames by location, in lists like those of callees.
    std::vector<StackId> first_there(locations.size());
    std::vector<StackId> next_there(frames_.size());
    for (auto frame = static_cast<StackId>(frames_.size() - 1); frame != 0; --frame) {
      next_there[frame] = std::exchange(first_there[frames_[frame].location], frame);
    }
    for (const LocationId location : std::views::reverse(locations)) {
      for (StackId frame = first_there[location]; frame != 0; frame = next_there[frame]) {
        next_[frame] = std::exchange(first_[frames_[frame].caller], frame);
      }
    }
  }

  // Calls enter(frame) for each, and leave() when all that it called has been entered.
  template <class Enter, class Leave>
  void walk(const Enter& enter, const Leave& leave) const {
    for (StackId frame = first_[0]; frame != 0;) {
      enter(frame);
      if (first_[frame] != 0) {
        frame = first_[frame];
        continue;
      }
      for (leave(); frame != 0 && next_[frame] == 0;) {
        frame = frames_[frame].caller;
        if (frame != 0) {
          leave();
        }
      }
      frame = next_[frame];
    }
  }

 private:
  const std::vector<Frame>& frames_;
  std::vector<StackId> first_;  // that each frame called
  std::vector<StackId> next_;   // that its caller called
};

// The first sample of each stack, and the next one of the same stack.
struct SamplesOfStacks {
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};

  explicit SamplesOfStacks(const Profile& profile)
      : first(profile.frames().size(), kNone), next(profile.samples().size()) {
    const auto samples = profile.samples();
    for (std::size_t i = next.size(); i-- > 0;) {
      const StackId stack = samples[static_cast<std::ptrdiff_t>(i)].key.stack;
      next[i] = std::exchange(first[stack], static_cast<std::uint32_t>(i));
    }
  }

  std::vector<std::uint32_t> first;
  std::vector<std::uint32_t> next;
};

class SampleEncoder {
 public:
  SampleEncoder(Strings& strings, Writer& writer)
      : strings_(strings),
        writer_(writer),
        domain_(strings.add("domain")),
        process_(strings.add("process")),
        pid_(strings.add("pid")),
        tid_(strings.add("tid")),
        vcpu_(strings.add("vcpu")),
        mode_(strings.add("mode")) {
    for (const Mode mode : {Mode::kUser, Mode::kKernel, Mode::kHypervisor}) {
      modes_.push_back(strings.add(to_string(mode)));
    }
  }

  // `path` is the stack from the outermost function on, of numbers of locations in the message.
  void encode(const Sample& from, const std::vector<std::uint64_t>& path) {
    sample_.Clear();
    for (const std::uint64_t location : std::views::reverse(path)) {
      sample_.add_location_id(location);
    }
    add_text(domain_, strings_.id(from.key.domain));
    add_text(process_, strings_.id(from.key.process));
    add_number(pid_, from.key.pid);
    add_number(tid_, from.key.tid);
    add_number(vcpu_, from.key.vcpu);
    add_text(mode_, modes_[static_cast<std::size_t>(from.key.mode)]);
    // At the end, beside what differs in the next sample.
    numbers_.Clear();
    for (const std::uint64_t number : from.samples) {
      numbers_.add_value(static_cast<std::int64_t>(number));
    }
    writer_.add(Message::kSampleFieldNumber, sample_, numbers_);
  }

 private:
  void add_text(std::int64_t key, std::int64_t value) {
    format::Label& label = *sample_.add_label();
    label.set_key(key);
    label.set_str(value);
  }
  void add_number(std::int64_t key, std::int64_t value) {
    format::Label& label = *sample_.add_label();
    label.set_key(key);
    label.set_num(value);
  }

  Strings& strings_;
  Writer& writer_;
  std::int64_t domain_;
  std::int64_t process_;
  std::int64_t pid_;
  std::int64_t tid_;
  std::int64_t vcpu_;
  std::int64_t mode_;
  std::vector<std::int64_t> modes_;
  // Used again for each sample: their memory is.
  format::Sample sample_;
  format::Sample numbers_;
};

// `locations` in the order of their numbers in the message.
void encode_samples(const Profile& profile, const std::vector<LocationId>& locations,
                    Strings& strings, Writer& writer) {
  std::vector<std::uint64_t> number_of(locations.size());
  for (std::size_t i = 0; i < locations.size(); ++i) {
    number_of[locations[i]] = i + 1;
  }
  SampleEncoder encoder(strings, writer);
  const auto samples = profile.samples();
  const SamplesOfStacks of_stacks(profile);
  std::vector<std::uint64_t> path;
  TreeOrder(profile, locations)
      .walk(
          [&](StackId stack) {
            path.push_back(number_of[profile.frames()[stack].location]);
            for (std::uint32_t i = of_stacks.first[stack]; i != SamplesOfStacks::kNone;
                 i = of_stacks.next[i]) {
              encoder.encode(samples[i], path);
            }
          },
          [&] { path.pop_back(); });
}

}  // namespace

std::string encode(const Profile& profile) {
  Writer writer;
  Strings strings(profile);
  // By address, as neighbours differ least then.
  std::vector<LocationId> locations(profile.locations().size());
  std::iota(locations.begin(), locations.end(), 0u);
  std::ranges::stable_sort(locations, {}, [&](LocationId id) {
    const Location& location = profile.locations()[id];
    return std::pair(location.image, location.address);
  });
  encode_events(profile, strings, writer);
  encode_images(profile, strings, writer);
  encode_locations(profile, locations, strings, writer);
  encode_samples(profile, locations, strings, writer);
  for (const std::string& text : strings.texts()) {
    writer.add(Message::kStringTableFieldNumber, text);
  }
  return writer.finish();
}

}  // namespace xenoprof::pprof
