// SPDX-License-Identifier: GPL-2.0-or-later
#include "report/flame_tree.h"

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <numeric>
#include <optional>
#include <ranges>
#include <utility>

#include "model/text.h"

namespace xenoprof {
namespace {

// perf's own stacks have at most 127 frames; a pprof file may have any number, and each is a row of
// the picture.
constexpr std::uint32_t kMostDepth = 500;

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
  return std::ranges::any_of(profile.samples(),
                             [](const Sample& sample) { return sample.key.domain != 0; });
}

}  // namespace

// Puts a profile's samples into the tree, and looks up each of its texts, locations and callers but
// once.
class FlameTree::Adding {
 public:
  Adding(FlameTree& tree, const Profile& profile)
      : tree_(tree),
        profile_(profile),
        with_domains_(names_domains(profile)),
        frames_(profile.locations().size()) {}

  NodeId node_of(const SampleKey& key) {
    const NodeId process = process_of(key);
    const Frame& leaf = profile_.frames()[key.stack];
    return call(node_of(process, leaf.caller), leaf.location, kind_of(key.mode));
  }

 private:
  static constexpr std::size_t kKinds = static_cast<std::size_t>(FrameKind::kRest) + 1;
  struct Caller {
    NodeId process;
    StackId stack;

    friend bool operator==(const Caller&, const Caller&) = default;
  };

  NodeId process_of(const SampleKey& key) {
    const NodeId domain =
        with_domains_ ? tree_.child(0, frame_of_text(key.domain, FrameKind::kDomain)) : 0;
    return tree_.child(domain, frame_of_text(key.process, FrameKind::kProcess));
  }

  // Of a whole stack without its leaf. Not by recursion: a file may have stacks of any depth.
  NodeId node_of(NodeId process, StackId stack) {
    missing_.clear();
    NodeId node = process;
    for (; stack != 0; stack = profile_.frames()[stack].caller) {
      const Caller caller{process, stack};
      const auto [id, added] =
          caller_ids_.insert(mix((std::uint64_t{process} << 32) | stack, 0),
                             [&](std::uint32_t known) { return callers_[known] == caller; });
      if (!added) {
        node = caller_nodes_[id];
        break;
      }
      callers_.push_back(caller);
      caller_nodes_.push_back(0);
      missing_.push_back(id);
    }
    for (const std::uint32_t id : std::views::reverse(missing_)) {
      const LocationId location = profile_.frames()[callers_[id].stack].location;
      node = call(node, location,
                  kind_of(profile_, profile_.locations()[location],
                          node == process ? FrameKind::kUser : tree_.kind(node)));
      caller_nodes_[id] = node;
    }
    return node;
  }

  NodeId call(NodeId caller, LocationId location, FrameKind kind) {
    if (tree_.kind(caller) == FrameKind::kRest) {
      return caller;
    }
    if (tree_.nodes_[caller].depth == kMostDepth) {
      return tree_.child(caller, tree_.intern({"(deeper)", "", FrameKind::kRest}));
    }
    return tree_.child(caller, frame_of(location, kind));
  }

  FrameId frame_of(LocationId id, FrameKind kind) {
    auto& known = frames_[id][static_cast<std::size_t>(kind)];
    if (!known) {
      const Location& location = profile_.locations()[id];
      known =
          tree_.intern({name_of(profile_, location),
                        printable(profile_.text(profile_.images()[location.image].name)), kind});
    }
    return *known;
  }

  FrameId frame_of_text(StringId text, FrameKind kind) {
    const auto [entry, added] = of_text_.try_emplace({text, kind});
    if (added) {
      entry->second = tree_.intern({or_dash(profile_.text(text)), "", kind});
    }
    return entry->second;
  }

  FlameTree& tree_;
  const Profile& profile_;
  const bool with_domains_;
  std::vector<std::array<std::optional<FrameId>, kKinds>> frames_;  // by location and kind
  std::map<std::pair<StringId, FrameKind>, FrameId> of_text_;
  IdIndex caller_ids_;
  std::vector<Caller> callers_;
  std::vector<NodeId> caller_nodes_;
  std::vector<std::uint32_t> missing_;
};

FlameTree::FlameTree(std::size_t weights) : weights_(weights) {
  const FrameId all = intern({"all", "", FrameKind::kAll});
  nodes_.push_back({0, all, 0});
  own_.resize(weights_);
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
  // The root, node 0, is nobody's child and not in the index.
  const auto [id, added] =
      node_ids_.insert(mix((std::uint64_t{parent} << 32) | frame, 0), [&](std::uint32_t known) {
        const Node& node = nodes_[known + 1];
        return node.parent == parent && node.frame == frame;
      });
  if (added) {
    nodes_.push_back({parent, frame, nodes_[parent].depth + 1});
    own_.resize(own_.size() + weights_);
  }
  return id + 1;
}

void FlameTree::add(const Profile& profile, std::span<const std::optional<std::size_t>> weight_of) {
  Adding adding(*this, profile);
  for (const Sample& sample : profile.samples()) {
    std::optional<NodeId> node;
    for (std::size_t event = 0; event < weight_of.size(); ++event) {
      if (weight_of[event] && sample.samples[event] != 0) {
        if (!node) {
          node = adding.node_of(sample.key);
        }
        own_[*node * weights_ + *weight_of[event]] += sample.samples[event];
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
