// SPDX-License-Identifier: GPL-2.0-or-later
// The machine's apt sources as values, so that the lab fetches from wherever this machine does.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/result.h"

namespace xenoprof::lab {

struct AptSource {
  std::vector<std::string> uris;
  std::vector<std::string> suites;
  std::vector<std::string> components;
  // Everything else of the stanza in deb822 spelling, for example Signed-By or Trusted; a value of
  // several lines keeps its line breaks.
  std::vector<std::pair<std::string, std::string>> options;

  bool operator==(const AptSource&) const = default;
};

// Binary package sources in a file of deb822 stanzas (*.sources). Disabled ones are left out.
std::vector<AptSource> parse_deb822_sources(std::string_view text);
// The same in one-line format (sources.list, *.list).
std::vector<AptSource> parse_one_line_sources(std::string_view text);

// Those of `sources` that carry the distribution itself, whose suites are `codename` or begin with
// it and a dash, plus the release's backports suite at the same place as the release. Where the
// release that is wanted is another one, its suites take the place of theirs: a mirror has all
// releases, and Debian's archive keyring has the keys of all that are supported. Fails when no
// source has the release `codename`.
Result<std::vector<AptSource>> distribution_sources(const std::vector<AptSource>& sources,
                                                    std::string_view codename,
                                                    std::string_view wanted);

std::string to_deb822(const std::vector<AptSource>& sources);

// What /etc/apt (or another folder of that layout) lists.
std::vector<AptSource> read_apt_sources(const std::filesystem::path& folder);

}  // namespace xenoprof::lab
