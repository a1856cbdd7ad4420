// SPDX-License-Identifier: GPL-2.0-or-later
// A table for people, fitted to a terminal.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace xenoprof {

enum class Style { kPlain, kBold, kDim, kHypervisor, kKernel, kUser };

// As it is, or between the terminal's escape sequences, which leave white space around it alone.
std::string styled(std::string text, Style style, bool colour);

struct TextColumn {
  std::string heading;
  std::string group = {};  // stands above adjacent columns that share it
  bool right = false;      // aligned
  // May be shortened to `least` characters when the table is too wide; 0: never.
  std::size_t least = 0;
  std::size_t most = 200;
};

struct TextCell {
  std::string text;  // printable()
  Style style = Style::kPlain;
};

class TextTable {
 public:
  explicit TextTable(std::vector<TextColumn> columns) : columns_(std::move(columns)) {}

  void add_row(std::vector<TextCell> cells) { rows_.push_back(std::move(cells)); }

  // The width that it can have without losing more than `least` allows.
  std::size_t least_width() const;
  // Lines, headings first; wider than `width` only where least_width() is.
  std::string draw(std::size_t width, bool colour) const;

 private:
  std::vector<std::size_t> natural_widths() const;
  std::vector<std::size_t> widths(std::size_t width) const;
  std::string group_line(const std::vector<std::size_t>& widths) const;

  std::vector<TextColumn> columns_;
  std::vector<std::vector<TextCell>> rows_;
};

}  // namespace xenoprof
