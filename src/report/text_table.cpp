// SPDX-License-Identifier: GPL-2.0-or-later
#include "report/text_table.h"

#include <algorithm>
#include <numeric>
#include <string_view>

#include "report/text_cells.h"

namespace xenoprof {
namespace {

constexpr std::string_view kColumnGap = "  ";

std::size_t line_width(const std::vector<std::size_t>& widths) {
  return std::accumulate(widths.begin(), widths.end(), (widths.size() - 1) * kColumnGap.size());
}

void end_line(std::string& lines) {
  lines.erase(lines.find_last_not_of(' ') + 1);
  lines += '\n';
}

}  // namespace

std::string styled(std::string text, Style style, bool colour) {
  const std::size_t first = text.find_first_not_of(" \n");
  if (!colour || style == Style::kPlain || first == std::string::npos) {
    return text;
  }
  const std::size_t end = text.find_last_not_of(" \n") + 1;
  // ECMA-48 SGR: weight, then the colours that light and dark terminals both show well.
  const char* const code = style == Style::kBold         ? "1"
                           : style == Style::kDim        ? "2"
                           : style == Style::kHypervisor ? "35"
                           : style == Style::kKernel     ? "36"
                                                         : "32";
  return text.insert(end, "\x1b[0m").insert(first, std::string("\x1b[") + code + "m");
}

std::vector<std::size_t> TextTable::natural_widths() const {
  std::vector<std::size_t> widths;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    std::size_t width = width_of(columns_[i].heading);
    for (const auto& row : rows_) {
      width = std::max(width, width_of(row[i].text));
    }
    widths.push_back(std::min(width, columns_[i].most));
  }
  // A group's name needs room over its columns: the first of them gives it.
  for (std::size_t i = 0; i < columns_.size();) {
    std::size_t span = 0;
    std::size_t end = i;
    for (; end < columns_.size() && columns_[end].group == columns_[i].group; ++end) {
      span += widths[end] + (end == i ? 0 : kColumnGap.size());
    }
    const std::size_t wanted = width_of(columns_[i].group);
    if (!columns_[i].group.empty() && wanted > span) {
      widths[i] += wanted - span;
    }
    i = end;
  }
  return widths;
}

std::vector<std::size_t> TextTable::widths(std::size_t width) const {
  std::vector<std::size_t> widths = natural_widths();
  // The widest gives way first.
  for (std::size_t have = line_width(widths); have > width; --have) {
    std::size_t* widest = nullptr;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      const bool yields = columns_[i].least != 0 && widths[i] > columns_[i].least;
      if (yields && (widest == nullptr || widths[i] > *widest)) {
        widest = &widths[i];
      }
    }
    if (widest == nullptr) {
      break;
    }
    --*widest;
  }
  return widths;
}

std::size_t TextTable::least_width() const {
  return line_width(widths(0));
}

std::string TextTable::group_line(const std::vector<std::size_t>& widths) const {
  std::string line;
  for (std::size_t i = 0; i < columns_.size();) {
    std::size_t span = 0;
    std::size_t end = i;
    for (; end < columns_.size() && columns_[end].group == columns_[i].group; ++end) {
      span += widths[end] + (end == i ? 0 : kColumnGap.size());
    }
    line += (i == 0 ? "" : std::string(kColumnGap)) + right(columns_[i].group, span);
    i = end;
  }
  return line;
}

std::string TextTable::draw(std::size_t width, bool colour) const {
  const std::vector<std::size_t> fitted = widths(width);
  const auto aligned = [&](std::string_view text, std::size_t column) {
    return columns_[column].right ? right(text, fitted[column]) : left(text, fitted[column]);
  };
  std::string headings = group_line(fitted);
  end_line(headings);
  if (headings == "\n") {
    headings.clear();
  }
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    headings += (i == 0 ? "" : std::string(kColumnGap)) + aligned(columns_[i].heading, i);
  }
  end_line(headings);
  std::string lines = styled(headings, Style::kBold, colour);
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      lines += (i == 0 ? "" : std::string(kColumnGap)) +
               styled(aligned(row[i].text, i), row[i].style, colour);
    }
    end_line(lines);
  }
  return lines;
}

}  // namespace xenoprof
