// SPDX-License-Identifier: GPL-2.0-or-later
// printable() texts in the cells of a terminal's table.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "model/text.h"

namespace xenoprof {

// At most `width` characters. What is too long loses its template arguments, then its middle, less
// of its end than of its beginning: that is where a C++ name says what it is.
std::string shortened(std::string_view text, std::size_t width);

// Three digits and a prefix of the SI: "1.23 M", "-12.3 k", "456", "0.00123".
std::string scaled(double value);

// A paragraph in lines of at most `width` characters.
std::string wrapped(const std::string& text, std::size_t width);

std::string left(std::string_view text, std::size_t width);
std::string right(std::string_view text, std::size_t width);

}  // namespace xenoprof
