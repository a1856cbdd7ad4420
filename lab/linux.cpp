// SPDX-License-Identifier: GPL-2.0-or-later
// The kind `linux`: one Linux system on the emulated machine, without a hypervisor.
#include <algorithm>

#include "kind.h"

namespace xenoprof::lab {
namespace {

constexpr unsigned kDefaultMemoryMib = 768;
constexpr unsigned kDefaultCpus = 2;
// The counters are for the user, not for the kernel's watchdog.
constexpr std::string_view kCommandLine =
    "console=ttyS0 loglevel=5 panic=-1 mitigations=off nmi_watchdog=0 "
    "cryptomgr.notests";

std::vector<std::string> domains(const UpOptions&) {
  return {"linux"};
}

Result<MachineSpec> machine(const UpOptions& options, const Materials& materials,
                            const pb::Lab& lab, const LabFolder& folder) {
  const auto archives = archives_of(Role::kLinux, materials);
  if (!archives)
    return std::unexpected(archives.error());
  DomainIdentity identity = identity_of(lab, lab.domains(0), Role::kLinux);
  if (!options.peer.empty())
    identity.wire = kServerAddress;
  const auto initrd = folder.path / "linux.cpio";
  if (auto joined =
          join_archives({archives->base, archives->programs}, identity_layer(identity), initrd);
      !joined)
    return std::unexpected(joined.error());

  MachineSpec spec;
  spec.kernel = materials.kernel.vmlinux;
  spec.initrd = initrd;
  spec.command_line = kCommandLine;
  const unsigned vcpus = options.vcpus != 0 ? options.vcpus : kDefaultCpus;
  spec.cpus = std::max(options.cpus, vcpus);
  if (vcpus < spec.cpus)
    spec.command_line += fmt::format(" maxcpus={}", vcpus);
  spec.memory_mib = options.memory_mib != 0 ? options.memory_mib : kDefaultMemoryMib;
  return spec;
}

Result<void> start_others(const UpOptions&, const pb::Lab&, const LabFolder&, Progress&) {
  return {};
}

}  // namespace

const Kind kLinuxKind = {"linux", true, domains, machine, start_others};

}  // namespace xenoprof::lab
