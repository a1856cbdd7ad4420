// SPDX-License-Identifier: GPL-2.0-or-later
#include "perf/ring.h"

#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "perf/why_not_opened.h"

namespace xenoprof::perf {
namespace {

// PERF_FORMAT_LOST of linux/perf_event.h; headers older than Linux 6.0 lack it.
constexpr std::uint64_t kFormatLost = 1u << 4;

int perf_event_open(perf_event_attr& attr, int task, int cpu) {
  return static_cast<int>(
      ::syscall(SYS_perf_event_open, &attr, task, cpu, -1, PERF_FLAG_FD_CLOEXEC));
}

std::unexpected<RingError> failed(RingError::Cause cause, std::string message) {
  return std::unexpected(RingError{{std::move(message)}, cause});
}

}  // namespace

std::expected<int, RingError> Ring::open_event(perf_event_attr attr, int task) const {
  attr.size = sizeof attr;
  attr.disabled = 1;
  attr.watermark = 1;
  attr.wakeup_watermark = static_cast<std::uint32_t>(data_size_ / 2);
  attr.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING | kFormatLost;
  int descriptor = perf_event_open(attr, task, cpu_);
  if (descriptor < 0 && errno == EINVAL) {  // before Linux 6.0
    attr.read_format &= ~kFormatLost;
    descriptor = perf_event_open(attr, task, cpu_);
  }
  if (descriptor < 0 && errno == EINVAL && attr.build_id != 0) {  // before Linux 5.12
    attr.build_id = 0;
    descriptor = perf_event_open(attr, task, cpu_);
  }
  if (descriptor < 0) {
    const int error = errno;
    return failed(
        error == ESRCH && task > 0 ? RingError::Cause::kThreadEnded : RingError::Cause::kOther,
        fmt::format("cannot open a perf event on CPU {}: {}{}", cpu_, std::strerror(error),
                    why_not_opened(error, attr, task > 0)));
  }
  return descriptor;
}

std::expected<Ring, RingError> Ring::open(perf_event_attr attr, int task, int cpu,
                                          std::size_t bytes) {
  Ring ring(cpu);
  ring.data_size_ = bytes;
  ring.memory_size_ = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)) + bytes;
  const auto event = ring.open_event(attr, task);
  if (!event) {
    return std::unexpected(event.error());
  }
  ring.events_.push_back(*event);
  void* const memory =
      ::mmap(nullptr, ring.memory_size_, PROT_READ | PROT_WRITE, MAP_SHARED, *event, 0);
  if (memory == MAP_FAILED) {
    // EPERM: beyond kernel.perf_event_mlock_kb and what the user may lock (perf_mmap() in
    // kernel/events/core.c).
    const bool may_not = errno == EPERM;
    return failed(
        may_not ? RingError::Cause::kMayNotLock : RingError::Cause::kOther,
        fmt::format("cannot map {} KiB of perf buffer for CPU {}: {}{}", bytes >> 10, cpu,
                    std::strerror(errno),
                    may_not ? "; a larger kernel.perf_event_mlock_kb or `ulimit -l` helps" : ""));
  }
  ring.memory_ = static_cast<std::byte*>(memory);
  return ring;
}

std::expected<void, RingError> Ring::add(perf_event_attr attr, int task) {
  const auto event = open_event(attr, task);
  if (!event) {
    return std::unexpected(event.error());
  }
  events_.push_back(*event);
  if (::ioctl(*event, PERF_EVENT_IOC_SET_OUTPUT, descriptor()) != 0) {
    return failed(RingError::Cause::kOther,
                  fmt::format("cannot send a perf event's records to CPU {}'s buffer: {}", cpu_,
                              std::strerror(errno)));
  }
  return {};
}

std::vector<std::uint64_t> Ring::ids() const {
  std::vector<std::uint64_t> ids;
  for (const int event : events_) {
    std::uint64_t id = 0;
    ::ioctl(event, PERF_EVENT_IOC_ID, &id);
    ids.push_back(id);
  }
  return ids;
}

Ring::Ring(Ring&& other) noexcept {
  *this = std::move(other);
}

Ring& Ring::operator=(Ring&& other) noexcept {
  std::swap(cpu_, other.cpu_);
  std::swap(events_, other.events_);
  std::swap(memory_, other.memory_);
  std::swap(memory_size_, other.memory_size_);
  std::swap(data_size_, other.data_size_);
  return *this;
}

Ring::~Ring() {
  if (memory_ != nullptr) {
    ::munmap(memory_, memory_size_);
  }
  for (const int event : events_) {
    ::close(event);
  }
}

Result<void> Ring::enable() {
  for (const int event : events_) {
    if (::ioctl(event, PERF_EVENT_IOC_ENABLE, 0) != 0) {
      return fail("cannot enable a perf event: {}", std::strerror(errno));
    }
  }
  return {};
}

void Ring::disable() {
  for (const int event : events_) {
    ::ioctl(event, PERF_EVENT_IOC_DISABLE, 0);
  }
}

void Ring::read(std::vector<std::byte>& records) {
  auto* const control = reinterpret_cast<perf_event_mmap_page*>(memory_);
  const std::byte* const data = memory_ + (memory_size_ - data_size_);
  // The kernel writes the records before it moves data_head, from one record's end to another's,
  // and reuses their room only after we moved data_tail.
  const std::uint64_t head =
      std::atomic_ref<__u64>(control->data_head).load(std::memory_order_acquire);
  const std::size_t size = std::min<std::uint64_t>(head - control->data_tail, data_size_);
  const std::size_t offset = control->data_tail & (data_size_ - 1);
  const std::size_t first = std::min(size, data_size_ - offset);
  put_bytes(records, Bytes(data + offset, first));
  put_bytes(records, Bytes(data, size - first));
  std::atomic_ref<__u64>(control->data_tail).store(head, std::memory_order_release);
}

// As the kernel gives it for the read_format of open_event().
static_assert(sizeof(Ring::Reading) == 4 * sizeof(std::uint64_t));

Ring::Reading Ring::reading(std::size_t event) const {
  Reading reading;
  if (::read(events_[event], &reading, sizeof reading) < 0) {
    reading = {};
  }
  return reading;
}

std::uint64_t Ring::lost() const {
  std::uint64_t sum = 0;
  for (std::size_t event = 0; event < events_.size(); ++event) {
    sum += reading(event).lost;
  }
  return sum;
}

std::uint64_t Ring::time_running() const {
  std::uint64_t sum = 0;
  for (std::size_t event = 0; event < events_.size(); ++event) {
    sum += reading(event).time_running;
  }
  return sum;
}

}  // namespace xenoprof::perf
