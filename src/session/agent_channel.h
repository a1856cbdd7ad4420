// SPDX-License-Identifier: GPL-2.0-or-later
// How a KVM host and the agents in its guests find each other, by whichever ways there are.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "files/file_descriptor.h"
#include "hypervisor/kvm_machines.h"
#include "session/channel.h"

namespace xenoprof {

// On the host: dials the machine's agent. Takes no longer than some seconds, as a guest that was
// stopped never answers.
Result<std::unique_ptr<Channel>> dial_agent(const KvmMachine& machine);

// In a guest: listens for the host, over vsock and at the virtio-serial port.
class AgentListener {
 public:
  // An error: the machine has neither, or an agent already.
  static Result<AgentListener> open();

  // Waits until the host dials.
  Result<std::unique_ptr<Channel>> accept();

 private:
  AgentListener(FileDescriptor vsock, std::optional<std::filesystem::path> port)
      : vsock_(std::move(vsock)), port_(std::move(port)) {}

  FileDescriptor vsock_;
  std::optional<std::filesystem::path> port_;
};

}  // namespace xenoprof
