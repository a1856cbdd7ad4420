// SPDX-License-Identifier: GPL-2.0-or-later
#include "hypervisor/xenoprof_device.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "driver/xenoprof.h"

namespace xenoprof {
namespace {

static_assert(kMaxCounters == XENOPROF_MAX_COUNTERS);

// A signal while the driver is busy with another call of this process changes nothing.
template <class... Argument>
int control(int fd, unsigned long request, Argument... argument) {
  int result = 0;
  do {
    result = ::ioctl(fd, request, argument...);
  } while (result != 0 && errno == EINTR);
  return result;
}

std::unexpected<Error> refused(const char* what) {
  return fail("{} refused to {}: {}; the kernel log says more", XENOPROF_DEVICE, what,
              std::strerror(errno));
}

// Why the driver did not load, in its own words: a driver that refuses leaves a line in the kernel
// log and nothing else. None when the last that the driver said was something else.
std::optional<std::string> reason_not_loaded() {
  const int fd = ::open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) {
    return std::nullopt;
  }
  // A record a read: "PRIORITY,NUMBER,TIME,FLAGS;TEXT\n" and more lines (the kernel's
  // Documentation/ABI/testing/dev-kmsg). Only the kernel itself writes priorities below 8.
  constexpr std::string_view kDriver = "xenoprof: ";
  constexpr std::string_view kRefusal = "not loaded: ";
  constexpr std::string_view kKernelError = "3,";
  constexpr int kMostRecords = 100'000;  // of a log that somebody floods meanwhile
  std::array<char, 8192> buffer;
  std::optional<std::string> reason;
  for (int i = 0; i < kMostRecords; ++i) {
    const ssize_t size = ::read(fd, buffer.data(), buffer.size());
    if (size < 0 && (errno == EPIPE || errno == EINTR)) {
      continue;  // the log went round: go on with its oldest record
    }
    if (size <= 0) {
      break;
    }
    const std::string_view record(buffer.data(), static_cast<std::size_t>(size));
    const std::size_t semicolon = record.find(';');
    if (semicolon == std::string_view::npos) {
      continue;
    }
    std::string_view text = record.substr(semicolon + 1);
    text = text.substr(0, text.find('\n'));
    if (!text.starts_with(kDriver)) {
      continue;
    }
    text.remove_prefix(kDriver.size());
    reason.reset();
    if (record.starts_with(kKernelError) && text.starts_with(kRefusal)) {
      reason = text.substr(kRefusal.size());
    }
  }
  ::close(fd);
  return reason;
}

}  // namespace

bool XenoprofDevice::present() {
  return ::access(XENOPROF_DEVICE, F_OK) == 0;
}

Result<XenoprofDevice> XenoprofDevice::open() {
  const int fd = ::open(XENOPROF_DEVICE, O_RDWR | O_CLOEXEC);
  if (fd >= 0) {
    return XenoprofDevice(fd);
  }
  if (errno == ENOENT || errno == ENODEV || errno == ENXIO) {
    if (const auto reason = reason_not_loaded()) {
      return fail("{} is not there: its driver did not load: {}", XENOPROF_DEVICE, *reason);
    }
    return fail(
        "{} is not there: load the driver with `modprobe xenoprof`; if it refuses, the "
        "kernel log says why (it needs a Xen PV domain and a hypervisor with Xenoprof)",
        XENOPROF_DEVICE);
  }
  if (errno == EBUSY) {
    return fail(
        "{} is in use: one session at a time, end the other `xenoprof record` or "
        "`xenoprof agent` of this domain first",
        XENOPROF_DEVICE);
  }
  if (errno == EACCES || errno == EPERM) {
    return fail("{} cannot be opened: run as root", XENOPROF_DEVICE);
  }
  return fail("{} cannot be opened: {}", XENOPROF_DEVICE, std::strerror(errno));
}

XenoprofDevice::XenoprofDevice(XenoprofDevice&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)) {}

XenoprofDevice& XenoprofDevice::operator=(XenoprofDevice&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

XenoprofDevice::~XenoprofDevice() {
  if (fd_ >= 0) {
    ::close(fd_);
  }
}

Result<XenoprofDevice::Info> XenoprofDevice::info() const {
  xenoprof_info info{};
  if (control(fd_, XENOPROF_INFO, &info) != 0) {
    return refused("say what the hypervisor offers");
  }
  if (info.abi != XENOPROF_ABI) {
    return fail("{} speaks version {}, this program version {}: install both from one release",
                XENOPROF_DEVICE, info.abi, XENOPROF_ABI);
  }
  info.cpu_type[sizeof(info.cpu_type) - 1] = '\0';
  return Info{.num_counters = std::min<std::uint32_t>(info.num_counters, kMaxCounters),
              .initiator = info.initiator != 0,
              .cpu_type = info.cpu_type};
}

Result<void> XenoprofDevice::set_domains(std::span<const std::uint16_t> active,
                                         std::span<const std::uint16_t> passive) {
  xenoprof_domains domains{};
  if (active.size() > std::size(domains.active) || passive.size() > std::size(domains.passive)) {
    return fail("Xenoprof profiles at most {} active and {} passive domains at a time",
                std::size(domains.active), std::size(domains.passive));
  }
  domains.num_active = static_cast<std::uint32_t>(active.size());
  domains.num_passive = static_cast<std::uint32_t>(passive.size());
  std::ranges::copy(active, domains.active);
  std::ranges::copy(passive, domains.passive);
  if (control(fd_, XENOPROF_SET_DOMAINS, &domains) != 0) {
    return refused("list the domains to profile");
  }
  return {};
}

Result<void> XenoprofDevice::set_counters(std::span<const CounterSetting> counters) {
  xenoprof_counters settings{};
  settings.num = static_cast<std::uint32_t>(counters.size());
  for (std::size_t i = 0; i < counters.size() && i < kMaxCounters; ++i) {
    settings.counter[i] = {.event = counters[i].event_select,
                           .unit_mask = counters[i].unit_mask,
                           .count = counters[i].count,
                           .user = 1,
                           .kernel = 1,
                           .hypervisor = 1};
  }
  if (control(fd_, XENOPROF_SET_COUNTERS, &settings) != 0) {
    return refused("set the counters");
  }
  return {};
}

Result<XenoprofDevice::Started> XenoprofDevice::start() {
  if (control(fd_, XENOPROF_START) == 0) {
    return Started::kYes;
  }
  if (errno == EAGAIN) {
    return Started::kNotAllArmed;
  }
  return refused("start");
}

Result<void> XenoprofDevice::stop() {
  if (control(fd_, XENOPROF_STOP) != 0) {
    return refused("stop");
  }
  return {};
}

Result<XenoprofDevice::Armed> XenoprofDevice::arm() {
  if (control(fd_, XENOPROF_ARM) == 0) {
    return Armed::kYes;
  }
  if (errno == EPERM) {
    return Armed::kNotListedYet;
  }
  if (errno == EBUSY) {
    return Armed::kBusy;
  }
  return refused("arm");
}

Result<void> XenoprofDevice::disarm() {
  if (control(fd_, XENOPROF_DISARM) != 0) {
    return refused("disarm");
  }
  return {};
}

Result<std::vector<VcpuTotals>> XenoprofDevice::own_totals() const {
  return totals(XENOPROF_DOMAIN_SELF);
}

Result<std::vector<VcpuTotals>> XenoprofDevice::passive_totals(std::uint16_t domain) const {
  return totals(domain);
}

Result<std::vector<VcpuTotals>> XenoprofDevice::totals(std::uint16_t domain) const {
  std::vector<VcpuTotals> all;
  for (std::uint32_t vcpu = 0;; ++vcpu) {
    xenoprof_totals totals{.domain = domain, .vcpu = vcpu};
    if (control(fd_, XENOPROF_TOTALS, &totals) != 0) {
      return refused("read its totals");
    }
    VcpuTotals& one = all.emplace_back();
    one = {.vcpu = vcpu,
           .hypervisor = totals.hypervisor,
           .kernel = totals.kernel,
           .user = totals.user,
           .lost = totals.lost,
           .rejected = totals.rejected,
           .broken = totals.broken != 0};
    std::ranges::copy(totals.emitted, one.emitted.begin());
    if (vcpu + 1 >= std::min<std::uint32_t>(totals.vcpus, XENOPROF_MAX_VCPUS)) {
      return all;
    }
  }
}

}  // namespace xenoprof
