// SPDX-License-Identifier: GPL-2.0-or-later
// The functions of one image by address.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace xenoprof {

struct Symbol {
  std::uint64_t start = 0;
  std::uint64_t end = 0;  // the first address that is not the symbol's
  std::string_view name;  // lives as long as the table
};

// What an image is made of: an ELF section, or the kernel and each of its modules.
struct ImagePart {
  std::uint32_t id = 0;
  std::uint64_t end = ~std::uint64_t{0};  // no symbol reaches beyond it
};

// Which symbol an address belongs to is decided as perf decides it (tools/perf/util/symbol.c,
// symbols__fixup_end and symbols__fixup_duplicate, 6.1), so that perf and xenoprof agree:
// - A symbol with a length ends there; the padding behind it is nobody's.
// - One without reaches up to the next symbol, or to the end of the next page where none of its own
//   part follows.
// - Of several at one address the first to have a length wins, then a global one over a local one
//   over a weak one, then the one with fewer leading underscores, then the longer name. As lengths
//   are made up first, the last of several without a length is the one that has any.
class SymbolTable {
 public:
  enum class Binding : std::uint8_t { kWeak, kLocal, kGlobal };

  // Names beyond so many bytes are left out: in a file, symbols without number can have one long
  // name together, of which there is a copy for each here.
  void limit_names(std::size_t bytes) { most_names_ = std::min(bytes, kMostNames); }
  void add(std::uint64_t start, std::uint64_t length, Binding binding, std::string_view name,
           ImagePart part = {});
  // To be called once, after the last add() and before the first find().
  void finish();

  std::optional<Symbol> find(std::uint64_t address) const;

  std::size_t size() const { return entries_.size(); }
  // In order.
  std::vector<std::uint64_t> starts() const;

 private:
  struct Entry {
    std::uint64_t start;
    std::uint64_t end;
    std::uint32_t name;  // offset and length in names_
    std::uint32_t name_length;
    Binding binding;
    ImagePart part;
  };

  std::string_view name_of(const Entry& entry) const {
    return std::string_view(names_).substr(entry.name, entry.name_length);
  }
  bool better(const Entry& one, const Entry& other) const;
  void set_ends();
  void drop_duplicates();

  static constexpr std::size_t kMostNames = std::size_t{512} << 20;

  std::vector<Entry> entries_;
  std::string names_;
  std::size_t most_names_ = kMostNames;
};

}  // namespace xenoprof
