// SPDX-License-Identifier: GPL-2.0-or-later
// The functions of one image by address.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/result.h"

namespace xenoprof {

struct Symbol {
  std::uint64_t start = 0;
  std::uint64_t end = 0;  // the first address that is not the symbol's
  std::string_view name;  // lives as long as the table
};

class SymbolTable {
 public:
  // How a symbol compares with others at the same address, best first.
  enum class Binding : std::uint8_t { kGlobal, kLocal, kWeak };

  // `length` 0: it reaches up to the next symbol, or to `limit`, whichever is first.
  void add(std::uint64_t start, std::uint64_t length, std::uint64_t limit, Binding binding,
           std::string_view name);
  // To be called once, after the last add() and before the first find().
  void finish();

  // The symbol that covers the address.
  std::optional<Symbol> find(std::uint64_t address) const;

  std::size_t size() const { return entries_.size(); }
  Symbol operator[](std::size_t index) const;

 private:
  struct Entry {
    std::uint64_t start;
    std::uint64_t end;
    std::uint64_t limit;
    std::uint32_t name;  // offset and length in names_
    std::uint32_t name_length;
    Binding binding;
  };

  std::string_view name_of(const Entry& entry) const {
    return std::string_view(names_).substr(entry.name, entry.name_length);
  }
  bool better(const Entry& one, const Entry& other) const;

  std::vector<Entry> entries_;
  std::string names_;
};

// /proc/kallsyms, a copy of it from elsewhere, or a System.map. Addresses are virtual.
Result<SymbolTable> read_kallsyms(const std::filesystem::path& path = "/proc/kallsyms");

// Xen's own symbols, as dom0 sees them. Addresses are virtual. The "file.c#" before a local
// symbol's name is dropped where the name alone is unique.
Result<SymbolTable> read_xensyms(const std::filesystem::path& path = "/proc/xen/xensyms");

// A program or a library, its separate debug file included. Addresses are file offsets.
Result<SymbolTable> read_elf(const std::filesystem::path& path);

}  // namespace xenoprof
