// SPDX-License-Identifier: GPL-2.0-or-later
#include "hypervisor/apic_ids.h"

#include <cstdlib>
#include <fstream>
#include <optional>
#include <string>

namespace xenoprof {

std::unordered_map<std::uint32_t, std::uint32_t> cpus_by_apic_id(
    const std::filesystem::path& cpuinfo) {
  std::unordered_map<std::uint32_t, std::uint32_t> cpus;
  std::optional<std::uint32_t> cpu;  // whose id has not been told
  std::ifstream file(cpuinfo);
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(':');
    if (colon == line.npos) {
      continue;
    }
    const auto value =
        static_cast<std::uint32_t>(std::strtoul(line.c_str() + colon + 1, nullptr, 10));
    if (line.starts_with("processor\t")) {
      if (cpu) {
        cpus.emplace(*cpu, *cpu);
      }
      cpu = value;
    } else if (line.starts_with("apicid\t") && cpu) {
      cpus[value] = *cpu;
      cpu.reset();
    }
  }
  if (cpu) {
    cpus.emplace(*cpu, *cpu);
  }
  return cpus;
}

}  // namespace xenoprof
