// SPDX-License-Identifier: GPL-2.0-or-later
// One perf event on one CPU and the memory that the kernel writes its records into.
#pragma once

#include <linux/perf_event.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "model/result.h"
#include "perf/records.h"

namespace xenoprof::perf {

class Ring {
 public:
  // `bytes` is rounded up to a power of two pages. The event stays off until enable().
  static Result<Ring> open(perf_event_attr attr, int cpu, std::size_t bytes);
  Ring(Ring&& other) noexcept;
  Ring& operator=(Ring&& other) noexcept;
  ~Ring();

  int descriptor() const { return descriptor_; }
  Result<void> enable();
  void disable();

  // Hands out every whole record and makes its room free again. The bytes live during the call.
  void read(const std::function<void(Bytes)>& take);

  // Records that found no room since enable(), where the kernel counts them (Linux 6.0 and later);
  // else 0, and PERF_RECORD_LOST tells of all but the last.
  std::uint64_t lost() const;

 private:
  Ring() = default;

  int descriptor_ = -1;
  std::byte* memory_ = nullptr;  // a control page, then the data
  std::size_t memory_size_ = 0;
  std::size_t data_size_ = 0;
  bool counts_lost_ = false;
  std::vector<std::byte> wrapped_;
};

}  // namespace xenoprof::perf
