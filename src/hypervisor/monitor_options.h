// SPDX-License-Identifier: GPL-2.0-or-later
// What the command line of a virtual machine's monitor says of the machine: QEMU (by hand or by
// libvirt), cloud-hypervisor, crosvm, Firecracker. Whoever runs the monitor wrote it: it is trusted
// with nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace xenoprof {

// The name of the virtio-serial port that an agent listens at.
inline constexpr char kAgentPortName[] = "org.xenoprof.agent.0";

struct MonitorOptions {
  std::string name;                    // empty: none
  std::optional<std::uint32_t> vsock;  // context identifier for AF_VSOCK
  // Unix sockets that the monitor listens at, as it was told; empty: none.
  std::string vsock_socket;
  std::string serial;
  std::string api_socket;             // Firecracker's
  std::optional<unsigned> serial_fd;  // libvirt hands the monitor a socket that is open already
};

// `arguments`: the program's name first.
MonitorOptions parse_monitor_options(std::span<const std::string_view> arguments);

}  // namespace xenoprof
