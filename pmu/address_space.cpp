// SPDX-License-Identifier: GPL-2.0-or-later
#include "address_space.h"

#include <algorithm>

namespace xenoprof::pmu {
namespace {

constexpr uint64_t kPresent = 1;
constexpr uint64_t kLarge = 1 << 7;
constexpr uint64_t kGlobal = 1 << 8;
constexpr uint64_t kFrame = 0x000f'ffff'ffff'f000;
constexpr uint64_t kCr4PageSizeExtension = 1 << 4;
constexpr uint64_t kCr4PhysicalAddressExtension = 1 << 5;
constexpr uint64_t kCr4GlobalPages = 1 << 7;

constexpr uint64_t bytes(PageSize size) {
  return uint64_t{1} << (12 + 9 * size);
}

struct Leaf {
  Page page;
  uint64_t address;  // of the entry
};

// `levels` of tables with 512 entries of eight bytes each. `resolve` turns the address of a table
// entry into one of physical memory.
template <class Resolve>
std::optional<Leaf> walk_long(uint64_t root, unsigned levels, uint64_t address,
                              PhysicalMemory& memory, Resolve resolve) {
  uint64_t table = root & kFrame;
  for (unsigned level = levels; level-- > 0;) {
    const unsigned shift = 12 + 9 * level;
    const std::optional<uint64_t> at = resolve(table + (address >> shift & 511) * 8);
    if (!at) {
      return std::nullopt;
    }
    const uint64_t entry = memory.read(*at);
    if (!(entry & kPresent)) {
      return std::nullopt;
    }
    if (level == 0 || (level <= k1G && (entry & kLarge))) {
      const auto size = static_cast<PageSize>(level);
      const uint64_t frame = entry & kFrame & ~(bytes(size) - 1);
      return Leaf{{frame, size, (entry & kGlobal) != 0}, *at};
    }
    table = entry & kFrame;
  }
  return std::nullopt;
}

// 32-bit paging without PAE: two levels of four-byte entries. Its 4 MiB pages are held as 2 MiB.
template <class Resolve>
std::optional<Leaf> walk_legacy(const AddressSpace& space, uint64_t address, PhysicalMemory& memory,
                                Resolve resolve) {
  const auto read = [&](uint64_t at) {
    return memory.read(at & ~uint64_t{7}) >> (at & 4 ? 32 : 0) & 0xffff'ffff;
  };
  const auto directory = resolve((space.cr3 & 0xffff'f000) + (address >> 22 & 1023) * 4);
  if (!directory) {
    return std::nullopt;
  }
  const uint64_t upper = read(*directory);
  if (!(upper & kPresent)) {
    return std::nullopt;
  }
  if ((upper & kLarge) && (space.cr4 & kCr4PageSizeExtension)) {
    const uint64_t frame = (upper & 0xffc0'0000) | (upper >> 13 & 0xff) << 32;
    return Leaf{{frame | (address & 1 << 21), k2M, (upper & kGlobal) != 0}, *directory};
  }
  const auto at = resolve((upper & 0xffff'f000) + (address >> 12 & 1023) * 4);
  if (!at) {
    return std::nullopt;
  }
  const uint64_t entry = read(*at);
  if (!(entry & kPresent)) {
    return std::nullopt;
  }
  return Leaf{{entry & 0xffff'f000, k4K, (entry & kGlobal) != 0}, *at};
}

template <class Resolve>
std::optional<Leaf> walk_tables(const AddressSpace& space, uint64_t address, PhysicalMemory& memory,
                                Resolve resolve) {
  if (space.long_mode) {
    return walk_long(space.cr3, 4, address, memory, resolve);
  }
  if (space.cr4 & kCr4PhysicalAddressExtension) {
    // The four pointers of PAE are read from cr3 on: a table of one level above, 32-byte aligned.
    const auto at = resolve((space.cr3 & 0xffff'ffe0) + (address >> 30 & 3) * 8);
    if (!at) {
      return std::nullopt;
    }
    const uint64_t pointer = memory.read(*at);
    if (!(pointer & kPresent)) {
      return std::nullopt;
    }
    return walk_long(pointer, 2, address, memory, resolve);
  }
  return walk_legacy(space, address, memory, resolve);
}

}  // namespace

std::optional<Walk> walk(const AddressSpace& space, uint64_t address, PhysicalMemory& memory) {
  const auto resolve_nothing = [](uint64_t at) { return std::optional(at); };
  const auto nested = [&](uint64_t at) {
    return walk_long(space.nested_cr3, 4, at, memory, resolve_nothing);
  };
  const auto resolve_nested = [&](uint64_t at) -> std::optional<uint64_t> {
    const auto leaf = nested(at);
    if (!leaf) {
      return std::nullopt;
    }
    return leaf->page.frame + (at & (bytes(leaf->page.size) - 1));
  };
  const auto leaf = space.nested ? walk_tables(space, address, memory, resolve_nested)
                                 : walk_tables(space, address, memory, resolve_nothing);
  if (!leaf) {
    return std::nullopt;
  }
  Walk result{leaf->page, leaf->address, std::nullopt};
  result.page.global = leaf->page.global && (space.cr4 & kCr4GlobalPages);
  if (space.nested) {
    const uint64_t inside = address & (bytes(leaf->page.size) - 1);
    const auto outer = nested(leaf->page.frame + inside);
    if (!outer) {
      return std::nullopt;
    }
    result.nested_leaf = outer->address;
    // A TLB entry covers what both tables map in one piece.
    result.page.size = std::min(leaf->page.size, outer->page.size);
    const uint64_t machine =
        outer->page.frame + ((leaf->page.frame + inside) & (bytes(outer->page.size) - 1));
    result.page.frame = machine & ~(bytes(result.page.size) - 1);
  }
  return result;
}

}  // namespace xenoprof::pmu
