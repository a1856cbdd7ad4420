// SPDX-License-Identifier: GPL-2.0-or-later
// Texts that end up in a terminal's table.
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

// At most `width` characters. What is too long loses its template arguments, then its middle, less
// of its end than of its beginning: that is where a C++ name says what it is.
std::string shortened(std::string_view text, std::size_t width);

std::string left(std::string_view text, std::size_t width);
std::string right(std::string_view text, std::size_t width);

// 1234567 as "1,234,567".
std::string with_separators(std::uint64_t number);

}  // namespace xenoprof
