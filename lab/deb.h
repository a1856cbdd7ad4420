// SPDX-License-Identifier: GPL-2.0-or-later
// Debian packages, unpacked into a folder without installing them.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "model/result.h"

namespace xenoprof::lab {

// A path of a package in a root whose /bin, /sbin, /lib and /lib64 are links into /usr, as on every
// Debian system since 12: "./lib/x" and "/lib/x" become "usr/lib/x". Empty for the root itself.
std::string merged_path(std::string_view path);

// A link's target, made relative and right for the merged root: `link` and `target` as the package
// has them. Links never lead out of the root.
std::string merged_link_target(std::string_view link, std::string_view target);

// Makes the merged root's own links (lib -> usr/lib, ...) and folders.
Result<void> prepare_root(const std::filesystem::path& root);

// Unpacks a .deb file's content. Files whose merged path `wanted` refuses are left out. Owners are
// not kept and set-id bits are dropped.
Result<void> unpack_deb(const std::filesystem::path& deb, const std::filesystem::path& root,
                        const std::function<bool(std::string_view)>& wanted);

// Decompresses a file (gzip, xz, zstd, ...) of which the data begins at `offset`.
Result<std::string> decompress(std::string_view data, std::string_view what);

}  // namespace xenoprof::lab
