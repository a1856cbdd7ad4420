// SPDX-License-Identifier: GPL-2.0-or-later
#include "report/text_cells.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

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

std::string scaled(double value) {
  constexpr std::array kPrefixes = {"", " k", " M", " G", " T", " P", " E"};
  std::size_t prefix = 0;
  // What would be rounded to 1000 is 1 of the next.
  for (; std::abs(value) >= 999.5 && prefix + 1 < kPrefixes.size(); ++prefix) {
    value /= 1000;
  }
  const double size = std::abs(value);
  const int decimals = size >= 99.95 || size == 0 ? 0 : size >= 9.995 ? 1 : size >= 0.9995 ? 2 : -1;
  return (decimals < 0 ? fmt::format("{:.3g}", value) : fmt::format("{:.{}f}", value, decimals)) +
         kPrefixes[prefix];
}

std::string wrapped(const std::string& text, std::size_t width) {
  std::string lines;
  std::size_t used = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    const std::string word = text.substr(at, end - at);
    if (used != 0 && used + 1 + width_of(word) > width) {
      lines += '\n';
      used = 0;
    }
    if (used != 0) {
      lines += ' ';
      ++used;
    }
    lines += word;
    used += width_of(word);
    at = end + 1;
  }
  return lines + "\n";
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
