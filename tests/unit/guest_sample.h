// SPDX-License-Identifier: GPL-2.0-or-later
// A record of a KVM host's perf: a sample of a guest's code.
#pragma once

#include <linux/perf_event.h>

#include <cstring>
#include <vector>

#include "perf/records.h"

namespace xenoprof {

// `process` is the machine's monitor, `thread` the vCPU's in it; `time` is CLOCK_MONOTONIC_RAW's.
inline std::vector<std::byte> guest_sample(const perf::Layout& layout, std::uint64_t time,
                                           std::size_t event, std::uint64_t ip,
                                           std::int32_t process, std::int32_t thread) {
  perf::RecordBuilder builder(layout);
  const perf::Bytes made = builder.sample(time, event, Mode::kKernel, ip, process, thread, 0, {});
  std::vector<std::byte> record(made.begin(), made.end());
  auto header = perf::value_at<perf_event_header>(record, 0);
  header.misc = PERF_RECORD_MISC_GUEST_KERNEL;
  std::memcpy(record.data(), &header, sizeof header);
  return record;
}

}  // namespace xenoprof
