// SPDX-License-Identifier: GPL-2.0-or-later
// What `lab up KIND` can make. A kind is one file that says how its machine boots and what is to
// be done once the first domain is up.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "image.h"
#include "kernel.h"
#include "lab/state.pb.h"
#include "model/result.h"
#include "packages.h"
#include "progress.h"
#include "qemu.h"
#include "state.h"
#include "wire.h"

namespace xenoprof::lab {

struct UpOptions {
  std::string kind;
  std::string name = "default";
  unsigned guests = 2;
  unsigned vcpus = 0;  // of each guest, or of `linux`; 0: the kind's own
  unsigned dom0_vcpus = 1;
  unsigned memory_mib = 0;       // of each guest, or of the `linux` domain; 0: the kind's own
  unsigned dom0_memory_mib = 0;  // 0: as much as its images ask for
  unsigned cpus = 0;             // of the machine; 0: as the domains need
  // With it dom0's vCPUs stay on the CPUs of their numbers, each guest's on this one.
  std::optional<unsigned> guest_cpu;
  std::string peer;            // lab that the second network card is wired to; empty: no card
  std::string cpu = "phenom";  // of the machine, as QEMU's -cpu has it
  std::string pmu;             // arguments of the PMU plugin, comma-separated
  std::string plugin;          // another one of QEMU's instead, or "none"
  Refresh refresh = Refresh::kWhenMissing;  // of the Debian packages
};

// What machines are made of, ready to use.
struct Materials {
  Roots roots;
  Kernel kernel;
  std::filesystem::path prefix;                // this build
  std::vector<std::filesystem::path> modules;  // the project's, for `kernel`
  std::filesystem::path images;                // cache folder
};

struct Kind {
  std::string_view name;
  bool has_counters;  // whether the emulated PMU is of any use to it
  // Names the domains, the first one to boot first.
  std::vector<std::string> (*domains)(const UpOptions& options);
  // How to start the machine. The lab has its domains, addresses and token; archives of this lab
  // alone go into its folder.
  Result<MachineSpec> (*machine)(const UpOptions& options, const Materials& materials,
                                 const pb::Lab& lab, const LabFolder& folder);
  // Brings up the other domains once the first one answers.
  Result<void> (*start_others)(const UpOptions& options, const pb::Lab& lab,
                               const LabFolder& folder, Progress& progress);
};

extern const Kind kKvmKind;
extern const Kind kLinuxKind;
extern const Kind kXenKind;
extern const Kind kPeerKind;

// What the domain is told: itself, the lab's token, and every domain's address.
DomainIdentity identity_of(const pb::Lab& lab, const pb::Domain& domain, Role role);

// Those of every domain of that role, which labs share.
struct RoleArchives {
  std::filesystem::path base;
  std::filesystem::path programs;
};
Result<RoleArchives> archives_of(Role role, const Materials& materials);

// Writes the archives one after the other into one file; Linux unpacks them all.
Result<void> join_archives(const std::vector<std::filesystem::path>& archives,
                           const InitramfsLayer& last, const std::filesystem::path& file);

}  // namespace xenoprof::lab
