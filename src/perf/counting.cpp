// SPDX-License-Identifier: GPL-2.0-or-later
#include "perf/counting.h"

#include <linux/perf_event.h>
#include <perfmon/pfmlib_perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <optional>

#include "model/event_aliases.h"
#include "model/number.h"

namespace xenoprof::perf {
namespace {

constexpr char kModifiers[] = "ukh";

// "r1c0:u", as perf has it.
std::optional<Counting> raw(std::string_view name) {
  const std::string_view code = name.substr(0, name.find(':'));
  const std::string_view modifiers =
      code.size() < name.size() ? name.substr(code.size() + 1) : std::string_view();
  if (!code.starts_with('r') || modifiers.find_first_not_of(kModifiers) != modifiers.npos) {
    return std::nullopt;
  }
  const auto config = number<std::uint64_t>(code.substr(1), 16);
  if (!config) {
    return std::nullopt;
  }
  Counting counting{.type = PERF_TYPE_RAW, .config = *config};
  if (!modifiers.empty()) {
    counting.exclude_user = !modifiers.contains('u');
    counting.exclude_kernel = !modifiers.contains('k');
  }
  return counting;
}

// libpfm4's status.
int encode(const char* name, perf_event_attr& attr) {
  pfm_perf_encode_arg_t argument = {};
  argument.attr = &attr;
  argument.size = sizeof argument;
  return pfm_get_os_event_encoding(name, PFM_PLM0 | PFM_PLM3, PFM_OS_PERF_EVENT_EXT, &argument);
}

bool is_cycles(const Counting& counting) {
  // Above its lower half is the PMU, where a machine has CPUs of several kinds.
  return counting.type == PERF_TYPE_HARDWARE &&
         static_cast<std::uint32_t>(counting.config) == PERF_COUNT_HW_CPU_CYCLES;
}

}  // namespace

std::uint64_t most_samples_a_second() {
  std::uint64_t most = 0;
  std::ifstream file("/proc/sys/kernel/perf_event_max_sample_rate");
  return file >> most ? most : ~std::uint64_t{0};
}

void apply(const Counting& counting, std::uint64_t count, perf_event_attr& attr) {
  attr.type = counting.type;
  attr.config = counting.config;
  attr.config1 = counting.config1;
  attr.config2 = counting.config2;
  attr.exclude_user = counting.exclude_user;
  attr.exclude_kernel = counting.exclude_kernel;
  attr.exclude_hv = 1;
  attr.exclude_guest = !counting.guests;
  attr.freq = counting.frequency != 0;
  attr.sample_period = counting.frequency != 0 ? counting.frequency : count;
}

Result<CountedEvent> find_counted_event(std::string_view text, std::uint64_t frequency) {
  std::string_view name = text;
  CountedEvent found;
  const std::size_t colon = text.rfind(':');
  if (colon != text.npos) {
    if (const auto count = number<std::uint64_t>(text.substr(colon + 1), 10)) {
      if (*count == 0) {
        return fail("event '{}': a sample each 0 events cannot be taken", text);
      }
      name = text.substr(0, colon);
      found.event.count = *count;
    }
  }
  found.event.name = name;
  if (const auto counting = raw(name)) {
    found.counting = *counting;
  } else {
    static const int ready = pfm_initialize();
    if (ready != PFM_SUCCESS) {
      return fail("libpfm4 does not know this CPU ({}): no event can be named",
                  pfm_strerror(ready));
    }
    perf_event_attr attr = {};
    int status = encode(found.event.name.c_str(), attr);
    for (const EventAlias& alias : kEventAliases) {
      for (const char* event : alias.events) {
        if (status != PFM_SUCCESS && name == alias.name) {
          status = encode(event, attr);
        }
      }
    }
    if (status != PFM_SUCCESS) {
      return fail(
          "event '{}': {}. Names are perf's or libpfm4's for this CPU, with modifiers and then a "
          "count if wanted, as in instructions:u:1000000; `xenoprof list` shows them.",
          name, pfm_strerror(status));
    }
    found.counting = {.type = attr.type,
                      .config = attr.config,
                      .config1 = attr.config1,
                      .config2 = attr.config2,
                      .exclude_user = attr.exclude_user != 0,
                      .exclude_kernel = attr.exclude_kernel != 0};
  }
  const bool clock = is_clock(found.counting.type, found.counting.config);
  if (clock && found.event.count != 0 && found.event.count < kShortestClockPeriod) {
    return fail("event '{}': a clock's count is in nanoseconds, {} at least", text,
                kShortestClockPeriod);
  }
  if (found.event.count == 0 && frequency != 0) {
    if (const auto most = most_samples_a_second(); frequency > most) {
      return fail("-F {}: kernel.perf_event_max_sample_rate is {}", frequency, most);
    }
    found.event.count = clock                       ? clock_period(frequency)
                        : is_cycles(found.counting) ? cpu_frequency() / frequency
                                                    : 0;
    found.counting.frequency = found.event.count == 0 ? frequency : 0;
  }
  return found;
}

bool is_clock(std::uint32_t type, std::uint64_t config) {
  return type == PERF_TYPE_SOFTWARE &&
         (config == PERF_COUNT_SW_CPU_CLOCK || config == PERF_COUNT_SW_TASK_CLOCK);
}

std::uint64_t clock_period(std::uint64_t frequency) {
  constexpr std::uint64_t kSecond = 1'000'000'000;
  return frequency == 0 ? 0 : std::max(kSecond / frequency, kShortestClockPeriod);
}

std::uint64_t cpu_frequency(const std::filesystem::path& root) {
  std::uint64_t highest = 0;
  std::error_code error;
  const std::filesystem::path cpus = root / "sys/devices/system/cpu";
  for (std::filesystem::directory_iterator entry(cpus, error), end; !error && entry != end;
       entry.increment(error)) {
    std::uint64_t kilohertz = 0;
    if (std::ifstream(entry->path() / "cpufreq/cpuinfo_max_freq") >> kilohertz) {
      highest = std::max(highest, kilohertz * 1'000);
    }
  }
  if (highest != 0) {
    return highest;
  }
  std::ifstream file(root / "proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(':');
    if (line.starts_with("cpu MHz") && colon != line.npos) {
      const double megahertz = std::strtod(line.c_str() + colon + 1, nullptr);
      highest =
          std::max(highest, static_cast<std::uint64_t>(std::clamp(megahertz, 0.0, 1e6) * 1e6));
    }
  }
  return highest;
}

bool has_hardware_counters() {
  perf_event_attr attr = {};
  attr.size = sizeof attr;
  attr.type = PERF_TYPE_HARDWARE;
  attr.config = PERF_COUNT_HW_CPU_CYCLES;
  attr.disabled = 1;
  attr.exclude_kernel = 1;
  attr.exclude_hv = 1;
  const auto descriptor =
      static_cast<int>(::syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC));
  if (descriptor >= 0) {
    ::close(descriptor);
  }
  return descriptor >= 0;
}

}  // namespace xenoprof::perf
