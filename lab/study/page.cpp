// SPDX-License-Identifier: GPL-2.0-or-later
#include "study/page.h"

#include <fstream>
#include <iterator>
#include <string_view>

#include "paths.h"

namespace xenoprof::lab {

Result<std::string> study_page(std::string results) {
  const auto prefix = build_prefix();
  if (!prefix)
    return std::unexpected(prefix.error());
  const std::filesystem::path path = *prefix / "share/xenoprof/lab/study.html";
  std::ifstream file(path, std::ios::binary);
  std::string page((std::istreambuf_iterator<char>(file)), {});
  constexpr std::string_view kPlace = "@RESULTS@";
  const std::size_t place = page.find(kPlace);
  if (place == std::string::npos)
    return fail("{} is missing or no page: build xenoprof again", path.string());
  // Within a script element only "</script" and "<!--" mean something, and in JSON a '<' is always
  // part of a text. (HTML standard, 4.12.1.3, restrictions for contents of script elements)
  for (std::size_t at = 0; (at = results.find('<', at)) != std::string::npos;)
    results.replace(at, 1, "\\u003c");
  return page.replace(place, kPlace.size(), results);
}

}  // namespace xenoprof::lab
