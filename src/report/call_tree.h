// SPDX-License-Identifier: GPL-2.0-or-later
// What called a function, or what it called.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/profile.h"
#include "model/result.h"
#include "report/column.h"
#include "report/filter.h"

namespace xenoprof {

enum class Direction { kCallers, kCallees };

struct CallTree {
  struct Node {
    std::size_t depth = 0;  // 0: the function itself, once for each image that has it
    std::string symbol;
    std::string image;
    Mode mode = Mode::kUser;
    // Per event: samples whose stack has this path, and those whose stack ends with it on this
    // side. A sample is counted once, by the path that begins at the outermost call of the function
    // (callees) or at its innermost (callers), so that all of a recursion is seen.
    std::vector<std::uint64_t> total;
    std::vector<std::uint64_t> samples;
    std::size_t hidden = 0;  // children that are left out
  };
  std::vector<Node> nodes;            // each before its children, the heaviest first
  std::vector<std::uint64_t> totals;  // samples per event, of all that pass the filter
};

// Of the tree's nodes the `top` heaviest: by their largest share in any event.
Result<CallTree> make_call_tree(const Profile& profile, const Cells& cells, Filter& filter,
                                std::string_view symbol, Direction direction, std::size_t top);

}  // namespace xenoprof
