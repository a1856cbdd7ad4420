// SPDX-License-Identifier: GPL-2.0-or-later
// The kind `linux`: one Linux system on the emulated machine, without a hypervisor.
#include <algorithm>

#include "kind.h"

namespace xenoprof::lab {
namespace {

constexpr unsigned kDefaultMemoryMib = 768;
constexpr unsigned kDefaultCpus = 2;

std::vector<std::string> domains(const UpOptions&) {
  return {"linux"};
}

Result<MachineSpec> machine(const UpOptions& options, const Materials& materials,
                            const pb::Lab& lab, const LabFolder& folder) {
  auto spec = linux_machine(materials, lab, folder, options.peer.empty() ? "" : kServerAddress);
  if (!spec)
    return spec;
  const unsigned vcpus = options.vcpus != 0 ? options.vcpus : kDefaultCpus;
  spec->cpus = std::max(options.cpus, vcpus);
  if (vcpus < spec->cpus)
    spec->command_line += fmt::format(" maxcpus={}", vcpus);
  spec->memory_mib = options.memory_mib != 0 ? options.memory_mib : kDefaultMemoryMib;
  return spec;
}

Result<void> start_others(const UpOptions&, const pb::Lab&, const LabFolder&, Progress&) {
  return {};
}

}  // namespace

const Kind kLinuxKind = {"linux", true, domains, machine, start_others};

}  // namespace xenoprof::lab
