// SPDX-License-Identifier: GPL-2.0-or-later
#include "report/flame_tree.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

#include "model/text.h"

namespace xenoprof {
namespace {

// perf's own stacks have at most 127 frames; a pprof file may have any number, and each is a row of
// the picture.
constexpr std::uint32_t kMostDepth = 500;

FrameKind kind_of(Mode mode) {
  switch (mode) {
    case Mode::kUser:
      return FrameKind::kUser;
    case Mode::kKernel:
      return FrameKind::kKernel;
    case Mode::kHypervisor:
      return FrameKind::kHypervisor;
  }
  return FrameKind::kUser;
}

}  // namespace

FlameTree::FlameTree(std::size_t weights) : weights_(weights), own_(weights), node_ids_(2, 0) {
  nodes_.push_back({.frame = intern({"all", "", FrameKind::kAll})});
}

FlameTree::FrameId FlameTree::intern(FlameFrame frame) {
  // Printable texts have no character 0.
  std::string key = frame.name + '\0' + frame.image + '\0' + static_cast<char>(frame.kind);
  const auto [entry, added] =
      frame_ids_.try_emplace(std::move(key), static_cast<FrameId>(frames_.size()));
  if (added) {
    frames_.push_back(std::move(frame));
  }
  return entry->second;
}

FlameTree::NodeId FlameTree::child(NodeId parent, FrameId frame) {
  const std::uint32_t key[] = {parent, frame};
  const auto node = static_cast<NodeId>(node_ids_.of(key) + 1);
  if (node == nodes_.size()) {
    nodes_.push_back({parent, frame, nodes_[parent].depth + 1});
    own_.resize(own_.size() + weights_);
  }
  return node;
}

void FlameTree::add(const NamedStacks& stacks,
                    std::span<const std::optional<std::size_t>> weight_of) {
  const auto& names = stacks.names();
  const auto& nodes = stacks.nodes();
  const bool one_nameless_domain = std::ranges::none_of(nodes, [&](const NamedStacks::Node& node) {
    return node.depth == 1 && names[node.name].text != "-";
  });
  std::vector<FrameId> frame_of(names.size());
  std::vector<bool> seen(names.size());
  const auto frame = [&](const NamedStacks::Node& node) {
    if (!seen[node.name]) {
      const NamedStacks::Name& name = names[node.name];
      const FrameKind kind = node.depth == 1   ? FrameKind::kDomain
                             : node.depth == 2 ? FrameKind::kProcess
                                               : kind_of(name.mode);
      seen[node.name] = true;
      // Without a symbol all of an image is one frame: an address says little and would cut the
      // tree into slivers.
      frame_of[node.name] = intern(
          {name.is_address ? fmt::format("{} (no symbol)", file_name(name.image)) : name.text,
           name.image, kind});
    }
    return frame_of[node.name];
  };
  std::vector<NodeId> node_of(nodes.size());
  for (std::size_t i = 1; i < nodes.size(); ++i) {
    const NamedStacks::Node& node = nodes[i];
    const NodeId parent = node_of[node.parent];
    if (node.depth == 1 && one_nameless_domain) {
      node_of[i] = parent;
    } else if (nodes_[parent].depth < kMostDepth) {
      node_of[i] = child(parent, frame(node));
    } else if (nodes_[parent].depth == kMostDepth) {
      node_of[i] = child(parent, intern({"(deeper)", "", FrameKind::kRest}));
    } else {
      node_of[i] = parent;
    }
    for (std::size_t event = 0; event < weight_of.size(); ++event) {
      if (weight_of[event]) {
        own_[node_of[i] * weights_ + *weight_of[event]] += stacks.samples(i)[event];
      }
    }
  }
}

std::vector<std::uint64_t> FlameTree::samples_of_subtrees() const {
  std::vector<std::uint64_t> samples = own_;
  for (std::size_t node = nodes_.size() - 1; node > 0; --node) {
    for (std::size_t weight = 0; weight < weights_; ++weight) {
      samples[nodes_[node].parent * weights_ + weight] += samples[node * weights_ + weight];
    }
  }
  return samples;
}

std::vector<double> FlameTree::largest_shares(const std::vector<std::uint64_t>& samples) const {
  std::vector<double> shares(nodes_.size());
  for (std::size_t node = 0; node < nodes_.size(); ++node) {
    for (std::size_t weight = 0; weight < weights_; ++weight) {
      if (samples[weight] != 0) {
        shares[node] =
            std::max(shares[node], static_cast<double>(samples[node * weights_ + weight]) /
                                       static_cast<double>(samples[weight]));
      }
    }
  }
  return shares;
}

Flame FlameTree::flame(std::size_t most) const {
  const std::vector<std::uint64_t> samples = samples_of_subtrees();
  const std::vector<double> shares = largest_shares(samples);
  Flame flame;
  flame.frames = frames_;
  // A child's share is never larger than its parent's: what is shown hangs together.
  if (nodes_.size() > most) {
    std::vector<double> sorted = shares;
    std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(most),
                     sorted.end(), std::greater<>());
    flame.hidden_share = sorted[most];
  }
  const auto is_hidden = [&](NodeId node) {
    return node != 0 && shares[node] <= flame.hidden_share;
  };

  // Siblings side by side, the largest first whatever the weight, so that all weights have them in
  // the same order.
  std::vector<NodeId> order(nodes_.size() - 1);
  std::iota(order.begin(), order.end(), 1);
  std::sort(order.begin(), order.end(), [&](NodeId one, NodeId other) {
    if (nodes_[one].parent != nodes_[other].parent) {
      return nodes_[one].parent < nodes_[other].parent;
    }
    if (shares[one] != shares[other]) {
      return shares[one] > shares[other];
    }
    return frames_[nodes_[one].frame].name < frames_[nodes_[other].frame].name;
  });
  std::vector<std::size_t> first_child(nodes_.size() + 1);
  for (const NodeId node : order) {
    ++first_child[nodes_[node].parent + 1];
  }
  std::partial_sum(first_child.begin(), first_child.end(), first_child.begin());

  const auto rest = static_cast<FrameId>(flame.frames.size());
  flame.frames.push_back({"(smaller)", "", FrameKind::kRest});
  const auto emit = [&](std::uint32_t depth, FrameId frame, std::span<const std::uint64_t> counts) {
    flame.depth_of.push_back(depth);
    flame.frame_of.push_back(frame);
    flame.samples.insert(flame.samples.end(), counts.begin(), counts.end());
  };
  struct Step {
    NodeId node;
    std::uint32_t depth;
    bool hidden_children = false;  // those of the node, as one
  };
  std::vector<Step> steps = {{0, 0}};
  std::vector<std::uint64_t> smaller(weights_);
  while (!steps.empty()) {
    const Step step = steps.back();
    steps.pop_back();
    const std::span children(
        order.begin() + static_cast<std::ptrdiff_t>(first_child[step.node]),
        order.begin() + static_cast<std::ptrdiff_t>(first_child[step.node + 1]));
    const auto hidden = std::find_if(children.begin(), children.end(), is_hidden);
    if (step.hidden_children) {
      std::fill(smaller.begin(), smaller.end(), 0);
      for (auto child = hidden; child != children.end(); ++child) {
        for (std::size_t weight = 0; weight < weights_; ++weight) {
          smaller[weight] += samples[*child * weights_ + weight];
        }
      }
      emit(step.depth, rest, smaller);
      continue;
    }
    emit(step.depth, nodes_[step.node].frame,
         std::span(samples).subspan(step.node * weights_, weights_));
    // What is pushed last comes first.
    if (hidden != children.end() && shares[*hidden] > 0) {
      steps.push_back({step.node, step.depth + 1, true});
    }
    for (auto child = hidden; child != children.begin();) {
      steps.push_back({*--child, step.depth + 1});
    }
  }
  for (NodeId node = 1; node < nodes_.size(); ++node) {
    flame.hidden += is_hidden(node) && shares[node] > 0 ? 1 : 0;
  }
  return flame;
}

}  // namespace xenoprof
