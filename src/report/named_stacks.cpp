// SPDX-License-Identifier: GPL-2.0-or-later
#include "report/named_stacks.h"

#include "model/text.h"

namespace xenoprof {
namespace {

enum Kind : std::uint32_t { kDomainName, kProcessName, kFunctionName };

}  // namespace

NamedStacks::NamedStacks(const Profile& profile, const Cells& cells, Filter& filter)
    : events_(profile.events().size()),
      nodes_(1),
      samples_(events_),
      name_ids_(3, 0),
      node_ids_(2, 0) {
  const auto add_name = [&](std::string_view text, std::string_view image, Mode mode,
                            bool is_address = false) {
    names_.push_back({text.empty() ? "-" : printable(text), printable(image), mode, is_address});
  };
  // Stacks that were met already, under their process.
  Groups known(2, 0);
  std::vector<std::uint32_t> node_of;
  std::vector<StackId> missing;
  for (const Sample& sample : profile.samples()) {
    if (!filter.passes(sample.key)) {
      continue;
    }
    std::uint32_t node = child(0, kDomainName, sample.key.domain, 0);
    if (names_.size() < name_ids_.size()) {
      add_name(profile.text(sample.key.domain), "", Mode::kUser);
    }
    node = child(node, kProcessName, sample.key.process, 0);
    if (names_.size() < name_ids_.size()) {
      add_name(profile.text(sample.key.process), "", Mode::kUser);
    }
    const std::uint32_t process = node;
    const Stack stack = profile.stack(sample);
    missing.clear();
    for (auto frame = stack.begin(); frame != stack.end(); ++frame) {
      const std::uint32_t key[] = {process, frame.id()};
      const std::size_t entry = known.of(key);
      if (entry < node_of.size() && node_of[entry] != 0) {
        node = node_of[entry];
        break;
      }
      node_of.resize(known.size());
      missing.push_back(frame.id());
    }
    for (auto frame = missing.rbegin(); frame != missing.rend(); ++frame) {
      const LocationId location = profile.frames()[*frame].location;
      const std::uint32_t symbol = cells.of(Column::kSymbol, sample.key, location);
      const std::uint32_t image = cells.of(Column::kImage, sample.key, location);
      node = child(node, kFunctionName, symbol, image);
      if (names_.size() < name_ids_.size()) {
        add_name(cells.text(Column::kSymbol, symbol), cells.text(Column::kImage, image),
                 cells.mode_of(location), cells.is_address(symbol));
      }
      const std::uint32_t key[] = {process, *frame};
      node_of[known.of(key)] = node;
    }
    samples_.resize(nodes_.size() * events_);
    for (std::size_t event = 0; event < events_; ++event) {
      samples_[node * events_ + event] += sample.samples[event];
    }
  }
}

std::uint32_t NamedStacks::child(std::uint32_t parent, std::uint32_t kind, std::uint32_t one,
                                 std::uint32_t other) {
  const std::uint32_t name_key[] = {kind, one, other};
  const auto name = static_cast<std::uint32_t>(name_ids_.of(name_key));
  const std::uint32_t node_key[] = {parent, name};
  // The root is not in the index.
  const auto node = static_cast<std::uint32_t>(node_ids_.of(node_key) + 1);
  if (node == nodes_.size()) {
    nodes_.push_back({.parent = parent, .name = name, .depth = nodes_[parent].depth + 1});
  }
  return node;
}

}  // namespace xenoprof
