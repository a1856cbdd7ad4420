// SPDX-License-Identifier: GPL-2.0-or-later
// Plain values to and from bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

namespace xenoprof::perf {

using Bytes = std::span<const std::byte>;

inline void put_bytes(std::vector<std::byte>& buffer, std::span<const std::byte> bytes) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wstringop-overflow"  // GCC 12 sees one where there is none
  buffer.insert(buffer.end(), bytes.begin(), bytes.end());
#pragma GCC diagnostic pop
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

// Drops `size` bytes off the front; false when there are too few.
inline bool skip(Bytes& bytes, std::uint64_t size) {
  if (size > bytes.size()) {
    return false;
  }
  bytes = bytes.subspan(static_cast<std::size_t>(size));
  return true;
}

// `offset` and the T behind it are within `bytes`.
template <class T>
T value_at(Bytes bytes, std::size_t offset) {
  static_assert(std::is_trivially_copyable_v<T>);
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

// Text ends with a zero, or with the bytes.
inline std::string_view text_of(Bytes bytes) {
  const auto* start = reinterpret_cast<const char*>(bytes.data());
  return {start, strnlen(start, bytes.size())};
}

}  // namespace xenoprof::perf
