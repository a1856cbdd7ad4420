// SPDX-License-Identifier: GPL-2.0-or-later
#include "model/profile.h"

#include <algorithm>

namespace xenoprof {
namespace {

// Mixes one more value into a hash (the 64-bit finaliser of splitmix64).
std::size_t mix(std::size_t hash, std::uint64_t value) {
  std::uint64_t x = hash + 0x9e3779b97f4a7c15u + value;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

}  // namespace

std::size_t Profile::KeyHash::operator()(const SampleKey& key) const {
  std::size_t hash = mix(key.domain, key.process);
  hash = mix(hash, static_cast<std::uint32_t>(key.pid));
  hash = mix(hash, static_cast<std::uint32_t>(key.tid));
  hash = mix(hash, (std::uint64_t{key.vcpu} << 8) | static_cast<std::uint8_t>(key.mode));
  for (LocationId location : key.stack) {
    hash = mix(hash, location);
  }
  return hash;
}

std::size_t Profile::ImageHash::operator()(const Image& image) const {
  return mix(image.name, image.build_id);
}

std::size_t Profile::LocationHash::operator()(const Location& location) const {
  return mix(mix(mix(location.image, location.address), location.symbol), location.lines);
}

std::size_t Profile::LinesHash::operator()(const std::vector<Line>& lines) const {
  std::size_t hash = lines.size();
  for (const Line& line : lines) {
    hash = mix(mix(mix(hash, line.function), line.file), line.line);
  }
  return hash;
}

Profile::Profile(std::vector<Event> events) : events_(std::move(events)) {
  intern("");
  intern(std::vector<Line>());
}

StringId Profile::intern(std::string_view text) {
  if (auto found = string_ids_.find(text); found != string_ids_.end()) {
    return found->second;
  }
  const auto id = static_cast<StringId>(strings_.size());
  strings_.emplace_back(text);
  string_ids_.emplace(strings_.back(), id);
  return id;
}

LinesId Profile::intern(const std::vector<Line>& lines) {
  const auto [entry, added] = line_ids_.try_emplace(lines, static_cast<LinesId>(lines_.size()));
  if (added) {
    lines_.push_back(&entry->first);
  }
  return entry->second;
}

ImageId Profile::add_image(std::string_view name, std::string_view build_id) {
  const Image image{intern(name), intern(build_id)};
  const auto [entry, added] = image_ids_.try_emplace(image, static_cast<ImageId>(images_.size()));
  if (added) {
    images_.push_back(image);
  }
  return entry->second;
}

LocationId Profile::add_location(ImageId image, std::uint64_t address, StringId symbol,
                                 LinesId lines) {
  const Location location{image, address, symbol, lines};
  const auto [entry, added] =
      location_ids_.try_emplace(location, static_cast<LocationId>(locations_.size()));
  if (added) {
    locations_.push_back(location);
  }
  return entry->second;
}

void Profile::add(const SampleKey& key, std::size_t event, std::uint64_t samples) {
  const auto [entry, added] = sample_ids_.try_emplace(key, samples_.size());
  if (added) {
    samples_.push_back({key, {}});
  }
  auto& counts = samples_[entry->second].samples;
  counts.resize(std::max(counts.size(), events_.size()));
  counts[event] += samples;
}

std::size_t Profile::add_event(const Event& event) {
  const auto found = std::find(events_.begin(), events_.end(), event);
  if (found != events_.end()) {
    return static_cast<std::size_t>(found - events_.begin());
  }
  events_.push_back(event);
  for (Sample& sample : samples_) {
    sample.samples.resize(events_.size());
  }
  return events_.size() - 1;
}

void Profile::merge(const Profile& other, std::string_view domain) {
  std::vector<std::size_t> event_of;
  for (const Event& event : other.events_) {
    event_of.push_back(add_event(event));
  }
  std::vector<ImageId> image_of;
  for (const Image& image : other.images_) {
    image_of.push_back(add_image(other.text(image.name), other.text(image.build_id)));
  }
  std::vector<LinesId> lines_of;
  for (const std::vector<Line>* theirs : other.lines_) {
    std::vector<Line> lines = *theirs;
    for (Line& line : lines) {
      line.function = intern(other.text(line.function));
      line.file = intern(other.text(line.file));
    }
    lines_of.push_back(intern(lines));
  }
  std::vector<LocationId> location_of;
  for (const Location& location : other.locations_) {
    location_of.push_back(add_location(image_of[location.image], location.address,
                                       intern(other.text(location.symbol)),
                                       lines_of[location.lines]));
  }
  const StringId given = intern(domain);
  SampleKey key;
  for (const Sample& sample : other.samples_) {
    key = sample.key;
    key.domain = given != 0 ? given : intern(other.text(sample.key.domain));
    key.process = intern(other.text(sample.key.process));
    for (LocationId& location : key.stack) {
      location = location_of[location];
    }
    for (std::size_t event = 0; event < sample.samples.size(); ++event) {
      if (sample.samples[event] != 0) {
        add(key, event_of[event], sample.samples[event]);
      }
    }
  }
}

std::uint64_t Profile::total(std::size_t event) const {
  std::uint64_t sum = 0;
  for (const Sample& sample : samples_) {
    sum += event < sample.samples.size() ? sample.samples[event] : 0;
  }
  return sum;
}

}  // namespace xenoprof
