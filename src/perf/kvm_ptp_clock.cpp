// SPDX-License-Identifier: GPL-2.0-or-later
#include "perf/kvm_ptp_clock.h"

#include <fcntl.h>
#include <linux/ptp_clock.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

#include "perf/clock_relation.h"

namespace xenoprof::perf {
namespace {

// drivers/ptp/ptp_kvm_common.c, ptp_kvm_caps.
constexpr char kClockName[] = "KVM virtual PTP";

int open_clock() {
  std::error_code error;
  std::filesystem::directory_iterator entry("/sys/class/ptp", error);
  for (const std::filesystem::directory_iterator end; !error && entry != end;
       entry.increment(error)) {
    std::ifstream file(entry->path() / "clock_name");
    std::string name;
    if (std::getline(file, name) && name == kClockName) {
      return ::open(("/dev" / entry->path().filename()).c_str(), O_RDONLY | O_CLOEXEC);
    }
  }
  return -1;
}

std::uint64_t nanoseconds(const ptp_clock_time& time) {
  return static_cast<std::uint64_t>(time.sec) * 1'000'000'000 + time.nsec;
}

}  // namespace

std::optional<HostLook> look_at_host_clock() {
  const int clock = open_clock();
  if (clock < 0) {
    return std::nullopt;
  }
  ptp_sys_offset_precise both = {};
  ClockRelation tsc_of_raw;
  const TscLook before = look_at_tsc();
  const bool told = ::ioctl(clock, PTP_SYS_OFFSET_PRECISE, &both) == 0;
  const TscLook after = look_at_tsc();
  ::close(clock);
  if (!told) {
    return std::nullopt;
  }
  tsc_of_raw.add(before.raw, before.tsc);
  tsc_of_raw.add(after.raw, after.tsc);
  return HostLook{.host_realtime = nanoseconds(both.device),
                  .tsc = tsc_of_raw.other_at(nanoseconds(both.sys_monoraw)),
                  .tsc_within = std::max(before.within, after.within)};
}

}  // namespace xenoprof::perf
