// SPDX-License-Identifier: GPL-2.0-or-later
// Call stacks by the names of their functions, as other tools want them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "model/profile.h"
#include "report/column.h"
#include "report/filter.h"
#include "report/groups.h"

namespace xenoprof {

// A tree: a domain, its processes, and their stacks from the outermost function on, whose addresses
// within a function are one.
class NamedStacks {
 public:
  struct Name {
    std::string text;   // printable; "-" for none
    std::string image;  // empty: a domain or a process
    Mode mode = Mode::kUser;
    bool is_address = false;  // for want of a symbol
  };
  struct Node {
    std::uint32_t parent = 0;  // less than its own index; that of a domain is 0
    std::uint32_t name = 0;    // index into names()
    std::uint32_t depth = 0;   // 1: a domain, 2: a process
  };

  NamedStacks(const Profile& profile, const Cells& cells, Filter& filter);

  const std::vector<Name>& names() const { return names_; }
  // Entry 0 is the root, and no node.
  const std::vector<Node>& nodes() const { return nodes_; }
  // Samples per event whose stack ends there.
  std::span<const std::uint64_t> samples(std::size_t node) const {
    return std::span(samples_).subspan(node * events_, events_);
  }

 private:
  void add_name(std::string_view text, std::string_view image, Mode mode, bool is_address = false);
  std::pair<std::uint32_t, bool> name_id(std::uint32_t kind, std::uint32_t one,
                                         std::uint32_t other);
  std::uint32_t child(std::uint32_t parent, std::uint32_t name);

  std::size_t events_;
  std::vector<Name> names_;
  std::vector<Node> nodes_;
  std::vector<std::uint64_t> samples_;
  Groups name_ids_;  // by kind of name and what has it
  Groups node_ids_;  // by parent and name
};

}  // namespace xenoprof
