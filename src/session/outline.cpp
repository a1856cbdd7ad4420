// SPDX-License-Identifier: GPL-2.0-or-later
#include "session/outline.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <optional>
#include <vector>

namespace xenoprof {
namespace {

void add(Profile& to, const SampleKey& key, std::span<const std::uint64_t> samples) {
  for (std::size_t event = 0; event < samples.size(); ++event) {
    if (samples[event] != 0) {
      to.add(key, event, samples[event]);
    }
  }
}

// Copies what it is asked for from one profile into another, each text and place once.
class Copier {
 public:
  Copier(const Profile& from, Profile& to)
      : from_(from), to_(to), frames_(from.locations().size()) {}

  SampleKey key(const SampleKey& key, LocationId leaf) {
    if (frames_[leaf] == 0) {
      frames_[leaf] = frame(from_.locations()[leaf]);
    }
    return {.domain = text(key.domain),
            .process = text(key.process),
            .stack = frames_[leaf],
            .mode = key.mode};
  }

  StringId text(StringId id) {
    if (id >= texts_.size()) {
      texts_.resize(id + std::size_t{1});
    }
    std::optional<StringId>& text = texts_[id];
    if (!text) {
      text = to_.intern(from_.text(id));
    }
    return *text;
  }

 private:
  StackId frame(const Location& place) {
    const Image& image = from_.images()[place.image];
    const ImageId to_image = to_.add_image(from_.text(image.name), from_.text(image.build_id));
    // All that bears one name is one place.
    const std::uint64_t address = place.symbol == 0 ? place.address : 0;
    return to_.add_alone(to_.add_location(to_image, address, to_.intern(from_.text(place.symbol))));
  }

  const Profile& from_;
  Profile& to_;
  std::vector<std::optional<StringId>> texts_;
  std::vector<StackId> frames_;  // by location; 0: not yet
};

Profile by_function(const Profile& profile) {
  Profile result(profile.events());
  Copier copier(profile, result);
  for (const Sample& sample : profile.samples()) {
    add(result, copier.key(sample.key, profile.frames()[sample.key.stack].location),
        sample.samples);
  }
  return result;
}

Profile largest(const Profile& profile, std::size_t rows) {
  const auto samples = profile.samples();
  const auto size_of = [&](std::size_t index) {
    const auto numbers = samples[static_cast<std::ptrdiff_t>(index)].samples;
    return std::accumulate(numbers.begin(), numbers.end(), std::uint64_t{0});
  };
  std::vector<std::size_t> order(samples.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::nth_element(order, order.begin() + static_cast<std::ptrdiff_t>(rows), std::greater(),
                           size_of);
  Profile result(profile.events());
  Copier copier(profile, result);
  const StringId others = result.intern(kOthers);
  const StackId nowhere =
      result.add_alone(result.add_location(result.add_image(kOthers, ""), 0, others));
  for (std::size_t i = 0; i < order.size(); ++i) {
    const Sample sample = samples[static_cast<std::ptrdiff_t>(order[i])];
    add(result,
        i < rows ? copier.key(sample.key, profile.frames()[sample.key.stack].location)
                 : SampleKey{.domain = copier.text(sample.key.domain),
                             .process = others,
                             .stack = nowhere,
                             .mode = sample.key.mode},
        sample.samples);
  }
  return result;
}

}  // namespace

Profile outline(const Profile& profile, std::size_t rows) {
  Profile result = by_function(profile);
  return result.samples().size() <= rows ? std::move(result) : largest(result, rows);
}

}  // namespace xenoprof
