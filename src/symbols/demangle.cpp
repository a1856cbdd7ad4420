// SPDX-License-Identifier: GPL-2.0-or-later
#include "symbols/demangle.h"

#include <libiberty/demangle.h>

namespace xenoprof {
namespace {

// A mangled name's back references can double its length every ten characters: 280 of them make
// gigabytes. abi::__cxa_demangle knows no limit; libiberty hands the name over in pieces.
constexpr std::size_t kMaxLength = 4096;

struct TooLong {};

void append(const char* piece, std::size_t length, void* name) {
  auto& text = *static_cast<std::string*>(name);
  if (length > kMaxLength - text.size()) {
    throw TooLong();  // of what libiberty holds, at most a name's letters are lost
  }
  text.append(piece, length);
}

}  // namespace

std::string demangle(std::string_view name) {
  if (!(name.starts_with("_Z") || name.starts_with("_R")) || name.size() > kMaxLength) {
    return std::string(name.substr(0, kMaxLength));
  }
  // A stub in the procedure linkage table.
  constexpr std::string_view kStub = "@plt";
  const bool stub = name.ends_with(kStub);
  const std::string mangled(name.substr(0, name.size() - (stub ? kStub.size() : 0)));
  std::string text;
  try {
    // Rust's older scheme is C++'s with a checksum, which only Rust's reader knows to drop.
    if (rust_demangle_callback(mangled.c_str(), DMGL_NO_OPTS, append, &text) == 0) {
      text.clear();
      if (cplus_demangle_v3_callback(mangled.c_str(), DMGL_NO_OPTS, append, &text) == 0) {
        return std::string(name);
      }
    }
  } catch (const TooLong&) {
    return std::string(name);
  }
  return stub ? text + std::string(kStub) : text;
}

}  // namespace xenoprof
