// SPDX-License-Identifier: GPL-2.0-or-later
// Sizes and penalties of the modelled processor, and the presets they come in.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

namespace xenoprof::pmu {

enum PageSize : uint8_t { k4K, k2M, k1G, kPageSizes };

struct CacheGeometry {
  uint32_t bytes;
  uint32_t ways;
};

struct TlbGeometry {
  uint32_t entries;  // 0: there is none
  uint32_t ways;     // as many as entries: fully associative
};

// The two levels of TLB of one side (instructions or data).
struct TlbSide {
  std::array<TlbGeometry, kPageSizes> first;
  std::array<TlbGeometry, kPageSizes> second;
  bool shared;  // first-level entries hold pages of any size: first[k4K] is for all
};

// Cycles that an instruction takes beyond its base, all of them waited for in full.
struct Penalties {
  uint32_t l2;          // found in L2, not in L1
  uint32_t memory;      // not found in L2
  uint32_t second_tlb;  // translation found in the second level
  uint32_t walk;        // page walk, without the wait for the table's line
  uint32_t mispredict;
};

struct Geometry {
  uint32_t line_bytes;
  uint32_t fetch_bytes;  // of one instruction fetch: an aligned window
  CacheGeometry l1i;
  CacheGeometry l1d;
  CacheGeometry l2;
  bool l2_shared;  // by all vCPUs
  TlbSide itlb;
  TlbSide dtlb;
  uint32_t branch_counters;  // two-bit ones, for conditional branches
  uint32_t return_stack;
  uint32_t branch_targets;  // of indirect jumps and calls
  uint32_t cycles_per_instruction;
  Penalties penalties;
};

// "family10h" or "paper"; the error is a sentence for the user.
std::expected<Geometry, std::string> preset(std::string_view name);

// Sets one figure from an argument such as "l1d" "64K:2" (size and ways), "dtlb2" "512:4" (entries
// and ways; without ways fully associative), "memory_cycles" "200". False if there is no figure of
// this name; the error is a sentence for the user.
std::expected<bool, std::string> set_figure(Geometry& geometry, std::string_view name,
                                            std::string_view value);

// An error if the figures do not make a machine, such as ways that do not divide a size.
std::expected<void, std::string> check(const Geometry& geometry);

}  // namespace xenoprof::pmu
