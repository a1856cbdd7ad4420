// SPDX-License-Identifier: GPL-2.0-or-later
// What can fail returns Result<T>; exceptions are for bugs only.
#pragma once

#include <fmt/format.h>

#include <expected>
#include <string>
#include <utility>

namespace xenoprof {

// One sentence for the user: what failed, where (file, domain, device), and what to do about it.
struct Error {
  std::string message;
};

template <class T>
using Result = std::expected<T, Error>;

template <class... Args>
std::unexpected<Error> fail(fmt::format_string<Args...> format, Args&&... args) {
  return std::unexpected(Error{fmt::format(format, std::forward<Args>(args)...)});
}

}  // namespace xenoprof
