// SPDX-License-Identifier: GPL-2.0-or-later
#include "report/inlined_frames.h"

#include <string>
#include <vector>

namespace xenoprof {

Profile with_inlined_frames(const Profile& profile) {
  Profile result(profile.events());
  const auto same = [&](StringId text) { return result.intern(profile.text(text)); };
  std::vector<ImageId> image_of;
  for (const Image& image : profile.images()) {
    image_of.push_back(result.add_image(profile.text(image.name), profile.text(image.build_id)));
  }
  std::vector<std::vector<LocationId>> frames_of;  // per location, outermost first
  for (const Location& location : profile.locations()) {
    std::vector<LocationId>& frames = frames_of.emplace_back();
    const auto add = [&](StringId symbol, const std::vector<Line>& lines) {
      frames.push_back(result.add_location(image_of[location.image], location.address, symbol,
                                           result.intern(lines)));
    };
    const std::vector<Line>& lines = profile.lines(location);
    if (lines.empty()) {
      add(same(location.symbol), {});
    }
    for (auto line = lines.rbegin(); line != lines.rend(); ++line) {
      const std::vector<Line> one = {{same(line->function), same(line->file), line->line}};
      if (line == lines.rbegin()) {
        add(same(location.symbol), one);
      } else if (line->function != 0) {
        add(result.intern(std::string(profile.text(line->function)).append(kInlined)), one);
      }
    }
  }
  std::vector<StackId> stack_of = {0};
  std::vector<std::uint64_t> hashes = {0};
  for (StackId frame = 1; frame < profile.frames().size(); ++frame) {
    const StackId caller = profile.frames()[frame].caller;
    StackId stack = stack_of[caller];
    std::uint64_t hash = hashes[caller];
    for (const LocationId location : frames_of[profile.frames()[frame].location]) {
      hash = Profile::hash_of(hash, location);
      stack = result.add_frame(stack, location, hash);
    }
    stack_of.push_back(stack);
    hashes.push_back(hash);
  }
  for (const Sample& sample : profile.samples()) {
    SampleKey key = sample.key;
    key.domain = same(key.domain);
    key.process = same(key.process);
    key.stack = stack_of[key.stack];
    for (std::size_t event = 0; event < sample.samples.size(); ++event) {
      if (sample.samples[event] != 0) {
        result.add(key, event, sample.samples[event]);
      }
    }
  }
  return result;
}

}  // namespace xenoprof
