// SPDX-License-Identifier: GPL-2.0-or-later
// A profile in memory: how many samples fell where, and in whose time. The pprof file is its
// stored form (src/pprof), every view reads it (src/report).
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "model/event.h"
#include "model/mode.h"

namespace xenoprof {

// Index into Profile's string table; 0 is the empty string.
using StringId = std::uint32_t;
// Indices into Profile::images() and Profile::locations().
using ImageId = std::uint32_t;
using LocationId = std::uint32_t;
// What Profile::lines() gives for it; 0 is the empty list.
using LinesId = std::uint32_t;

// Names of the images that are no file.
inline constexpr std::string_view kXenImage = "[xen]";
inline constexpr std::string_view kKernelImage = "[kernel]";
// Code whose image is not known: anonymous memory, or a mapping record that was lost.
inline constexpr std::string_view kUnknownImage = "[unknown]";
// All the user time of a passive domain, into which nobody can look.
inline constexpr std::string_view kPassiveUserImage = "[user]";

// The file a PC lies in. A kernel module is "[module_name]".
struct Image {
  StringId name = 0;
  StringId build_id = 0;  // lower-case hex, 0 when unknown

  friend bool operator==(const Image&, const Image&) = default;
};

// A function that a program point lies in, and where in the source, by the debug information.
struct Line {
  StringId function = 0;
  StringId file = 0;       // 0 when unknown
  std::uint32_t line = 0;  // 0 when unknown

  friend bool operator==(const Line&, const Line&) = default;
};

// A program point.
struct Location {
  ImageId image = 0;
  // File offset for images that are files, virtual address for the kernel, its modules and Xen.
  std::uint64_t address = 0;
  StringId symbol = 0;  // 0 until resolved, and when no symbol covers the address
  // Innermost first: functions that were inlined there, then the one that `symbol` names. Empty
  // without debug information.
  LinesId lines = 0;

  friend bool operator==(const Location&, const Location&) = default;
};

// Everything but the event that tells one kind of sample from another.
struct SampleKey {
  StringId domain = 0;   // set where profiles are merged: a domain does not name itself
  StringId process = 0;  // the command name
  std::int32_t pid = 0;
  std::int32_t tid = 0;
  std::uint32_t vcpu = 0;
  Mode mode = Mode::kUser;
  std::vector<LocationId> stack;  // leaf first; the leaf is the sampled PC; never empty

  friend bool operator==(const SampleKey&, const SampleKey&) = default;
};

struct Sample {
  SampleKey key;
  std::vector<std::uint64_t> samples;  // one number of samples per event of the profile
};

class Profile {
 public:
  explicit Profile(std::vector<Event> events = {});
  Profile(Profile&&) noexcept = default;
  Profile& operator=(Profile&&) noexcept = default;

  const std::vector<Event>& events() const { return events_; }
  const std::deque<Image>& images() const { return images_; }
  const std::deque<Location>& locations() const { return locations_; }
  const std::deque<Sample>& samples() const { return samples_; }
  std::string_view text(StringId id) const { return strings_[id]; }
  const std::vector<Line>& lines(const Location& location) const { return *lines_[location.lines]; }

  // The ids of equal things are equal. A location is found again by what it was added with, also
  // after set_symbol() and set_lines(): the same address may bear another name in another domain.
  StringId intern(std::string_view text);
  LinesId intern(const std::vector<Line>& lines);
  ImageId add_image(std::string_view name, std::string_view build_id);
  LocationId add_location(ImageId image, std::uint64_t address, StringId symbol = 0,
                          LinesId lines = 0);

  // Adds `samples` samples of events()[event].
  void add(const SampleKey& key, std::size_t event, std::uint64_t samples = 1);

  void set_symbol(LocationId location, StringId symbol) { locations_[location].symbol = symbol; }

  // The last of the lines is in the location's symbol.
  void set_lines(LocationId location, LinesId lines) { locations_[location].lines = lines; }

  // As with a symbol, the image is still found again by what it was added with.
  void set_build_id(ImageId image, StringId build_id) { images_[image].build_id = build_id; }

  // Adds all of `other`, whose samples become those of `domain` (empty: they keep their own).
  // Events are matched by name and count; one that this profile lacks is appended.
  void merge(const Profile& other, std::string_view domain);

  // Samples of events()[event] over the whole profile.
  std::uint64_t total(std::size_t event) const;

 private:
  struct KeyHash {
    std::size_t operator()(const SampleKey& key) const;
  };
  struct ImageHash {
    std::size_t operator()(const Image& image) const;
  };
  struct LocationHash {
    std::size_t operator()(const Location& location) const;
  };
  struct LinesHash {
    std::size_t operator()(const std::vector<Line>& lines) const;
  };

  std::size_t add_event(const Event& event);

  std::vector<Event> events_;
  // Deques: an element never moves, so the views that the index maps hold stay valid.
  std::deque<std::string> strings_;
  std::deque<Image> images_;
  std::deque<Location> locations_;
  std::deque<Sample> samples_;
  std::unordered_map<std::string_view, StringId> string_ids_;
  std::unordered_map<std::vector<Line>, LinesId, LinesHash> line_ids_;
  std::vector<const std::vector<Line>*> lines_;  // the keys of line_ids_
  std::unordered_map<Image, ImageId, ImageHash> image_ids_;
  std::unordered_map<Location, LocationId, LocationHash> location_ids_;
  std::unordered_map<SampleKey, std::size_t, KeyHash> sample_ids_;
};

}  // namespace xenoprof
