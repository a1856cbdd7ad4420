// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <array>

namespace xenoprof {

// A name of an event that is the same on every CPU.
struct EventAlias {
  const char* name;
  const char* meaning;
  // libpfm4's names, for AMD and for Intel CPUs; the first that this CPU has is meant.
  std::array<const char*, 2> events;
};

inline constexpr EventAlias kEventAliases[] = {
    {"instructions", "retired instructions", {"RETIRED_INSTRUCTIONS", "INSTRUCTION_RETIRED"}},
    {"cycles", "CPU cycles while not halted", {"CPU_CLK_UNHALTED", "UNHALTED_CORE_CYCLES"}},
    {"branches",
     "retired branch instructions",
     {"RETIRED_BRANCH_INSTRUCTIONS", "BRANCH_INSTRUCTIONS_RETIRED"}},
    {"branch-misses",
     "mispredicted branch instructions",
     {"RETIRED_MISPREDICTED_BRANCH_INSTRUCTIONS", "MISPREDICTED_BRANCH_RETIRED"}},
    {"itlb-misses",
     "fetches that missed all levels of the TLB",
     {"L1_ITLB_MISS_AND_L2_ITLB_MISS", "ITLB_MISSES:MISS_CAUSES_A_WALK"}},
    {"dtlb-misses",
     "data accesses that missed all levels of the TLB (Intel: loads)",
     {"L1_DTLB_AND_L2_DTLB_MISS", "DTLB_LOAD_MISSES:MISS_CAUSES_A_WALK"}},
    {"l2-misses",
     "misses of the second-level cache by code and data",
     {"L2_CACHE_MISS:INSTRUCTIONS:DATA", "L2_RQSTS:MISS"}},
};

}  // namespace xenoprof
