// SPDX-License-Identifier: GPL-2.0-or-later
// The named stacks of one profile, or of two that are compared, as one tree that a browser can
// draw: all, domain, process, then the frames from the outermost in. The hypervisor's stand on the
// guest code that entered it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "report/groups.h"
#include "report/named_stacks.h"

namespace xenoprof {

enum class FrameKind : std::uint8_t {
  kAll,
  kDomain,
  kProcess,
  kUser,
  kKernel,
  kHypervisor,
  kRest,  // what is not shown one by one
};

// What boxes of the same name have in common.
struct FlameFrame {
  std::string name;
  std::string image;  // of the kinds that are code
  FrameKind kind = FrameKind::kAll;
};

// The tree in preorder: what follows a node with a greater depth is above it.
struct Flame {
  std::vector<FlameFrame> frames;
  std::vector<std::uint32_t> depth_of;  // per node
  std::vector<std::uint32_t> frame_of;  // per node, into `frames`
  // Per node, so many as the tree has weights: samples of the node and all above it.
  std::vector<std::uint64_t> samples;
  // Nodes that were added up in nodes of kind kRest beside their siblings, and what none of them
  // exceeds: a share of all samples of any weight.
  std::size_t hidden = 0;
  double hidden_share = 0;
};

class FlameTree {
 public:
  // A weight is what a width can stand for: an event of one of the profiles.
  explicit FlameTree(std::size_t weights);

  // `weight_of` has an entry per event of the stacks; an event without a weight is left out.
  void add(const NamedStacks& stacks, std::span<const std::optional<std::size_t>> weight_of);

  // With the `most` nodes that have the largest shares, and the rest added up.
  Flame flame(std::size_t most) const;

 private:
  using FrameId = std::uint32_t;
  using NodeId = std::uint32_t;
  struct Node {
    NodeId parent = 0;
    FrameId frame = 0;
    std::uint32_t depth = 0;
  };

  FrameId intern(FlameFrame frame);
  NodeId child(NodeId parent, FrameId frame);
  std::vector<std::uint64_t> samples_of_subtrees() const;
  std::vector<double> largest_shares(const std::vector<std::uint64_t>& samples) const;

  std::size_t weights_;
  std::vector<FlameFrame> frames_;
  std::unordered_map<std::string, FrameId> frame_ids_;
  std::vector<Node> nodes_;         // a parent comes before its children; the first is the root
  std::vector<std::uint64_t> own_;  // per node and weight, without what is above it
  Groups node_ids_;                 // by parent and frame; the root is not in it
};

}  // namespace xenoprof
