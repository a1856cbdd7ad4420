// SPDX-License-Identifier: GPL-2.0-or-later
// What domains are called: their names are files' names and options' values, too.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace xenoprof {

// Short and printable, without what would end a path or an option.
std::string fit_name(std::string_view name);

struct NumberedName {
  std::string* name;
  std::uint64_t number;  // no other's
};
// No two alike, and none `reserved`: names that are get their number at the end.
void make_names_unique(const std::vector<NumberedName>& names, std::string_view reserved);

}  // namespace xenoprof
