// SPDX-License-Identifier: GPL-2.0-or-later
#include "perf/attribute.h"

#include <linux/perf_event.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "perf/counting.h"

namespace xenoprof::perf {
namespace {

struct KnownEvent {
  std::uint32_t type;
  std::uint64_t config;
  std::string_view name;
};
// perf's names (tools/perf/util/evsel.c of Linux 6.1).
constexpr std::array kKnownEvents = {
    KnownEvent{PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES, "cycles"},
    KnownEvent{PERF_TYPE_HARDWARE, PERF_COUNT_HW_INSTRUCTIONS, "instructions"},
    KnownEvent{PERF_TYPE_HARDWARE, PERF_COUNT_HW_BRANCH_INSTRUCTIONS, "branches"},
    KnownEvent{PERF_TYPE_HARDWARE, PERF_COUNT_HW_BRANCH_MISSES, "branch-misses"},
    KnownEvent{PERF_TYPE_HARDWARE, PERF_COUNT_HW_CACHE_REFERENCES, "cache-references"},
    KnownEvent{PERF_TYPE_HARDWARE, PERF_COUNT_HW_CACHE_MISSES, "cache-misses"},
    KnownEvent{PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CPU_CLOCK, "cpu-clock"},
    KnownEvent{PERF_TYPE_SOFTWARE, PERF_COUNT_SW_TASK_CLOCK, "task-clock"},
    KnownEvent{PERF_TYPE_SOFTWARE, PERF_COUNT_SW_PAGE_FAULTS, "page-faults"},
    KnownEvent{PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CONTEXT_SWITCHES, "context-switches"},
};

}  // namespace

Result<Attribute> attribute_from(Bytes bytes) {
  if (bytes.size() < PERF_ATTR_SIZE_VER0) {
    return fail("an event's attribute has {} bytes, {} at least are needed", bytes.size(),
                PERF_ATTR_SIZE_VER0);
  }
  perf_event_attr attr = {};
  std::memcpy(&attr, bytes.data(), std::min(bytes.size(), sizeof attr));
  Attribute result;
  const auto* known =
      std::find_if(kKnownEvents.begin(), kKnownEvents.end(), [&](const KnownEvent& event) {
        return event.type == attr.type && event.config == attr.config;
      });
  result.name =
      known != kKnownEvents.end()
          ? std::string(known->name)
          : fmt::format("event-{}-{:#x}", std::uint32_t{attr.type}, std::uint64_t{attr.config});
  result.period = attr.freq == 0                     ? attr.sample_period
                  : is_clock(attr.type, attr.config) ? clock_period(attr.sample_freq)
                                                     : 0;
  result.sample_type = attr.sample_type;
  result.read_format = attr.read_format;
  result.branch_sample_type = attr.branch_sample_type;
  result.sample_regs_user = attr.sample_regs_user;
  result.sample_id_all = attr.sample_id_all != 0;
  result.sideband = attr.type == PERF_TYPE_SOFTWARE && attr.config == PERF_COUNT_SW_DUMMY;
  return result;
}

}  // namespace xenoprof::perf
