// SPDX-License-Identifier: GPL-2.0-or-later
// What samples can be told apart by.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/profile.h"

namespace xenoprof {

enum class Column { kDomain, kProcess, kPid, kTid, kImage, kSymbol, kLine, kMode, kVcpu };

inline constexpr std::array kColumns = {Column::kDomain, Column::kProcess, Column::kPid,
                                        Column::kTid,    Column::kImage,   Column::kSymbol,
                                        Column::kLine,   Column::kMode,    Column::kVcpu};

std::string_view to_string(Column column);
std::optional<Column> column_from_string(std::string_view name);

// Of the place in the code; the other columns are of the sample as a whole.
constexpr bool is_of_place(Column column) {
  return column == Column::kImage || column == Column::kSymbol || column == Column::kLine;
}
constexpr bool is_number(Column column) {
  return column == Column::kPid || column == Column::kTid || column == Column::kVcpu;
}

// The content of a column as a number: equal texts have equal numbers, so that views add up and
// filter without making texts. The profile must outlive it, and not change.
class Cells {
 public:
  explicit Cells(const Profile& profile);

  // `location` matters to the columns of a place: the leaf's, or that of any other frame.
  std::uint32_t of(Column column, const SampleKey& key, LocationId location) const;
  std::uint32_t of_leaf(Column column, const SampleKey& key) const {
    return of(column, key, profile_.frames()[key.stack].location);
  }
  // The mode in which code there runs, by its image.
  Mode mode_of(LocationId location) const { return modes_[profile_.locations()[location].image]; }
  // A KVM host's work for one of its guests: in such a stack every frame is the hypervisor's,
  // whatever its image. Xen's frames are told by theirs.
  bool is_served(const SampleKey& key) const {
    return key.mode == Mode::kHypervisor &&
           mode_of(profile_.frames()[key.stack].location) != Mode::kHypervisor;
  }
  Mode mode_of(LocationId location, bool served) const {
    return served ? Mode::kHypervisor : mode_of(location);
  }

  std::string text(Column column, std::uint32_t cell) const;
  // Of a symbol: there is none, the text is an address.
  static bool is_address(std::uint32_t cell);
  // An order that depends on the content alone: of texts as such, of numbers by size.
  bool less(Column column, std::uint32_t one, std::uint32_t other) const;

 private:
  std::string_view name(std::uint32_t cell) const { return profile_.text(cell); }

  const Profile& profile_;
  std::vector<Mode> modes_;             // per image
  std::vector<std::uint32_t> symbols_;  // per location: a StringId, or kAddress and an index below
  std::vector<std::uint64_t> addresses_;
  std::vector<std::uint32_t> lines_;  // per location: an index below
  std::vector<std::string> line_texts_;
};

}  // namespace xenoprof
