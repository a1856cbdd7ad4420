// SPDX-License-Identifier: GPL-2.0-or-later
// A profile in memory: how many samples fell where, and in whose time. The pprof file is its
// stored form (src/pprof), every view reads it (src/report).
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <iterator>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/event.h"
#include "model/id_index.h"
#include "model/mode.h"

namespace xenoprof {

// Index into Profile's string table; 0 is the empty string.
using StringId = std::uint32_t;
// Indices into Profile::images(), Profile::locations() and Profile::frames().
using ImageId = std::uint32_t;
using LocationId = std::uint32_t;
using StackId = std::uint32_t;
// What Profile::lines() gives for it; 0 is the empty list.
using LinesId = std::uint32_t;

// Names of the images that are no file.
inline constexpr std::string_view kXenImage = "[xen]";
inline constexpr std::string_view kKernelImage = "[kernel]";
// Code whose image is not known: anonymous memory, or a mapping record that was lost.
inline constexpr std::string_view kUnknownImage = "[unknown]";
// The kernel and the user space of virtual machines, seen from outside.
inline constexpr std::string_view kGuestKernelImage = "[guest.kernel]";
inline constexpr std::string_view kGuestUserImage = "[guest.user]";
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

// The last step of a call stack. The stacks of a profile are a tree: those that begin alike, from
// the outermost function on, share those frames.
struct Frame {
  StackId caller = 0;  // less than the frame's own id; 0 for the outermost function
  LocationId location = 0;

  friend bool operator==(const Frame&, const Frame&) = default;
};

// The locations of a stack, leaf first. Valid until a frame is added.
class Stack : public std::ranges::view_interface<Stack> {
 public:
  class Iterator {
   public:
    using value_type = LocationId;
    using difference_type = std::ptrdiff_t;

    Iterator() = default;
    Iterator(const Frame* frames, StackId at) : frames_(frames), at_(at) {}
    LocationId operator*() const { return frames_[at_].location; }
    // The stack that ends here.
    StackId id() const { return at_; }
    Iterator& operator++() {
      at_ = frames_[at_].caller;
      return *this;
    }
    Iterator operator++(int) {
      const Iterator before = *this;
      ++*this;
      return before;
    }
    friend bool operator==(const Iterator& one, const Iterator& other) {
      return one.at_ == other.at_;
    }

   private:
    const Frame* frames_ = nullptr;
    StackId at_ = 0;
  };

  Stack(const Frame* frames, StackId leaf) : frames_(frames), leaf_(leaf) {}
  Iterator begin() const { return {frames_, leaf_}; }
  Iterator end() const { return {frames_, 0}; }

 private:
  const Frame* frames_;
  StackId leaf_;
};

// Everything but the event that tells one kind of sample from another.
struct SampleKey {
  StringId domain = 0;   // set where profiles are merged: a domain does not name itself
  StringId process = 0;  // the command name
  std::int32_t pid = 0;
  std::int32_t tid = 0;
  std::uint32_t vcpu = 0;
  StackId stack = 0;  // its leaf is the sampled PC; never 0
  Mode mode = Mode::kUser;

  friend bool operator==(const SampleKey&, const SampleKey&) = default;
};

// Points into the profile; valid until something is added there.
struct Sample {
  const SampleKey& key;
  std::span<const std::uint64_t> samples;  // one number of samples per event of the profile
};

class Profile {
 public:
  explicit Profile(std::vector<Event> events = {});
  Profile(Profile&&) noexcept = default;
  Profile& operator=(Profile&&) noexcept = default;

  const std::vector<Event>& events() const { return events_; }
  const std::vector<Image>& images() const { return images_; }
  const std::vector<Location>& locations() const { return locations_; }
  // Entry 0 is no frame: the root of all stacks. Every caller stands before those it calls, so what
  // a function and all that it called cost adds up in one pass from the end.
  const std::vector<Frame>& frames() const { return frames_; }
  // A random-access range of Sample, in the order in which they were first added.
  auto samples() const {
    return std::views::iota(std::size_t{0}, keys_.size()) |
           std::views::transform([this](std::size_t index) {
             return Sample{keys_[index],
                           std::span(counts_).subspan(index * events_.size(), events_.size())};
           });
  }
  Stack stack(StackId id) const { return {frames_.data(), id}; }
  Stack stack(const Sample& sample) const { return stack(sample.key.stack); }
  // The sampled PC.
  const Location& leaf(const Sample& sample) const {
    return locations_[frames_[sample.key.stack].location];
  }
  std::string_view text(StringId id) const { return strings_[id]; }
  const std::vector<Line>& lines(const Location& location) const { return lines_[location.lines]; }

  // The ids of equal things are equal. A location is found again by what it was added with, also
  // after set_symbol() and set_lines(): the same address may bear another name in another domain.
  StringId intern(std::string_view text);
  LinesId intern(const std::vector<Line>& lines);
  ImageId add_image(std::string_view name, std::string_view build_id);
  LocationId add_location(ImageId image, std::uint64_t address, StringId symbol = 0,
                          LinesId lines = 0);
  // The stack of `caller` (0: nobody) and `location`, which it called; `hash` is its hash_of().
  StackId add_frame(StackId caller, LocationId location, std::uint64_t hash);
  StackId add_stack(std::span<const LocationId> leaf_first);
  StackId add_alone(LocationId leaf) { return add_frame(0, leaf, hash_of(0, leaf)); }
  // A stack is found by the locations in it alone, so that one can know where it will be looked for
  // before its callers have been found. `caller_hash` is that of the caller's stack, 0 for nobody.
  static std::uint64_t hash_of(std::uint64_t caller_hash, LocationId location) {
    return mix(caller_hash, location);
  }

  // Adds `samples` samples of events()[event].
  void add(const SampleKey& key, std::size_t event, std::uint64_t samples = 1);

  // Whoever adds many can have the memory fetched before that adding will look at: large profiles
  // are in no CPU's cache.
  void expect_frame(std::uint64_t hash) const { frame_ids_.expect(hash); }
  void expect(const SampleKey& key) const;

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
  std::size_t add_event(const Event& event);

  std::vector<Event> events_;
  // A deque: a text never moves, so views of it stay valid.
  std::deque<std::string> strings_;
  std::vector<Image> images_;
  std::vector<Image> image_keys_;  // what each image was added with
  std::vector<Location> locations_;
  std::vector<Location> location_keys_;  // what each location was added with
  std::vector<std::vector<Line>> lines_;
  std::vector<Frame> frames_;
  std::vector<SampleKey> keys_;
  std::vector<std::uint64_t> counts_;  // events_.size() for each of keys_
  IdIndex string_ids_;
  IdIndex image_ids_;
  IdIndex location_ids_;
  IdIndex lines_ids_;
  IdIndex frame_ids_;
  IdIndex sample_ids_;
};

}  // namespace xenoprof
