// SPDX-License-Identifier: GPL-2.0-or-later
// DWARF debug information. libdw is not proof against every damage: use it in a child process.
#pragma once

#include <elfutils/libdw.h>

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "symbols/source_lines.h"

namespace xenoprof {

class DwarfReader {
 public:
  // `elf` outlives the reader.
  explicit DwarfReader(Elf* elf);

  // The functions that a virtual address lies in, innermost first.
  std::vector<SourceLine> find(std::uint64_t address);

 private:
  struct EndDwarf {
    void operator()(Dwarf* dwarf) const { dwarf_end(dwarf); }
  };
  // The code of a compilation unit, or of a function of it.
  struct Range {
    std::uint64_t start = 0;
    std::uint64_t end = 0;
    Dwarf_Die die{};
  };
  // Where functions are looked for: most lie outside all others, and reading the rest takes long.
  enum class Depth { kOutsideFunctions, kInFunctions };
  struct Unit {
    std::vector<Range> functions;  // by start
    Depth depth = Depth::kOutsideFunctions;
    Dwarf_Files* files = nullptr;
    std::string folder;  // that the compiler ran in
  };

  static void add_ranges(Dwarf_Die die, std::vector<Range>& ranges);
  static void add_functions(Dwarf_Die parent, Depth where, std::vector<Range>& functions,
                            int depth);
  static void read_functions(Dwarf_Die die, Depth depth, Unit& unit);
  static const Range* find(const std::vector<Range>& ranges, std::uint64_t address);
  Unit& read_unit(Dwarf_Die unit);

  std::unique_ptr<Dwarf, EndDwarf> dwarf_;
  std::vector<Range> units_;                        // by start
  std::unordered_map<Dwarf_Off, Unit> read_units_;  // by the unit's offset in .debug_info
};

}  // namespace xenoprof
