// SPDX-License-Identifier: GPL-2.0-or-later
// Texts on their way to people.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace xenoprof {

// Harmless and countable: control characters and what is not UTF-8 become '?'. The names are
// guests' and could otherwise move the cursor.
std::string printable(std::string_view text);

// In characters, of a printable() text.
std::size_t width_of(std::string_view text);

// The byte at which character number `index` of a printable() text begins; its size if there is
// none.
std::size_t byte_of(std::string_view text, std::size_t index);

// The last part of a path that begins at the root; the whole name of what has no path.
std::string_view file_name(std::string_view path);

// 1234567 as "1,234,567".
std::string with_separators(std::uint64_t number);

}  // namespace xenoprof
