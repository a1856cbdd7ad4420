// SPDX-License-Identifier: GPL-2.0-or-later
// The driver's control device. The open device is the lease on the domain's profiling: when the
// last owner of it goes, the driver stops and releases everything.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "model/result.h"

namespace xenoprof {

// What the hardware is to count; `count` events a sample.
struct CounterSetting {
  std::uint32_t event_select = 0;
  std::uint32_t unit_mask = 0;
  std::uint64_t count = 0;
};

inline constexpr std::size_t kMaxCounters = 8;

// What became of one vCPU's samples since it was armed.
struct VcpuTotals {
  std::uint32_t vcpu = 0;
  // Stored by the hypervisor, by mode.
  std::uint64_t hypervisor = 0;
  std::uint64_t kernel = 0;
  std::uint64_t user = 0;
  // Dropped by the hypervisor, which does not say of which counter: its buffer was full.
  std::uint64_t lost = 0;
  // Handed on by the driver, by counter.
  std::array<std::uint64_t, kMaxCounters> emitted{};
  // Entries of the shared buffer that named no counter or mode.
  std::uint64_t rejected = 0;
  // The shared buffer's indices were corrupt; nothing more was read from it.
  bool broken = false;

  std::uint64_t taken() const { return hypervisor + kernel + user + lost; }
};

class XenoprofDevice {
 public:
  struct Info {
    std::uint32_t num_counters = 0;
    bool initiator = false;
    std::string cpu_type;
  };
  enum class Armed { kYes, kNotListedYet, kBusy };
  enum class Started { kYes, kNotAllArmed };

  // Whether the driver is loaded; the device may be in use.
  static bool present();
  static Result<XenoprofDevice> open();
  XenoprofDevice(XenoprofDevice&& other) noexcept;
  XenoprofDevice& operator=(XenoprofDevice&& other) noexcept;
  ~XenoprofDevice();

  Result<Info> info() const;

  // The initiator's calls.
  Result<void> set_domains(std::span<const std::uint16_t> active,
                           std::span<const std::uint16_t> passive);
  Result<void> set_counters(std::span<const CounterSetting> counters);
  Result<Started> start();
  Result<void> stop();

  // Every participant's calls.
  Result<Armed> arm();
  Result<void> disarm();
  Result<std::vector<VcpuTotals>> own_totals() const;
  Result<std::vector<VcpuTotals>> passive_totals(std::uint16_t domain) const;

 private:
  explicit XenoprofDevice(int fd) : fd_(fd) {}
  Result<std::vector<VcpuTotals>> totals(std::uint16_t domain) const;

  int fd_ = -1;
};

}  // namespace xenoprof
