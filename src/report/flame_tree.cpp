// SPDX-License-Identifier: GPL-2.0-or-later
#include "report/flame_tree.h"

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <numeric>
#include <utility>

#include "model/text.h"

namespace xenoprof {
namespace {

// perf's own stacks have at most 127 frames; a pprof file may have any number, and each is a row of
// the picture.
constexpr std::size_t kMostFrames = 500;

constexpr std::uint64_t kKernelHalf = std::uint64_t{1} << 63;

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

// A sample has the mode of its leaf alone. What lies in a file has offsets for addresses, which are
// small; the kernel and its modules have virtual ones, in the upper half of the address space. A
// frame that is nowhere, such as what a caller without frame pointers leaves in a chain, is where
// `outer` is, the frame that called it.
FrameKind kind_of(const Profile& profile, const Location& location, FrameKind outer) {
  const std::string_view image = profile.text(profile.images()[location.image].name);
  if (image == kXenImage) {
    return FrameKind::kHypervisor;
  }
  if (image == kUnknownImage) {
    return outer;
  }
  return location.address >= kKernelHalf ? FrameKind::kKernel : FrameKind::kUser;
}

std::string_view file_name(std::string_view path) {
  return path.starts_with('/') ? path.substr(path.rfind('/') + 1) : path;
}

// Without a symbol all of an image is one frame: an address says little and would cut the tree into
// slivers.
std::string name_of(const Profile& profile, const Location& location) {
  if (location.symbol != 0) {
    return printable(profile.text(location.symbol));
  }
  const std::string_view image = profile.text(profile.images()[location.image].name);
  if (image == kUnknownImage || image == kPassiveUserImage) {
    return std::string(image);
  }
  return printable(file_name(image)) + " (no symbol)";
}

std::string or_dash(std::string_view name) {
  return name.empty() ? "-" : printable(name);
}

bool names_domains(const Profile& profile) {
  return std::any_of(profile.samples().begin(), profile.samples().end(),
                     [](const Sample& sample) { return sample.key.domain != 0; });
}

}  // namespace

// The frames of a profile's locations, each looked up by its texts but once.
class FlameTree::Frames {
 public:
  Frames(FlameTree& tree, const Profile& profile)
      : tree_(tree), profile_(profile), by_kind_(profile.locations().size()) {}

  FrameId of(LocationId id, FrameKind kind) {
    auto& known = by_kind_[id][static_cast<std::size_t>(kind)];
    if (!known) {
      const Location& location = profile_.locations()[id];
      known =
          tree_.intern({name_of(profile_, location),
                        printable(profile_.text(profile_.images()[location.image].name)), kind});
    }
    return *known;
  }

  FrameId of_text(StringId text, FrameKind kind) {
    auto [entry, added] = of_text_.try_emplace({text, kind});
    if (added) {
      entry->second = tree_.intern({or_dash(profile_.text(text)), "", kind});
    }
    return entry->second;
  }

 private:
  static constexpr std::size_t kKinds = static_cast<std::size_t>(FrameKind::kRest) + 1;

  FlameTree& tree_;
  const Profile& profile_;
  std::vector<std::array<std::optional<FrameId>, kKinds>> by_kind_;
  std::map<std::pair<StringId, FrameKind>, FrameId> of_text_;
};

FlameTree::FlameTree(std::size_t weights) : weights_(weights), own_(weights) {
  nodes_.push_back({0, intern({"all", "", FrameKind::kAll})});
}

FlameTree::FrameId FlameTree::intern(Frame frame) {
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
  const auto [entry, added] = children_.try_emplace((std::uint64_t{parent} << 32) | frame,
                                                    static_cast<NodeId>(nodes_.size()));
  if (added) {
    nodes_.push_back({parent, frame});
    own_.resize(own_.size() + weights_);
  }
  return entry->second;
}

void FlameTree::add(const Profile& profile, std::span<const std::optional<std::size_t>> weight_of) {
  Frames frames(*this, profile);
  const bool with_domains = names_domains(profile);
  std::vector<FrameId> path;
  // Neighbours mostly share the outer frames, which then need no looking up.
  std::vector<FrameId> last_path;
  std::vector<NodeId> last_nodes;
  const auto counts = [&](const Sample& sample) {
    for (std::size_t event = 0; event < weight_of.size(); ++event) {
      if (weight_of[event] && sample.samples[event] != 0) {
        return true;
      }
    }
    return false;
  };
  for (const Sample& sample : profile.samples()) {
    if (!counts(sample)) {
      continue;
    }
    const SampleKey& key = sample.key;
    path.clear();
    if (with_domains) {
      path.push_back(frames.of_text(key.domain, FrameKind::kDomain));
    }
    path.push_back(frames.of_text(key.process, FrameKind::kProcess));
    const auto& stack = key.stack;
    const std::size_t shown = std::min(stack.size(), kMostFrames);
    FrameKind kind = FrameKind::kUser;
    for (std::size_t i = 0; i < shown; ++i) {
      const LocationId location = stack[stack.size() - 1 - i];
      kind = i + 1 == stack.size() ? kind_of(key.mode)
                                   : kind_of(profile, profile.locations()[location], kind);
      path.push_back(frames.of(location, kind));
    }
    if (shown < stack.size()) {
      path.push_back(intern({"(deeper)", "", FrameKind::kRest}));
    }
    const auto fork = std::mismatch(path.begin(), path.end(), last_path.begin(), last_path.end());
    const auto same = static_cast<std::size_t>(fork.first - path.begin());
    last_nodes.resize(same);
    for (std::size_t i = same; i < path.size(); ++i) {
      last_nodes.push_back(child(i == 0 ? 0 : last_nodes[i - 1], path[i]));
    }
    path.swap(last_path);
    for (std::size_t event = 0; event < weight_of.size(); ++event) {
      if (weight_of[event]) {
        own_[last_nodes.back() * weights_ + *weight_of[event]] += sample.samples[event];
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
    return node != 0 && flame.hidden_share > 0 && shares[node] <= flame.hidden_share;
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
    if (hidden != children.end()) {
      steps.push_back({step.node, step.depth + 1, true});
    }
    for (auto child = hidden; child != children.begin();) {
      steps.push_back({*--child, step.depth + 1});
    }
  }
  for (NodeId node = 1; node < nodes_.size(); ++node) {
    flame.hidden += is_hidden(node) ? 1 : 0;
  }
  return flame;
}

}  // namespace xenoprof
