// SPDX-License-Identifier: GPL-2.0-or-later
#include "perf/cpu_rings.h"

#include <linux/perf_event.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>

namespace xenoprof::perf {
namespace {

std::size_t page_size() {
  return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

std::size_t ring_size(std::size_t bytes) {
  return std::bit_ceil(std::max(bytes, page_size()));
}

perf_event_attr common_attr(const RecorderOptions& options) {
  perf_event_attr attr = {};
  attr.use_clockid = options.raw_clock;
  attr.clockid = options.raw_clock ? CLOCK_MONOTONIC_RAW : 0;
  attr.sample_type = PERF_SAMPLE_IDENTIFIER | PERF_SAMPLE_TID | PERF_SAMPLE_TIME | PERF_SAMPLE_CPU;
  attr.sample_id_all = 1;
  attr.sample_period = 1;
  return attr;
}

perf_event_attr sideband_attr(const RecorderOptions& options) {
  perf_event_attr attr = common_attr(options);
  attr.type = PERF_TYPE_SOFTWARE;
  attr.config = PERF_COUNT_SW_DUMMY;
  attr.mmap = 1;
  attr.mmap2 = 1;
  // Where the kernel knows it: before Linux 6.12 only while the page with the note is in memory.
  // Else the inode comes in its place.
  attr.build_id = 1;
  attr.mmap_data = options.layout.stack_bytes != 0;  // see synthesize_processes()
  attr.comm = 1;
  attr.comm_exec = 1;
  attr.task = 1;
  attr.context_switch = options.outside;
  return attr;
}

perf_event_attr sample_attr(const Tracepoint& tracepoint, const RecorderOptions& options) {
  perf_event_attr attr = common_attr(options);
  attr.type = PERF_TYPE_TRACEPOINT;
  attr.config = tracepoint.id();
  attr.sample_type |= PERF_SAMPLE_RAW;
  if (options.layout.call_chains) {
    attr.sample_type |= PERF_SAMPLE_CALLCHAIN;
  }
  return attr;
}

perf_event_attr own_attr(const RecorderOptions& options, std::size_t event) {
  perf_event_attr attr = common_attr(options);
  apply(options.layout, attr);
  apply(options.layout.countings[event], options.layout.events[event].count, attr);
  attr.enable_on_exec = options.from_exec;
  return attr;
}

}  // namespace

// "0-3,5" -> 0 1 2 3 5
Result<std::vector<int>> online_cpus() {
  constexpr const char* kPath = "/sys/devices/system/cpu/online";
  std::ifstream file(kPath);
  std::vector<int> cpus;
  for (std::string range; std::getline(file, range, ',');) {
    int first = 0;
    int last = 0;
    const char* const end = range.data() + range.size();
    auto parsed = std::from_chars(range.data(), end, first);
    if (parsed.ec != std::errc()) {
      break;
    }
    last = first;
    if (parsed.ptr != end && *parsed.ptr == '-') {
      std::from_chars(parsed.ptr + 1, end, last);
    }
    for (int cpu = first; cpu <= last; ++cpu) {
      cpus.push_back(cpu);
    }
  }
  if (cpus.empty()) {
    return fail("cannot read the online CPUs from {}: is sysfs mounted on /sys?", kPath);
  }
  return cpus;
}

bool CpuRings::has_gone() {
  const std::uint64_t now = sideband.ring.reading(0).time_enabled;
  return std::exchange(enabled, now) == now;
}

struct RingOpener::Wanted {
  perf_event_attr attr;
  std::string_view name;
};

RingOpener::RingOpener(const RecorderOptions& options, const Tracepoint* tracepoint)
    : options_(options),
      tracepoint_(tracepoint),
      sample_bytes_(ring_size(options_.sample_ring_bytes)),
      sideband_bytes_(ring_size(options_.sideband_ring_bytes)) {}

Result<std::vector<CpuRings>> RingOpener::open(const std::vector<int>& cpus) {
  for (;;) {
    auto opened = try_to_open(cpus);
    if (opened) {
      return std::move(*opened);
    }
    if (opened.error().cause != RingError::Cause::kMayNotLock || !make_smaller()) {
      return std::unexpected(opened.error());
    }
  }
}

std::expected<std::vector<CpuRings>, RingError> RingOpener::try_to_open(
    const std::vector<int>& cpus) const {
  std::vector<CpuRings> all;
  for (const int cpu : cpus) {
    auto opened = open(cpu);
    if (!opened) {
      return std::unexpected(opened.error());
    }
    all.push_back(std::move(*opened));
  }
  return all;
}

// What a user may lock is for all CPUs: where the rings of each took what they can get, the last
// ones would get nothing.
bool RingOpener::make_smaller() {
  std::size_t& larger = sample_bytes_ > sideband_bytes_ ? sample_bytes_ : sideband_bytes_;
  if (larger == page_size()) {
    return false;
  }
  larger /= 2;
  smaller_ = true;
  return true;
}

std::expected<CpuRings, RingError> RingOpener::open(int cpu) const {
  // The kernel holds mappings, too, against what the user may see.
  Wanted also{.attr = sideband_attr(options_), .name = {}};
  also.attr.exclude_kernel =
      std::ranges::any_of(options_.layout.countings, &Counting::exclude_kernel);
  auto sideband = open_ring(cpu, std::span(&also, 1), sideband_bytes_);
  if (!sideband) {
    return std::unexpected(sideband.error());
  }
  std::vector<Wanted> wanted;
  if (tracepoint_) {
    wanted.push_back({.attr = sample_attr(*tracepoint_, options_), .name = {}});
  }
  for (std::size_t event = 0; event < options_.layout.countings.size(); ++event) {
    wanted.push_back(
        {.attr = own_attr(options_, event), .name = options_.layout.events[event].name});
  }
  std::optional<EventRing> samples;
  if (!wanted.empty()) {
    auto opened = open_ring(cpu, wanted, sample_bytes_);
    if (!opened) {
      return std::unexpected(opened.error());
    }
    samples = std::move(*opened);
  }
  return CpuRings{.cpu = cpu, .sideband = std::move(*sideband), .samples = std::move(samples)};
}

// All events of all threads in one ring.
std::expected<EventRing, RingError> RingOpener::open_ring(int cpu, std::span<const Wanted> wanted,
                                                          std::size_t bytes) const {
  const bool inherited = !options_.threads.empty();
  const std::vector<std::int32_t> threads =
      inherited ? options_.threads : std::vector<std::int32_t>{-1};
  std::optional<EventRing> source;
  for (const std::int32_t thread : threads) {
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      perf_event_attr attr = wanted[i].attr;
      attr.inherit = inherited;
      std::expected<void, RingError> done;
      if (source) {
        done = source->ring.add(attr, thread);
      } else if (auto ring = Ring::open(attr, thread, cpu, bytes)) {
        source = EventRing{.ring = std::move(*ring), .events = {}};
      } else {
        done = std::unexpected(ring.error());
      }
      if (done) {
        source->events.push_back(i);
      } else if (done.error().cause != RingError::Cause::kThreadEnded) {
        if (!wanted[i].name.empty()) {
          done.error().message = fmt::format("{}: {}", wanted[i].name, done.error().message);
        }
        return std::unexpected(done.error());
      }
    }
  }
  if (!source) {
    return std::unexpected(RingError{{"all that is to be recorded has ended already"},
                                     RingError::Cause::kThreadEnded});
  }
  return std::move(*source);
}

}  // namespace xenoprof::perf
