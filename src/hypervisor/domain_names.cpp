// SPDX-License-Identifier: GPL-2.0-or-later
#include "hypervisor/domain_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "model/text.h"

namespace xenoprof {

std::string fit_name(std::string_view name) {
  constexpr std::size_t kLongest = 40;  // characters, of up to 4 bytes each
  std::string fit = printable(name.substr(0, 4 * kLongest));
  fit.resize(byte_of(fit, kLongest));
  // Options take names with commas between them and values after an equals sign.
  std::ranges::replace_if(fit, [](char c) { return c == '/' || c == ',' || c == '='; }, '_');
  if (fit.starts_with('.')) {
    fit[0] = '_';
  }
  return fit.empty() ? "machine" : fit;
}

void make_names_unique(const std::vector<NumberedName>& names, std::string_view reserved) {
  std::map<std::string, int> count{{std::string(reserved), 1}};
  for (const NumberedName& one : names) {
    ++count[*one.name];
  }
  std::set<std::string> taken{std::string(reserved)};
  for (const NumberedName& one : names) {
    std::string unique =
        count[*one.name] == 1 ? *one.name : fmt::format("{}-{}", *one.name, one.number);
    for (int i = 2; !taken.insert(unique).second; ++i) {
      unique = fmt::format("{}-{}-{}", *one.name, one.number, i);
    }
    *one.name = std::move(unique);
  }
}

}  // namespace xenoprof
