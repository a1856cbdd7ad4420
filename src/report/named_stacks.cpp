// SPDX-License-Identifier: GPL-2.0-or-later
#include "report/named_stacks.h"

#include <array>

#include "model/text.h"

namespace xenoprof {
namespace {

enum Kind : std::uint32_t { kDomainName, kProcessName, kFunctionName, kServingFunctionName };

}  // namespace

NamedStacks::NamedStacks(const Profile& profile, const Cells& cells, Filter& filter)
    : events_(profile.events().size()),
      nodes_(1),
      samples_(events_),
      name_ids_(3, 0),
      node_ids_(2, 0) {
  const auto text_node = [&](std::uint32_t parent, Kind kind, StringId text) {
    const auto [name, added] = name_id(kind, text, 0);
    if (added) {
      add_name(profile.text(text), "", Mode::kUser);
    }
    return child(parent, name);
  };
  constexpr std::uint32_t kNone = ~std::uint32_t{0};
  const std::vector<std::uint32_t> none(profile.locations().size(), kNone);
  std::array<std::vector<std::uint32_t>, 2> name_of_location = {none, none};  // second: served
  const auto name_of = [&](const SampleKey& key, LocationId location, bool served) {
    std::uint32_t& known = name_of_location[served ? 1 : 0][location];
    if (known == kNone) {
      const std::uint32_t symbol = cells.of(Column::kSymbol, key, location);
      const std::uint32_t image = cells.of(Column::kImage, key, location);
      const auto [name, added] =
          name_id(served ? kServingFunctionName : kFunctionName, symbol, image);
      if (added) {
        add_name(cells.text(Column::kSymbol, symbol), cells.text(Column::kImage, image),
                 cells.mode_of(location, served), cells.is_address(symbol));
      }
      known = name;
    }
    return known;
  };
  // Where each frame's stack was met last: most are of one process alone.
  struct Met {
    std::uint32_t process = 0;  // 0: not met yet
    bool served = false;
    std::uint32_t node = 0;
  };
  std::vector<Met> met(profile.frames().size());
  std::vector<StackId> missing;
  const SampleKey* before = nullptr;
  std::uint32_t process = 0;
  for (const Sample& sample : profile.samples()) {
    if (!filter.passes(sample.key)) {
      continue;
    }
    if (before == nullptr || before->domain != sample.key.domain ||
        before->process != sample.key.process) {
      before = &sample.key;
      process =
          text_node(text_node(0, kDomainName, sample.key.domain), kProcessName, sample.key.process);
    }
    std::uint32_t node = process;
    const bool served = cells.is_served(sample.key);
    const Stack stack = profile.stack(sample);
    missing.clear();
    for (auto frame = stack.begin(); frame != stack.end(); ++frame) {
      if (met[frame.id()].process == process && met[frame.id()].served == served) {
        node = met[frame.id()].node;
        break;
      }
      missing.push_back(frame.id());
    }
    for (auto frame = missing.rbegin(); frame != missing.rend(); ++frame) {
      node = child(node, name_of(sample.key, profile.frames()[*frame].location, served));
      met[*frame] = {process, served, node};
    }
    samples_.resize(nodes_.size() * events_);
    for (std::size_t event = 0; event < events_; ++event) {
      samples_[node * events_ + event] += sample.samples[event];
    }
  }
}

void NamedStacks::add_name(std::string_view text, std::string_view image, Mode mode,
                           bool is_address) {
  names_.push_back({text.empty() ? "-" : printable(text), printable(image), mode, is_address});
}

// The name's number, and whether it is new and to be added.
std::pair<std::uint32_t, bool> NamedStacks::name_id(std::uint32_t kind, std::uint32_t one,
                                                    std::uint32_t other) {
  const std::uint32_t key[] = {kind, one, other};
  const auto name = static_cast<std::uint32_t>(name_ids_.of(key));
  return {name, name == names_.size()};
}

std::uint32_t NamedStacks::child(std::uint32_t parent, std::uint32_t name) {
  const std::uint32_t key[] = {parent, name};
  // The root is not in the index.
  const auto node = static_cast<std::uint32_t>(node_ids_.of(key) + 1);
  if (node == nodes_.size()) {
    nodes_.push_back({.parent = parent, .name = name, .depth = nodes_[parent].depth + 1});
  }
  return node;
}

}  // namespace xenoprof
