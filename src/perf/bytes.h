// SPDX-License-Identifier: GPL-2.0-or-later
// Plain values to and from bytes.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>
#include <type_traits>
#include <vector>

namespace xenoprof::perf {

inline void put_bytes(std::vector<std::byte>& buffer, std::span<const std::byte> bytes) {
  // resize() and a copy, since GCC 12 warns wrongly about insert() here.
  const std::size_t size = buffer.size();
  buffer.resize(size + bytes.size());
  if (!bytes.empty()) {
    std::memcpy(buffer.data() + size, bytes.data(), bytes.size());
  }
}

template <class T>
void put(std::vector<std::byte>& buffer, const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  put_bytes(buffer, std::as_bytes(std::span(&value, 1)));
}

// Takes a T off the front of `bytes`; false when there are too few.
template <class T>
bool take(std::span<const std::byte>& bytes, T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  if (bytes.size() < sizeof(T)) {
    return false;
  }
  std::memcpy(&value, bytes.data(), sizeof(T));
  bytes = bytes.subspan(sizeof(T));
  return true;
}

}  // namespace xenoprof::perf
