// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>
#include <string_view>

namespace xenoprof {

// `text` as a JSON string, quotes included. Names are guests', in any encoding: what is no UTF-8
// becomes U+FFFD, so that readers get valid JSON.
std::string json_text(std::string_view text);

}  // namespace xenoprof
