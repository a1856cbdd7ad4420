// SPDX-License-Identifier: GPL-2.0-or-later
#include "symbols/dwarf_reader.h"

#include <dwarf.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>

#include "symbols/demangle.h"

namespace xenoprof {
namespace {

// Of namespaces in one another, and of blocks and inlined functions in a function.
constexpr int kMaxDepth = 128;

std::string name_of(Dwarf_Die* function) {
  Dwarf_Attribute attribute;
  for (const unsigned name : {DW_AT_linkage_name, DW_AT_MIPS_linkage_name}) {
    const char* text = dwarf_formstring(dwarf_attr_integrate(function, name, &attribute));
    if (text != nullptr) {
      return demangle(text);
    }
  }
  const char* text = dwarf_diename(function);
  return text == nullptr ? "" : text;
}

// The child of a function's die, or of a block's in it, that the address lies in.
std::optional<Dwarf_Die> inner_scope(Dwarf_Die scope, std::uint64_t address) {
  Dwarf_Die die;
  if (dwarf_child(&scope, &die) != 0) {
    return std::nullopt;
  }
  do {
    const int tag = dwarf_tag(&die);
    if ((tag == DW_TAG_inlined_subroutine || tag == DW_TAG_lexical_block ||
         tag == DW_TAG_try_block || tag == DW_TAG_catch_block) &&
        dwarf_haspc(&die, address) == 1) {
      return die;
    }
  } while (dwarf_siblingof(&die, &die) == 0);
  return std::nullopt;
}

// Compilers may name files relative to where they ran. Where that itself is relative, as in
// Debian's packages, it is in the file's name already.
std::string path_of(const char* file, const std::string& folder) {
  if (file == nullptr) {
    return {};
  }
  const std::filesystem::path from = folder.starts_with('/') ? folder : "";
  return (from / file).lexically_normal();
}

std::uint64_t number_of(Dwarf_Die* die, unsigned attribute) {
  Dwarf_Attribute found;
  Dwarf_Word value = 0;
  return dwarf_formudata(dwarf_attr(die, attribute, &found), &value) == 0 ? value : 0;
}

// For want of memory. This is a child process (child_process.h), whose parent goes on without it.
[[gnu::noreturn]] void leave() {
  ::_exit(1);
}

}  // namespace

DwarfReader::DwarfReader(Elf* elf) : dwarf_(dwarf_begin_elf(elf, DWARF_C_READ, nullptr)) {
  if (dwarf_ == nullptr) {
    return;
  }
  dwarf_new_oom_handler(dwarf_.get(), leave);
  // Not by .debug_aranges: not every compiler writes it.
  Dwarf_CU* unit = nullptr;
  Dwarf_Die die;
  std::uint8_t type = 0;
  while (dwarf_get_units(dwarf_.get(), unit, &unit, nullptr, &type, &die, nullptr) == 0) {
    if (type == DW_UT_compile || type == DW_UT_skeleton) {
      add_ranges(die, units_);
    }
  }
  std::sort(units_.begin(), units_.end(),
            [](const Range& one, const Range& other) { return one.start < other.start; });
}

void DwarfReader::add_ranges(Dwarf_Die die, std::vector<Range>& ranges) {
  Dwarf_Addr base = 0;
  Dwarf_Addr start = 0;
  Dwarf_Addr end = 0;
  for (std::ptrdiff_t at = 0; (at = dwarf_ranges(&die, at, &base, &start, &end)) > 0;) {
    // Functions that the linker dropped begin at 0.
    if (start != 0 && start < end) {
      ranges.push_back({start, end, die});
    }
  }
}

void DwarfReader::add_functions(Dwarf_Die parent, Depth where, std::vector<Range>& functions,
                                int depth) {
  Dwarf_Die die;
  if (depth == kMaxDepth || dwarf_child(&parent, &die) != 0) {
    return;
  }
  do {
    switch (dwarf_tag(&die)) {
      case DW_TAG_subprogram:
        add_ranges(die, functions);
        if (where == Depth::kInFunctions) {
          add_functions(die, where, functions, depth + 1);
        }
        break;
      case DW_TAG_lexical_block:
      case DW_TAG_namespace:
      case DW_TAG_module:
      case DW_TAG_structure_type:
      case DW_TAG_class_type:
      case DW_TAG_union_type:
      case DW_TAG_enumeration_type:
        add_functions(die, where, functions, depth + 1);
        break;
      default:
        break;
    }
  } while (dwarf_siblingof(&die, &die) == 0);
}

void DwarfReader::read_functions(Dwarf_Die die, Depth depth, Unit& unit) {
  unit.functions.clear();
  unit.depth = depth;
  add_functions(die, depth, unit.functions, 0);
  std::sort(unit.functions.begin(), unit.functions.end(),
            [](const Range& one, const Range& other) { return one.start < other.start; });
}

DwarfReader::Unit& DwarfReader::read_unit(Dwarf_Die die) {
  const auto [entry, added] = read_units_.try_emplace(dwarf_dieoffset(&die));
  Unit& unit = entry->second;
  if (added) {
    read_functions(die, Depth::kOutsideFunctions, unit);
    std::size_t count = 0;
    Dwarf_Attribute attribute;
    const char* folder = dwarf_formstring(dwarf_attr(&die, DW_AT_comp_dir, &attribute));
    unit.folder = folder == nullptr ? "" : folder;
    if (dwarf_getsrcfiles(&die, &unit.files, &count) != 0) {
      unit.files = nullptr;
    }
  }
  return unit;
}

const DwarfReader::Range* DwarfReader::find(const std::vector<Range>& ranges,
                                            std::uint64_t address) {
  const auto after =
      std::upper_bound(ranges.begin(), ranges.end(), address,
                       [](std::uint64_t value, const Range& range) { return value < range.start; });
  if (after == ranges.begin()) {
    return nullptr;
  }
  const Range& range = *std::prev(after);
  return address < range.end ? &range : nullptr;
}

std::vector<SourceLine> DwarfReader::find(std::uint64_t address) {
  const Range* in_unit = find(units_, address);
  if (in_unit == nullptr) {
    return {};
  }
  Dwarf_Die unit_die = in_unit->die;
  Unit& unit = read_unit(unit_die);
  SourceLine place;
  if (Dwarf_Line* line = dwarf_getsrc_die(&unit_die, address)) {
    int number = 0;
    const char* file = dwarf_linesrc(line, nullptr, nullptr);
    if (dwarf_lineno(line, &number) == 0 && number >= 0) {
      place.line = static_cast<std::uint32_t>(number);
      place.file = path_of(file, unit.folder);
    }
  }
  const Range* function = find(unit.functions, address);
  if (function == nullptr && unit.depth == Depth::kOutsideFunctions) {
    // Members of classes that are local to a function.
    read_functions(unit_die, Depth::kInFunctions, unit);
    function = find(unit.functions, address);
  }
  // Outermost first.
  std::vector<Dwarf_Die> functions;
  if (function != nullptr) {
    functions.push_back(function->die);
    std::optional<Dwarf_Die> scope = function->die;
    for (int depth = 0; depth < kMaxDepth && (scope = inner_scope(*scope, address)); ++depth) {
      if (dwarf_tag(&*scope) == DW_TAG_inlined_subroutine) {
        functions.push_back(*scope);
      }
    }
  }
  std::vector<SourceLine> lines;
  for (; !functions.empty(); functions.pop_back()) {
    Dwarf_Die called = functions.back();
    place.function = name_of(&called);
    lines.push_back(place);
    // Where it was called stands in the one that it was inlined into.
    place = {};
    place.line = static_cast<std::uint32_t>(number_of(&called, DW_AT_call_line));
    const char* file =
        unit.files == nullptr
            ? nullptr
            : dwarf_filesrc(unit.files, number_of(&called, DW_AT_call_file), nullptr, nullptr);
    place.file = path_of(file, unit.folder);
  }
  if (lines.empty() && !place.file.empty()) {
    lines.push_back(place);
  }
  return lines;
}

}  // namespace xenoprof
