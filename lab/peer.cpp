// SPDX-License-Identifier: GPL-2.0-or-later
// The kind `peer`: a Linux system at the other end of another lab's wire. It outlives the labs that
// are wired to it, one after the other.
#include "kind.h"

namespace xenoprof::lab {
namespace {

constexpr unsigned kMemoryMib = 640;

std::vector<std::string> domains(const UpOptions&) {
  return {"peer"};
}

Result<MachineSpec> machine(const UpOptions&, const Materials& materials, const pb::Lab& lab,
                            const LabFolder& folder) {
  auto spec = linux_machine(materials, lab, folder, kPeerAddress);
  if (!spec)
    return spec;
  spec->cpus = 1;
  spec->memory_mib = kMemoryMib;
  spec->wire = wire_of_peer();
  return spec;
}

Result<void> start_others(const UpOptions&, const pb::Lab&, const LabFolder&, Progress&) {
  return {};
}

}  // namespace

const Kind kPeerKind = {"peer", false, domains, machine, start_others};

}  // namespace xenoprof::lab
