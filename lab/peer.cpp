// SPDX-License-Identifier: GPL-2.0-or-later
// The kind `peer`: a Linux system at the other end of another lab's wire. It outlives the labs that
// are wired to it, one after the other.
#include "kind.h"

namespace xenoprof::lab {
namespace {

constexpr unsigned kMemoryMib = 640;
constexpr std::string_view kCommandLine =
    "console=ttyS0 loglevel=5 panic=-1 mitigations=off nmi_watchdog=0 "
    "cryptomgr.notests";

std::vector<std::string> domains(const UpOptions&) {
  return {"peer"};
}

Result<MachineSpec> machine(const UpOptions&, const Materials& materials, const pb::Lab& lab,
                            const LabFolder& folder) {
  const auto archives = archives_of(Role::kLinux, materials);
  if (!archives)
    return std::unexpected(archives.error());
  DomainIdentity identity = identity_of(lab, lab.domains(0), Role::kLinux);
  identity.wire = kPeerAddress;
  const auto initrd = folder.path / "linux.cpio";
  if (auto joined =
          join_archives({archives->base, archives->programs}, identity_layer(identity), initrd);
      !joined)
    return std::unexpected(joined.error());

  MachineSpec spec;
  spec.kernel = materials.kernel.vmlinux;
  spec.initrd = initrd;
  spec.command_line = kCommandLine;
  spec.cpus = 1;
  spec.memory_mib = kMemoryMib;
  spec.wire = wire_of_peer();
  return spec;
}

Result<void> start_others(const UpOptions&, const pb::Lab&, const LabFolder&, Progress&) {
  return {};
}

}  // namespace

const Kind kPeerKind = {"peer", false, domains, machine, start_others};

}  // namespace xenoprof::lab
