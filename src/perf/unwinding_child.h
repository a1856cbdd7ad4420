// SPDX-License-Identifier: GPL-2.0-or-later
// Unwinding where it harms nobody: the files that it reads are any user's, and one may make
// libdw crash, hang or ask for any amount of memory.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_set>
#include <vector>

#include "perf/unwind.h"
#include "symbols/child_process.h"

namespace xenoprof::perf {

class UnwindingChild {
 public:
  // As Unwinder::unwind(). `space` is the number of these mappings, which are asked for when the
  // child does not have them. Where the child fails, another takes its place, some times.
  Unwinder::Chain unwind(const UserStack& user, std::uint32_t space,
                         const std::function<std::vector<CodeMapping>()>& mappings);

 private:
  bool ask(const UserStack& user, std::uint32_t space,
           const std::function<std::vector<CodeMapping>()>& mappings, Unwinder::Chain& chain);

  std::unique_ptr<ServingChild> child_;
  std::unordered_set<std::uint32_t> known_;  // spaces that the child has
  std::uint32_t failures_ = 0;
  std::unordered_set<std::uint32_t> failed_;  // spaces that a child failed at
  std::vector<std::byte> request_;
  std::array<std::uint64_t, Unwinder::kMostFrames> pcs_{};
};

}  // namespace xenoprof::perf
