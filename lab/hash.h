// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <string_view>

namespace xenoprof::lab {

// FNV-1a, 64 bits: names files of the cache, guards nothing.
class Hash {
 public:
  // Each call adds one value: "ab" then "c" differs from "a" then "bc".
  void add(std::string_view value) {
    for (const char c : value)
      add_byte(static_cast<unsigned char>(c));
    add_byte(0x100);
  }
  std::uint64_t value() const { return value_; }

 private:
  void add_byte(unsigned byte) {
    value_ ^= byte;
    value_ *= 0x100000001b3;
  }

  std::uint64_t value_ = 0xcbf29ce484222325;
};

}  // namespace xenoprof::lab
