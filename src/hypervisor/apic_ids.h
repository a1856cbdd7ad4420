// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <filesystem>
#include <unordered_map>

namespace xenoprof {

// This system's CPUs by the APIC ids that a hypervisor knows them by. A CPU that is not told has
// its number for an id.
std::unordered_map<std::uint32_t, std::uint32_t> cpus_by_apic_id(
    const std::filesystem::path& cpuinfo = "/proc/cpuinfo");

}  // namespace xenoprof
