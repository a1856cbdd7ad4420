// SPDX-License-Identifier: GPL-2.0-or-later
// Sources of the presets' figures are in docs/emulated-pmu.md.
#include "geometry.h"

#include <bit>
#include <charconv>
#include <optional>

namespace xenoprof::pmu {
namespace {

constexpr Geometry kFamily10h = {
    .line_bytes = 64,
    .fetch_bytes = 32,
    .l1i = {64 << 10, 2},
    .l1d = {64 << 10, 2},
    .l2 = {512 << 10, 16},
    .l2_shared = false,
    .itlb = {.first = {{{32, 32}, {16, 16}, {0, 0}}},
             .second = {{{512, 4}, {0, 0}, {0, 0}}},
             .shared = false},
    .dtlb = {.first = {{{48, 48}, {48, 48}, {48, 48}}},
             .second = {{{512, 4}, {128, 2}, {16, 8}}},
             .shared = false},
    .branch_counters = 16384,
    .return_stack = 24,
    .branch_targets = 512,
    .cycles_per_instruction = 1,
    .penalties = {.l2 = 12, .memory = 200, .second_tlb = 5, .walk = 20, .mispredict = 12},
};

constexpr Geometry kPaper = {
    .line_bytes = 64,
    .fetch_bytes = 32,
    .l1i = {16 << 10, 8},
    .l1d = {8 << 10, 4},
    .l2 = {512 << 10, 8},
    .l2_shared = false,
    .itlb = {.first = {{{64, 64}, {0, 0}, {0, 0}}}, .second = {}, .shared = true},
    .dtlb = {.first = {{{64, 64}, {0, 0}, {0, 0}}}, .second = {}, .shared = true},
    .branch_counters = 4096,
    .return_stack = 16,
    .branch_targets = 4096,
    .cycles_per_instruction = 1,
    .penalties = {.l2 = 7, .memory = 240, .second_tlb = 0, .walk = 25, .mispredict = 20},
};

constexpr uint32_t kLargestFigure = 1u << 30;

std::optional<uint32_t> number(std::string_view text) {
  uint32_t factor = 1;
  if (text.ends_with('K') || text.ends_with('M')) {
    factor = text.back() == 'K' ? 1u << 10 : 1u << 20;
    text.remove_suffix(1);
  }
  uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value > kLargestFigure / factor) {
    return std::nullopt;
  }
  return value * factor;
}

struct SizeAndWays {
  uint32_t size;
  std::optional<uint32_t> ways;
};

std::optional<SizeAndWays> size_and_ways(std::string_view text) {
  const size_t colon = text.find(':');
  const auto size = number(text.substr(0, colon));
  if (!size) {
    return std::nullopt;
  }
  if (colon == text.npos) {
    return SizeAndWays{*size, std::nullopt};
  }
  const auto ways = number(text.substr(colon + 1));
  if (!ways) {
    return std::nullopt;
  }
  return SizeAndWays{*size, ways};
}

std::unexpected<std::string> refuse(std::string_view name, std::string_view value,
                                    const char* wanted) {
  return std::unexpected(std::string(name) + "=" + std::string(value) + ": expected " + wanted);
}

CacheGeometry* cache(Geometry& geometry, std::string_view name) {
  return name == "l1i"   ? &geometry.l1i
         : name == "l1d" ? &geometry.l1d
         : name == "l2"  ? &geometry.l2
                         : nullptr;
}

// itlb, itlb_2m, itlb_1g, itlb2, itlb2_2m, itlb2_1g, and the same of dtlb.
TlbGeometry* tlb(Geometry& geometry, std::string_view name) {
  if (!name.starts_with("itlb") && !name.starts_with("dtlb")) {
    return nullptr;
  }
  TlbSide& side = name.front() == 'i' ? geometry.itlb : geometry.dtlb;
  name.remove_prefix(4);
  const bool second = name.starts_with('2');
  if (second) {
    name.remove_prefix(1);
  }
  auto& sizes = second ? side.second : side.first;
  return name.empty()    ? &sizes[k4K]
         : name == "_2m" ? &sizes[k2M]
         : name == "_1g" ? &sizes[k1G]
                         : nullptr;
}

bool* on_off(Geometry& geometry, std::string_view name) {
  return name == "l2_shared"     ? &geometry.l2_shared
         : name == "itlb_shared" ? &geometry.itlb.shared
         : name == "dtlb_shared" ? &geometry.dtlb.shared
                                 : nullptr;
}

uint32_t* plain(Geometry& geometry, std::string_view name) {
  return name == "line"                ? &geometry.line_bytes
         : name == "fetch"             ? &geometry.fetch_bytes
         : name == "branch_counters"   ? &geometry.branch_counters
         : name == "return_stack"      ? &geometry.return_stack
         : name == "branch_targets"    ? &geometry.branch_targets
         : name == "cpi"               ? &geometry.cycles_per_instruction
         : name == "l2_cycles"         ? &geometry.penalties.l2
         : name == "memory_cycles"     ? &geometry.penalties.memory
         : name == "tlb2_cycles"       ? &geometry.penalties.second_tlb
         : name == "walk_cycles"       ? &geometry.penalties.walk
         : name == "mispredict_cycles" ? &geometry.penalties.mispredict
                                       : nullptr;
}

bool divides_into_sets(uint32_t units, uint32_t ways) {
  return ways != 0 && units % ways == 0 && std::has_single_bit(units / ways);
}

}  // namespace

std::expected<Geometry, std::string> preset(std::string_view name) {
  if (name == "family10h") {
    return kFamily10h;
  }
  if (name == "paper") {
    return kPaper;
  }
  return refuse("preset", name, "family10h or paper");
}

std::expected<bool, std::string> set_figure(Geometry& geometry, std::string_view name,
                                            std::string_view value) {
  if (CacheGeometry* found = cache(geometry, name)) {
    const auto given = size_and_ways(value);
    if (!given || !given->ways) {
      return refuse(name, value, "BYTES:WAYS, such as 64K:2");
    }
    *found = {given->size, *given->ways};
  } else if (TlbGeometry* entries = tlb(geometry, name)) {
    const auto given = size_and_ways(value);
    if (!given) {
      return refuse(name, value, "ENTRIES or ENTRIES:WAYS, such as 512:4");
    }
    *entries = {given->size, given->ways.value_or(given->size)};
  } else if (bool* flag = on_off(geometry, name)) {
    if (value != "on" && value != "off") {
      return refuse(name, value, "on or off");
    }
    *flag = value == "on";
  } else if (uint32_t* figure = plain(geometry, name)) {
    const auto given = number(value);
    if (!given) {
      return refuse(name, value, "a number");
    }
    *figure = *given;
  } else {
    return false;
  }
  return true;
}

std::expected<void, std::string> check(const Geometry& geometry) {
  const auto power = [](uint32_t value) { return std::has_single_bit(value); };
  if (!power(geometry.line_bytes) || geometry.line_bytes < 16 || geometry.line_bytes > 4096 ||
      !power(geometry.fetch_bytes) || geometry.fetch_bytes > 4096) {
    return std::unexpected("line and fetch are powers of two, line from 16 to 4096 bytes");
  }
  constexpr uint32_t kLargestCache = 64 << 20;
  for (const CacheGeometry& cache : {geometry.l1i, geometry.l1d, geometry.l2}) {
    if (cache.bytes % geometry.line_bytes != 0 || cache.bytes > kLargestCache ||
        !divides_into_sets(cache.bytes / geometry.line_bytes, cache.ways)) {
      return std::unexpected(
          "a cache has at most 64M, and its size over line and ways is a power of two");
    }
  }
  constexpr uint32_t kMostEntries = 1 << 16;
  for (const TlbSide& side : {geometry.itlb, geometry.dtlb}) {
    for (const auto& level : {side.first, side.second}) {
      for (const TlbGeometry& tlb : level) {
        if (tlb.entries > kMostEntries ||
            (tlb.entries != 0 && !divides_into_sets(tlb.entries, tlb.ways))) {
          return std::unexpected(
              "a TLB has at most 65536 entries, and entries over ways is a power of two");
        }
      }
    }
    if (side.first[k4K].entries == 0) {
      return std::unexpected("a first-level TLB needs entries");
    }
    if (side.shared && side.first[k4K].ways != side.first[k4K].entries) {
      return std::unexpected("a TLB whose entries pages of any size share is fully associative");
    }
  }
  if (!power(geometry.branch_counters) || !power(geometry.branch_targets) ||
      geometry.branch_counters > 1 << 24 || geometry.branch_targets > 1 << 24 ||
      geometry.return_stack > 1 << 16) {
    return std::unexpected(
        "branch_counters and branch_targets are powers of two up to 16M, return_stack at most 64K");
  }
  // Cycles are counted as instructions and what is beyond one for each.
  if (geometry.cycles_per_instruction == 0) {
    return std::unexpected("cpi is at least 1");
  }
  return {};
}

}  // namespace xenoprof::pmu
