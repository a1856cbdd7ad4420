// SPDX-License-Identifier: GPL-2.0-or-later
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "model/number.h"
#include "pprof.pb.h"
#include "pprof/gzip.h"
#include "pprof/parts.h"
#include "pprof/pprof.h"

namespace xenoprof::pprof {
namespace {

namespace format = perftools::profiles;

// Of numbers of samples, as other profilers write it.
constexpr std::string_view kForeignUnit = "count";

template <class Message>
bool parse(std::string_view part, Message& message) {
  return message.ParseFromArray(part.data(), static_cast<int>(part.size()));
}

class Decoder {
 public:
  Decoder(const Parts& parts, const Limits& limits, const Progress& progress)
      : parts_(parts), most_frames_(limits.frames), progress_(progress) {}

  Result<Stored> run() {
    if (!parts_.strings.empty() && !parts_.strings[0].empty()) {
      return fail("its first string is not empty");
    }
    for (auto step : {&Decoder::events, &Decoder::mappings, &Decoder::functions,
                      &Decoder::locations, &Decoder::samples}) {
      if (auto done = (this->*step)(); !done) {
        return std::unexpected(done.error());
      }
    }
    return Stored{std::move(profile_), std::move(left_out_)};
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
  const std::size_t most_frames_;
  const Progress& progress_;
  std::size_t done_ = 0;
  Profile profile_;
  std::vector<int> values_;  // by event: the place of its number in a sample
  std::vector<std::string> left_out_;
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
  const auto count = number<std::uint64_t>(comment.substr(between + kBetween.size()));
  if (!count) {
    return std::nullopt;
  }
  return Event{std::string(comment.substr(kBefore.size(), between - kBefore.size())), *count};
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
  for (int value = 0; std::string_view part : parts_.sample_types) {
    if (!parse(part, type)) {
      return fail("a sample type is damaged");
    }
    const auto name = text(type.type());
    const auto unit = text(type.unit());
    if (!name || !unit) {
      return fail("a sample type's name is not in its string table");
    }
    const int place = value++;
    if (!unit->empty() && *unit != kUnit && *unit != kForeignUnit) {
      left_out_.push_back(fmt::format("{} ({})", *name, *unit));
      continue;
    }
    values_.push_back(place);
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
  if (events.empty() && !left_out_.empty()) {
    return fail("its numbers are no samples, but {}", fmt::join(left_out_, ", "));
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
    if (static_cast<std::size_t>(sample.value_size()) != parts_.sample_types.size()) {
      return fail("a sample has {} numbers where there are {} events", sample.value_size(),
                  parts_.sample_types.size());
    }
    bool counted = false;
    for (std::size_t event = 0; event < events; ++event) {
      const std::int64_t value = sample.value(values_[event]);
      if (value < 0) {
        return fail("a sample has a negative number");
      }
      // What is added up here and in merges must still be a number of the format, which is signed.
      constexpr std::int64_t kMost = std::int64_t{1} << 50;
      if (value > kMost || (sums[event] += value) > kMost) {
        return fail("it has more samples than can be");
      }
      counted |= value != 0;
    }
    key = SampleKey{};
    if (auto read = read_labels(sample, key); !read) {
      return read;
    }
    const auto callers = static_cast<std::size_t>(sample.location_id_size());
    if (profile_.frames().size() + callers > most_frames_) {
      return fail("its samples have more callers than are taken");
    }
    stack.clear();
    for (std::uint64_t id : sample.location_id()) {
      const auto found = locations_.find(id);
      if (found == locations_.end()) {
        return fail("a sample is at a location that does not exist");
      }
      stack.push_back(found->second);
    }
    if (!counted) {
      continue;
    }
    if (stack.empty()) {
      stack.push_back(profile_.add_location(profile_.add_image(kUnknownImage, ""), 0));
    }
    key.stack = profile_.add_stack(stack);
    for (std::size_t event = 0; event < events; ++event) {
      if (const std::int64_t value = sample.value(values_[event]); value != 0) {
        profile_.add(key, event, static_cast<std::uint64_t>(value));
      }
    }
  }
  return {};
}

}  // namespace

Result<Stored> decode_stored(std::string_view bytes, const Limits& limits,
                             const Progress& progress) {
  const auto message = gunzip(bytes, limits.bytes);
  if (!message) {
    return fail("The profile cannot be read: {}.", message.error().message);
  }
  const auto parts = split(*message, limits);
  if (!parts) {
    return fail("The profile cannot be read: {}.", parts.error().message);
  }
  auto stored = Decoder(*parts, limits, progress).run();
  if (!stored) {
    return fail("The profile cannot be read: {}.", stored.error().message);
  }
  return stored;
}

Result<Profile> decode(std::string_view bytes, const Limits& limits, const Progress& progress) {
  auto stored = decode_stored(bytes, limits, progress);
  if (!stored) {
    return std::unexpected(stored.error());
  }
  return std::move(stored->profile);
}

}  // namespace xenoprof::pprof
