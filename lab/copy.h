// SPDX-License-Identifier: GPL-2.0-or-later
// Files and folders to and from a domain. They travel as a tar stream through the control server.
#pragma once

#include <filesystem>
#include <string>

#include "control.h"
#include "model/result.h"

namespace xenoprof::lab {

// Like `cp -r`: into `to` when that is a folder, else under the name `to`.
Result<void> copy_in(const Endpoint& domain, const std::filesystem::path& from,
                     const std::string& to);
Result<void> copy_out(const Endpoint& domain, const std::string& from,
                      const std::filesystem::path& to);

}  // namespace xenoprof::lab
