// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace xenoprof {

// Who was running when the counter overflowed. The values are Xen's
// (xen/arch/x86/oprofile/xenoprof.c, xenoprofile_get_mode, 4.17).
enum class Mode : std::uint8_t { kUser = 0, kKernel = 1, kHypervisor = 2 };

constexpr std::string_view to_string(Mode mode) {
  switch (mode) {
    case Mode::kUser:
      return "user";
    case Mode::kKernel:
      return "kernel";
    case Mode::kHypervisor:
      return "hypervisor";
  }
  return "unknown";
}

constexpr std::optional<Mode> mode_from_string(std::string_view text) {
  for (Mode mode : {Mode::kUser, Mode::kKernel, Mode::kHypervisor}) {
    if (text == to_string(mode)) {
      return mode;
    }
  }
  return std::nullopt;
}

}  // namespace xenoprof
