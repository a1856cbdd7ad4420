// SPDX-License-Identifier: GPL-2.0-or-later
// AF_VSOCK between a KVM host and its guests. The host's kernel or the machine's monitor names the
// guest, the guest's kernel the host: nobody can pose as another.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include "files/file_descriptor.h"
#include "session/channel.h"

namespace xenoprof {

// At which an agent listens. Below 1024, so that no unprivileged program of the guest takes it and
// is told what the agent is told (net/vmw_vsock/af_vsock.c).
inline constexpr std::uint32_t kAgentPort = 915;

// On the host: dials the agent of the guest with this context identifier.
Result<std::unique_ptr<Channel>> dial_vsock(std::uint32_t cid, Clock::duration limit);

// The same where the monitor, `process`, offers the guest's ports at a unix socket: Firecracker and
// cloud-hypervisor.
Result<std::unique_ptr<Channel>> dial_vsock_socket(const std::filesystem::path& path,
                                                   std::int32_t process, Clock::duration limit);

// In a guest: offers the agent to the host. No descriptor: there is no vsock device.
Result<FileDescriptor> listen_vsock();

// Who has dialled, when `listener` is readable; null: not the host, and it was turned away.
std::unique_ptr<Channel> accept_vsock(const FileDescriptor& listener);

}  // namespace xenoprof
