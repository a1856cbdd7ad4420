// SPDX-License-Identifier: GPL-2.0-or-later
// What a processor translates addresses with, and the walk through its page tables.
// Facts: AMD64 APM volume 2 (24593), 5 "Page Translation and Protection", 15.25 "Nested Paging".
#pragma once

#include <cstdint>
#include <optional>

#include "geometry.h"

namespace xenoprof::pmu {

struct AddressSpace {
  uint64_t cr0 = 0;
  uint64_t cr3 = 0;
  uint64_t cr4 = 0;
  bool long_mode = false;
  uint16_t asid = 0;  // 0 is the host's
  bool nested = false;
  uint64_t nested_cr3 = 0;
  bool operator==(const AddressSpace&) const = default;

  bool paging() const { return (cr0 & 1u << 31) != 0; }
};

struct Page {
  uint64_t frame = 0;  // physical address of its first byte
  PageSize size = k4K;
  bool global = false;
};

struct Walk {
  Page page;
  // Physical addresses of the last table entry read, and of the nested tables' last one.
  uint64_t leaf = 0;
  std::optional<uint64_t> nested_leaf;
};

// Reads eight bytes of the machine's physical memory.
class PhysicalMemory {
 public:
  virtual uint64_t read(uint64_t address) = 0;

 protected:
  ~PhysicalMemory() = default;
};

// Nothing if the tables do not map the address. Needs space.paging().
std::optional<Walk> walk(const AddressSpace& space, uint64_t address, PhysicalMemory& memory);

}  // namespace xenoprof::pmu
