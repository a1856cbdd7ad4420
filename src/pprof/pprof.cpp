// SPDX-License-Identifier: GPL-2.0-or-later
#include "pprof/pprof.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "pprof.pb.h"
#include "pprof/gzip.h"
#include "pprof/parts.h"

namespace xenoprof::pprof {
namespace {

namespace format = perftools::profiles;

constexpr std::string_view kUnit = "samples";

// The strings of a message under construction.
class StringTable {
 public:
  explicit StringTable(format::Profile& message) : message_(message) { id(""); }

  std::int64_t id(std::string_view text) {
    const auto [entry, added] = ids_.try_emplace(std::string(text), message_.string_table_size());
    if (added) {
      message_.add_string_table(entry->first);
    }
    return entry->second;
  }

 private:
  format::Profile& message_;
  std::unordered_map<std::string, std::int64_t> ids_;
};

void encode_images(const Profile& profile, StringTable& strings, format::Profile& message) {
  // pprof wants the addresses of locations within their mapping.
  std::vector<std::uint64_t> limits(profile.images().size());
  for (const Location& location : profile.locations()) {
    std::uint64_t& limit = limits[location.image];
    limit = std::max(
        limit, location.address == ~std::uint64_t{0} ? location.address : location.address + 1);
  }
  for (std::size_t i = 0; i < profile.images().size(); ++i) {
    const Image& image = profile.images()[i];
    format::Mapping& mapping = *message.add_mapping();
    mapping.set_id(i + 1);
    mapping.set_memory_limit(limits[i]);
    mapping.set_filename(strings.id(profile.text(image.name)));
    mapping.set_build_id(strings.id(profile.text(image.build_id)));
    mapping.set_has_functions(true);  // or pprof would look for this machine's files
  }
}

void encode_locations(const Profile& profile, StringTable& strings, format::Profile& message) {
  std::map<std::pair<StringId, StringId>, std::uint64_t> functions;  // by name and file
  const auto function_id = [&](StringId name, StringId file) {
    const auto [entry, added] = functions.try_emplace({name, file}, functions.size() + 1);
    if (added) {
      format::Function& function = *message.add_function();
      function.set_id(entry->second);
      function.set_name(strings.id(profile.text(name)));
      function.set_system_name(function.name());
      function.set_filename(strings.id(profile.text(file)));
    }
    return entry->second;
  };
  for (std::size_t i = 0; i < profile.locations().size(); ++i) {
    const Location& from = profile.locations()[i];
    format::Location& location = *message.add_location();
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
  }
}

void encode_samples(const Profile& profile, StringTable& strings, format::Profile& message) {
  for (const Sample& from : profile.samples()) {
    format::Sample& sample = *message.add_sample();
    for (const LocationId location : profile.stack(from)) {
      sample.add_location_id(std::uint64_t{location} + 1);
    }
    for (std::size_t event = 0; event < profile.events().size(); ++event) {
      sample.add_value(event < from.samples.size() ? static_cast<std::int64_t>(from.samples[event])
                                                   : 0);
    }
    const auto add_text = [&](std::string_view key, std::string_view value) {
      format::Label& label = *sample.add_label();
      label.set_key(strings.id(key));
      label.set_str(strings.id(value));
    };
    const auto add_number = [&](std::string_view key, std::int64_t value) {
      format::Label& label = *sample.add_label();
      label.set_key(strings.id(key));
      label.set_num(value);
    };
    add_text("domain", profile.text(from.key.domain));
    add_text("process", profile.text(from.key.process));
    add_number("pid", from.key.pid);
    add_number("tid", from.key.tid);
    add_number("vcpu", from.key.vcpu);
    add_text("mode", to_string(from.key.mode));
  }
}

template <class Message>
bool parse(std::string_view part, Message& message) {
  return message.ParseFromArray(part.data(), static_cast<int>(part.size()));
}

class Decoder {
 public:
  Decoder(const Parts& parts, const Progress& progress) : parts_(parts), progress_(progress) {}

  Result<Profile> run() {
    if (!parts_.strings.empty() && !parts_.strings[0].empty()) {
      return fail("its first string is not empty");
    }
    for (auto step : {&Decoder::events, &Decoder::mappings, &Decoder::functions,
                      &Decoder::locations, &Decoder::samples}) {
      if (auto done = (this->*step)(); !done) {
        return std::unexpected(done.error());
      }
    }
    return std::move(profile_);
  }

 private:
  std::optional<std::string_view> text(std::int64_t index) const {
    if (index == 0) {
      return "";
    }
    if (index < 0 || static_cast<std::uint64_t>(index) >= parts_.strings.size()) {
      return std::nullopt;
    }
    return parts_.strings[static_cast<std::size_t>(index)];
  }

  // Once for each function, location and sample.
  void count_part() {
    constexpr std::size_t kOften = 1 << 14;
    if (++done_ % kOften == 0 && progress_) {
      progress_(static_cast<double>(done_) /
                static_cast<double>(parts_.functions.size() + parts_.locations.size() +
                                    parts_.samples.size()));
    }
  }

  Result<void> events();
  Result<void> mappings();
  Result<void> functions();
  Result<void> locations();
  Result<void> samples();
  Result<void> read_labels(const format::Sample& sample, SampleKey& key);

  const Parts& parts_;
  const Progress& progress_;
  std::size_t done_ = 0;
  Profile profile_;
  // From the message's ids to ours.
  std::unordered_map<std::uint64_t, ImageId> images_;
  std::unordered_map<std::uint64_t, Line> functions_;  // their line numbers are 0
  std::unordered_map<std::uint64_t, LocationId> locations_;
};

// "event NAME count N", as encode() writes it.
std::optional<Event> event_of_comment(std::string_view comment) {
  constexpr std::string_view kBefore = "event ";
  constexpr std::string_view kBetween = " count ";
  const std::size_t between = comment.rfind(kBetween);
  if (!comment.starts_with(kBefore) || between == std::string_view::npos ||
      between < kBefore.size()) {
    return std::nullopt;
  }
  Event event;
  event.name = comment.substr(kBefore.size(), between - kBefore.size());
  const std::string_view number = comment.substr(between + kBetween.size());
  const auto [end, error] =
      std::from_chars(number.data(), number.data() + number.size(), event.count);
  if (error != std::errc() || end != number.data() + number.size()) {
    return std::nullopt;
  }
  return event;
}

Result<void> Decoder::events() {
  std::vector<Event> described;
  for (std::int64_t comment : parts_.comments) {
    const auto content = text(comment);
    if (!content) {
      return fail("a comment is not in its string table");
    }
    if (auto event = event_of_comment(*content)) {
      described.push_back(*std::move(event));
    }
  }
  std::vector<Event> events;
  format::ValueType type;
  for (std::string_view part : parts_.sample_types) {
    if (!parse(part, type)) {
      return fail("a sample type is damaged");
    }
    const auto name = text(type.type());
    if (!name) {
      return fail("a sample type's name is not in its string table");
    }
    Event event{std::string(*name), 1};
    // In the order of the sample types: two events may share a name.
    const auto found = std::find_if(described.begin(), described.end(),
                                    [&](const Event& one) { return one.name == event.name; });
    if (found != described.end()) {
      event = *found;
      described.erase(found);
    }
    events.push_back(std::move(event));
  }
  profile_ = Profile(std::move(events));
  return {};
}

Result<void> Decoder::mappings() {
  format::Mapping mapping;
  for (std::string_view part : parts_.mappings) {
    if (!parse(part, mapping)) {
      return fail("a mapping is damaged");
    }
    const auto name = text(mapping.filename());
    const auto build_id = text(mapping.build_id());
    if (!name || !build_id) {
      return fail("a mapping's name is not in its string table");
    }
    const ImageId image = profile_.add_image(name->empty() ? kUnknownImage : *name, *build_id);
    if (mapping.id() == 0 || !images_.emplace(mapping.id(), image).second) {
      return fail("two mappings have the same number {}", mapping.id());
    }
  }
  return {};
}

Result<void> Decoder::functions() {
  format::Function function;
  for (std::string_view part : parts_.functions) {
    count_part();
    if (!parse(part, function)) {
      return fail("a function is damaged");
    }
    const auto name = text(function.name() != 0 ? function.name() : function.system_name());
    const auto file = text(function.filename());
    if (!name || !file) {
      return fail("a function's name is not in its string table");
    }
    const Line known{.function = profile_.intern(*name), .file = profile_.intern(*file)};
    if (function.id() == 0 || !functions_.emplace(function.id(), known).second) {
      return fail("two functions have the same number {}", function.id());
    }
  }
  return {};
}

Result<void> Decoder::locations() {
  format::Location location;
  std::vector<Line> lines;
  for (std::string_view part : parts_.locations) {
    count_part();
    if (!parse(part, location)) {
      return fail("a location is damaged");
    }
    ImageId image = 0;
    if (location.mapping_id() == 0) {
      image = profile_.add_image(kUnknownImage, "");
    } else if (auto found = images_.find(location.mapping_id()); found != images_.end()) {
      image = found->second;
    } else {
      return fail("a location is in a mapping that does not exist");
    }
    lines.clear();
    for (const format::Line& line : location.line()) {
      const auto found = functions_.find(line.function_id());
      if (found == functions_.end()) {
        return fail("a location is in a function that does not exist");
      }
      lines.push_back(found->second);
      if (std::in_range<std::uint32_t>(line.line())) {
        lines.back().line = static_cast<std::uint32_t>(line.line());
      }
    }
    // The function that the program has, not the ones inlined into it.
    const StringId symbol = lines.empty() ? 0 : lines.back().function;
    if (lines.size() == 1 && lines.back().file == 0 && lines.back().line == 0) {
      lines.clear();  // a symbol and no more
    }
    const LocationId added =
        profile_.add_location(image, location.address(), symbol, profile_.intern(lines));
    if (location.id() == 0 || !locations_.emplace(location.id(), added).second) {
      return fail("two locations have the same number {}", location.id());
    }
  }
  return {};
}

template <class Number>
bool set_number(Number& field, std::int64_t value) {
  if (!std::in_range<Number>(value)) {
    return false;
  }
  field = static_cast<Number>(value);
  return true;
}

Result<void> Decoder::read_labels(const format::Sample& sample, SampleKey& key) {
  for (const format::Label& label : sample.label()) {
    const auto name = text(label.key());
    const auto value = text(label.str());
    if (!name || !value) {
      return fail("a sample's label is not in its string table");
    }
    bool good = true;
    if (*name == "domain") {
      key.domain = profile_.intern(*value);
    } else if (*name == "process") {
      key.process = profile_.intern(*value);
    } else if (*name == "pid") {
      good = set_number(key.pid, label.num());
    } else if (*name == "tid") {
      good = set_number(key.tid, label.num());
    } else if (*name == "vcpu") {
      good = set_number(key.vcpu, label.num());
    } else if (*name == "mode") {
      const auto mode = mode_from_string(*value);
      good = mode.has_value();
      key.mode = mode.value_or(Mode::kUser);
    }
    if (!good) {
      return fail("a sample's label {} has an impossible value", *name);
    }
  }
  return {};
}

Result<void> Decoder::samples() {
  format::Sample sample;
  SampleKey key;
  std::vector<LocationId> stack;
  const std::size_t events = profile_.events().size();
  std::vector<std::int64_t> sums(events);
  for (std::string_view part : parts_.samples) {
    count_part();
    if (!parse(part, sample)) {
      return fail("a sample is damaged");
    }
    if (static_cast<std::size_t>(sample.value_size()) != events) {
      return fail("a sample has {} numbers where there are {} events", sample.value_size(), events);
    }
    key = SampleKey{};
    if (auto read = read_labels(sample, key); !read) {
      return read;
    }
    stack.clear();
    for (std::uint64_t id : sample.location_id()) {
      const auto found = locations_.find(id);
      if (found == locations_.end()) {
        return fail("a sample is at a location that does not exist");
      }
      stack.push_back(found->second);
    }
    if (stack.empty()) {
      stack.push_back(profile_.add_location(profile_.add_image(kUnknownImage, ""), 0));
    }
    key.stack = profile_.add_stack(stack);
    for (std::size_t event = 0; event < events; ++event) {
      const std::int64_t value = sample.value(static_cast<int>(event));
      if (value < 0) {
        return fail("a sample has a negative number");
      }
      // What is added up here and in merges must still be a number of the format, which is signed.
      constexpr std::int64_t kMost = std::int64_t{1} << 50;
      if (value > kMost || (sums[event] += value) > kMost) {
        return fail("it has more samples than can be");
      }
      if (value != 0) {
        profile_.add(key, event, static_cast<std::uint64_t>(value));
      }
    }
  }
  return {};
}

}  // namespace

std::string encode(const Profile& profile) {
  format::Profile message;
  StringTable strings(message);
  for (const Event& event : profile.events()) {
    format::ValueType& type = *message.add_sample_type();
    type.set_type(strings.id(event.name));
    type.set_unit(strings.id(kUnit));
    message.add_comment(strings.id(fmt::format("event {} count {}", event.name, event.count)));
  }
  encode_images(profile, strings, message);
  encode_locations(profile, strings, message);
  encode_samples(profile, strings, message);
  return gzip(message.SerializeAsString());
}

Result<Profile> decode(std::string_view bytes, const Limits& limits, const Progress& progress) {
  const auto message = gunzip(bytes, limits.bytes);
  if (!message) {
    return fail("The profile cannot be read: {}.", message.error().message);
  }
  const auto parts = split(*message, limits);
  if (!parts) {
    return fail("The profile cannot be read: {}.", parts.error().message);
  }
  auto profile = Decoder(*parts, progress).run();
  if (!profile) {
    return fail("The profile cannot be read: {}.", profile.error().message);
  }
  return profile;
}

}  // namespace xenoprof::pprof
