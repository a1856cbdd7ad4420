// SPDX-License-Identifier: GPL-2.0-or-later
#include "report/json_text.h"

#include <nlohmann/json.hpp>

namespace xenoprof {

std::string json_text(std::string_view text) {
  using Json = nlohmann::json;
  return Json(text).dump(-1, ' ', true, Json::error_handler_t::replace);
}

}  // namespace xenoprof
