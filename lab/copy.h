// SPDX-License-Identifier: GPL-2.0-or-later
// Files and folders to and from a domain. They travel as a tar stream through the control server.
#pragma once

#include <filesystem>
#include <string>

#include "control.h"
#include "files/place.h"
#include "model/result.h"

namespace xenoprof::lab {

// Like `cp -r`: into `to` when that is a folder, else under the name `to`.
Result<void> copy_in(const Endpoint& domain, const std::filesystem::path& from,
                     const std::string& to);
Result<void> copy_out(const Endpoint& domain, const std::string& from,
                      const std::filesystem::path& to);

// What copy_out() does with a tar stream: its first entry, of any name, becomes `target`, and the
// rest lies below it. The sender is not trusted: nothing outside is written, and no link is
// followed that was sent or that another user has put there.
Result<void> unpack(int tar, const Place& target);

}  // namespace xenoprof::lab
