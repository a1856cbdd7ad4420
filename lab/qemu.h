// SPDX-License-Identifier: GPL-2.0-or-later
// One emulated machine: QEMU without hardware help, with the emulated PMU.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "model/result.h"
#include "state.h"
#include "wire.h"

namespace xenoprof::lab {

// Connections to a port of this machine's loopback reach the control server at that address.
struct Forward {
  std::uint16_t port;
  std::string address;
};

struct MachineSpec {
  std::filesystem::path kernel;
  std::string initrd;  // as -initrd wants it: with a multiboot kernel a list of modules
  std::string command_line;
  std::string cpu;           // as -cpu wants it: a model and its features
  std::string cpu_features;  // that the machine needs beside: ",+FEATURE,..."
  unsigned cpus = 2;
  unsigned memory_mib = 1024;
  std::string plugin;  // as -plugin wants it; empty: none
  std::vector<Forward> forwards;
  std::optional<Wire> wire;
};

// The PMU plugin of this build, or why there is none.
Result<std::filesystem::path> pmu_plugin(const std::filesystem::path& prefix);

// Starts the machine, which outlives this process; its console goes to the lab's folder. Returns
// as soon as it runs or has failed to start.
Result<void> start_machine(const MachineSpec& spec, const LabFolder& folder,
                           const std::filesystem::path& tools_root);

// Ports of the loopback that nobody listens on now.
Result<std::vector<std::uint16_t>> free_ports(std::size_t count);

}  // namespace xenoprof::lab
