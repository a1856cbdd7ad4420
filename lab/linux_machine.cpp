// SPDX-License-Identifier: GPL-2.0-or-later
#include "kind.h"

namespace xenoprof::lab {
namespace {

// The counters are for the user, not for the kernel's watchdog.
constexpr std::string_view kCommandLine =
    "console=ttyS0 loglevel=5 panic=-1 mitigations=off nmi_watchdog=0 "
    "cryptomgr.notests";

}  // namespace

Result<MachineSpec> linux_machine(const Materials& materials, const pb::Lab& lab,
                                  const LabFolder& folder, std::string_view wire) {
  const auto archives = archives_of(Role::kLinux, materials);
  if (!archives)
    return std::unexpected(archives.error());
  DomainIdentity identity = identity_of(lab, lab.domains(0), Role::kLinux);
  identity.wire = wire;
  const auto initrd = folder.path / "linux.cpio";
  if (auto joined =
          join_archives({archives->base, archives->programs}, identity_layer(identity), initrd);
      !joined)
    return std::unexpected(joined.error());
  MachineSpec spec;
  spec.kernel = materials.kernel.vmlinux;
  spec.initrd = initrd;
  spec.command_line = kCommandLine;
  return spec;
}

}  // namespace xenoprof::lab
