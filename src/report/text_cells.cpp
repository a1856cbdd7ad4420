// SPDX-License-Identifier: GPL-2.0-or-later
#include "report/text_cells.h"

namespace xenoprof {
namespace {

constexpr std::string_view kEllipsis = "\u2026";

// "map<int, vector<long> >::find" as "map<…>::find"; the text itself where the brackets are no
// pairs.
std::string without_template_arguments(std::string_view text) {
  std::string out;
  int depth = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::string_view before = text.substr(0, i);
    if (text[i] == '<' && !before.ends_with("operator") && !before.ends_with("operator<")) {
      if (depth++ == 0) {
        out += "<" + std::string(kEllipsis);
      }
    } else if (text[i] == '>' && depth > 0 && !before.ends_with('-')) {
      --depth;
    }
    if (depth == 0) {
      out += text[i];
    }
  }
  return depth == 0 ? out : std::string(text);
}

}  // namespace

std::string shortened(std::string_view whole, std::size_t width) {
  if (width_of(whole) <= width) {
    return std::string(whole);
  }
  const std::string text = without_template_arguments(whole);
  const std::size_t have = width_of(text);
  if (have <= width || width == 0) {
    return width == 0 ? "" : text;
  }
  const std::size_t head = (width - 1) * 2 / 5;
  const std::size_t tail = width - 1 - head;
  return text.substr(0, byte_of(text, head)) + std::string(kEllipsis) +
         text.substr(byte_of(text, have - tail));
}

std::string left(std::string_view text, std::size_t width) {
  std::string out = shortened(text, width);
  out.append(width - width_of(out), ' ');
  return out;
}

std::string right(std::string_view text, std::size_t width) {
  const std::string out = shortened(text, width);
  return std::string(width - width_of(out), ' ') + out;
}

}  // namespace xenoprof
