// SPDX-License-Identifier: GPL-2.0-or-later
// Perf events on one CPU and the memory that the kernel writes their records into.
#pragma once

#include <linux/perf_event.h>

#include <cstddef>
#include <cstdint>
#include <expected>
#include <vector>

#include "model/result.h"
#include "perf/records.h"

namespace xenoprof::perf {

struct RingError : Error {
  enum class Cause : std::uint8_t {
    kThreadEnded,
    kMayNotLock,  // that much memory: less may do
    kOther,
  };
  Cause cause = Cause::kOther;
};

class Ring {
 public:
  // `bytes`: a power of two pages. Events stay off until enable(). `task`: of this thread alone,
  // and what it begins if the event is inherited; -1: whatever runs on the CPU. Kernels before
  // Linux 5.12 do without build_id.
  static std::expected<Ring, RingError> open(perf_event_attr attr, int task, int cpu,
                                             std::size_t bytes);
  // Another event on that CPU with the same ring.
  std::expected<void, RingError> add(perf_event_attr attr, int task);
  Ring(Ring&& other) noexcept;
  Ring& operator=(Ring&& other) noexcept;
  ~Ring();

  // Tells when there is something to read.
  int descriptor() const { return events_.front(); }
  // The kernel's identifiers of the events, in the order of open() and add().
  std::vector<std::uint64_t> ids() const;
  Result<void> enable();
  void disable();

  // Appends all records, each of them whole, and makes their room free again.
  void read(std::vector<std::byte>& records);

  // What an event came to since enable(), with all that inherited it.
  struct Reading {
    std::uint64_t count = 0;
    // Nanoseconds. It stands still once the CPU has gone offline: events do not come back with it.
    std::uint64_t time_enabled = 0;
    std::uint64_t time_running = 0;  // less where events share counters
    // Records that found no room, where the kernel counts them (Linux 6.0 and later); else 0, and
    // PERF_RECORD_LOST tells of all but the last.
    std::uint64_t lost = 0;
  };
  // By the order of open() and add().
  Reading reading(std::size_t event) const;
  // Of all events, added up.
  std::uint64_t lost() const;
  std::uint64_t time_running() const;

 private:
  explicit Ring(int cpu) : cpu_(cpu) {}
  std::expected<int, RingError> open_event(perf_event_attr attr, int task) const;

  int cpu_ = -1;
  std::vector<int> events_;      // descriptors; the first one's memory takes the records of all
  std::byte* memory_ = nullptr;  // a control page, then the data
  std::size_t memory_size_ = 0;
  std::size_t data_size_ = 0;
};

}  // namespace xenoprof::perf
