// SPDX-License-Identifier: GPL-2.0-or-later
#include "model/profile.h"

#include <algorithm>
#include <functional>

namespace xenoprof {
namespace {

std::uint64_t hash_of_key(const SampleKey& key) {
  std::uint64_t hash = mix(key.stack, (std::uint64_t{key.process} << 32) | key.domain);
  hash = mix(hash, (std::uint64_t{static_cast<std::uint32_t>(key.pid)} << 32) |
                       static_cast<std::uint32_t>(key.tid));
  return mix(hash, (std::uint64_t{key.vcpu} << 8) | static_cast<std::uint8_t>(key.mode));
}

std::uint64_t hash_of_key(const Location& key) {
  return mix(mix(key.image, (std::uint64_t{key.symbol} << 32) | key.lines), key.address);
}

// How many elements ahead memory is asked for.
constexpr std::size_t kAhead = 16;

}  // namespace

Profile::Profile(std::vector<Event> events) : events_(std::move(events)) {
  intern("");
  intern(std::vector<Line>());
  frames_.emplace_back();
}

StringId Profile::intern(std::string_view text) {
  const std::uint64_t hash = mix(std::hash<std::string_view>()(text), 0);
  const auto [id, added] =
      string_ids_.insert(hash, [&](std::uint32_t known) { return strings_[known] == text; });
  if (added) {
    strings_.emplace_back(text);
  }
  return id;
}

LinesId Profile::intern(const std::vector<Line>& lines) {
  std::uint64_t hash = lines.size();
  for (const Line& line : lines) {
    hash = mix(mix(mix(hash, line.function), line.file), line.line);
  }
  const auto [id, added] =
      lines_ids_.insert(hash, [&](std::uint32_t known) { return lines_[known] == lines; });
  if (added) {
    lines_.push_back(lines);
  }
  return id;
}

ImageId Profile::add_image(std::string_view name, std::string_view build_id) {
  const Image image{intern(name), intern(build_id)};
  const auto [id, added] =
      image_ids_.insert(mix(image.name, image.build_id),
                        [&](std::uint32_t known) { return image_keys_[known] == image; });
  if (added) {
    images_.push_back(image);
    image_keys_.push_back(image);
  }
  return id;
}

LocationId Profile::add_location(ImageId image, std::uint64_t address, StringId symbol,
                                 LinesId lines) {
  const Location key{image, address, symbol, lines};
  const auto [id, added] = location_ids_.insert(
      hash_of_key(key), [&](std::uint32_t known) { return location_keys_[known] == key; });
  if (added) {
    locations_.push_back(key);
    location_keys_.push_back(key);
  }
  return id;
}

StackId Profile::add_frame(StackId caller, LocationId location, std::uint64_t hash) {
  const Frame frame{caller, location};
  // Index 0 of frames_ is the root, which is not in the index.
  const auto [id, added] =
      frame_ids_.insert(hash, [&](std::uint32_t known) { return frames_[known + 1] == frame; });
  if (added) {
    frames_.push_back(frame);
  }
  return id + 1;
}

StackId Profile::add_stack(std::span<const LocationId> leaf_first) {
  StackId stack = 0;
  std::uint64_t hash = 0;
  for (const LocationId location : std::views::reverse(leaf_first)) {
    hash = hash_of(hash, location);
    stack = add_frame(stack, location, hash);
  }
  return stack;
}

void Profile::expect(const SampleKey& key) const {
  sample_ids_.expect(hash_of_key(key));
}

void Profile::add(const SampleKey& key, std::size_t event, std::uint64_t samples) {
  const auto [id, added] = sample_ids_.insert(
      hash_of_key(key), [&](std::uint32_t known) { return keys_[known] == key; });
  if (added) {
    keys_.push_back(key);
    counts_.resize(counts_.size() + events_.size());
  }
  counts_[id * events_.size() + event] += samples;
}

std::size_t Profile::add_event(const Event& event) {
  const auto found = std::find(events_.begin(), events_.end(), event);
  if (found != events_.end()) {
    return static_cast<std::size_t>(found - events_.begin());
  }
  // Each sample's numbers stay together.
  const std::size_t before = events_.size();
  std::vector<std::uint64_t> counts(keys_.size() * (before + 1));
  for (std::size_t sample = 0; sample < keys_.size(); ++sample) {
    std::copy_n(counts_.begin() + static_cast<std::ptrdiff_t>(sample * before), before,
                counts.begin() + static_cast<std::ptrdiff_t>(sample * (before + 1)));
  }
  counts_ = std::move(counts);
  events_.push_back(event);
  return events_.size() - 1;
}

void Profile::merge(const Profile& other, std::string_view domain) {
  std::vector<std::size_t> event_of;
  for (const Event& event : other.events_) {
    event_of.push_back(add_event(event));
  }
  std::vector<StringId> text_of;
  for (const std::string& text : other.strings_) {
    text_of.push_back(intern(text));
  }
  std::vector<ImageId> image_of;
  for (const Image& image : other.images_) {
    image_of.push_back(add_image(other.text(image.name), other.text(image.build_id)));
  }
  std::vector<LinesId> lines_of;
  for (std::vector<Line> lines : other.lines_) {
    for (Line& line : lines) {
      line.function = text_of[line.function];
      line.file = text_of[line.file];
    }
    lines_of.push_back(intern(lines));
  }
  std::vector<Location> keys;
  for (const Location& location : other.locations_) {
    keys.push_back({image_of[location.image], location.address, text_of[location.symbol],
                    lines_of[location.lines]});
  }
  std::vector<LocationId> location_of;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    location_ids_.expect(hash_of_key(keys[std::min(i + kAhead, keys.size() - 1)]));
    location_of.push_back(
        add_location(keys[i].image, keys[i].address, keys[i].symbol, keys[i].lines));
  }
  std::vector<std::uint64_t> hashes = {0};
  for (const Frame& frame : other.frames_ | std::views::drop(1)) {
    hashes.push_back(hash_of(hashes[frame.caller], location_of[frame.location]));
  }
  std::vector<StackId> stack_of = {0};
  for (std::size_t i = 1; i < hashes.size(); ++i) {
    expect_frame(hashes[std::min(i + kAhead, hashes.size() - 1)]);
    const Frame& frame = other.frames_[i];
    stack_of.push_back(add_frame(stack_of[frame.caller], location_of[frame.location], hashes[i]));
  }
  const StringId given = intern(domain);
  const auto key_of = [&](std::size_t sample) {
    SampleKey key = other.keys_[sample];
    key.domain = given != 0 ? given : text_of[key.domain];
    key.process = text_of[key.process];
    key.stack = stack_of[key.stack];
    return key;
  };
  for (std::size_t i = 0; i < other.keys_.size(); ++i) {
    expect(key_of(std::min(i + kAhead, other.keys_.size() - 1)));
    const SampleKey key = key_of(i);
    const Sample sample = other.samples()[static_cast<std::ptrdiff_t>(i)];
    for (std::size_t event = 0; event < sample.samples.size(); ++event) {
      if (sample.samples[event] != 0) {
        add(key, event_of[event], sample.samples[event]);
      }
    }
  }
}

std::uint64_t Profile::total(std::size_t event) const {
  std::uint64_t sum = 0;
  for (std::size_t at = event; at < counts_.size(); at += events_.size()) {
    sum += counts_[at];
  }
  return sum;
}

}  // namespace xenoprof
