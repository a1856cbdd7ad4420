// SPDX-License-Identifier: GPL-2.0-or-later
// report.html: a study's results as one page that needs nothing else.
#pragma once

#include <filesystem>
#include <string>

#include "model/result.h"

namespace xenoprof::lab {

// `results` is the text of results.json.
Result<std::string> study_page(std::string results);

}  // namespace xenoprof::lab
