// SPDX-License-Identifier: GPL-2.0-or-later
// The virtual machines of this KVM host, as KVM and their monitors' processes tell them: QEMU,
// cloud-hypervisor, crosvm, Firecracker and, where KVM's part of debugfs can be read, any other.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "model/result.h"

namespace xenoprof {

struct KvmVcpu {
  std::int32_t thread = 0;  // of the monitor
  // KVM's, which is the APIC identifier. Where KVM cannot be asked it is the monitor's count,
  // which differs when cores or threads are no power of two.
  std::uint32_t number = 0;

  bool operator==(const KvmVcpu&) const = default;
};

struct KvmMachine {
  // Fit to be a file's name; unique, and never that of the host's domain.
  std::string name;
  std::int32_t process = 0;    // the monitor's
  std::vector<KvmVcpu> vcpus;  // by number, at least one
  // Threads of the kernel, outside of the monitor, that work for this machine (vhost's before
  // Linux 6.4).
  std::vector<std::int32_t> workers;
  std::string folder;  // below debugfs' kvm; empty: cannot be read
  // How its agent may be reached; empty: not so.
  std::optional<std::uint32_t> vsock;  // AF_VSOCK's context identifier; no other machine claims it
  std::filesystem::path vsock_socket;  // Firecracker's and cloud-hypervisor's form of it
  std::filesystem::path serial;        // unix socket of the port kAgentPortName
};

// The machines that run now, by process. `root`: where proc and sys are.
Result<std::vector<KvmMachine>> list_kvm_machines(const std::filesystem::path& root = "/");

// A vCPU's time stamp counter: guest = host * ratio / 2^fraction_bits + offset.
struct TscRelation {
  std::int64_t offset = 0;
  std::uint64_t ratio = 1;
  unsigned fraction_bits = 0;  // below 64

  // Wraps as the counters do.
  std::uint64_t guest(std::uint64_t host) const;
};

// `vcpu`: its number. The relation changes when the guest writes its counter, is migrated or
// resumed. While it runs a guest of its own, it is that one's.
Result<TscRelation> tsc_relation(const KvmMachine& machine, std::uint32_t vcpu,
                                 const std::filesystem::path& root = "/");

}  // namespace xenoprof
