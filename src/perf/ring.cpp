// SPDX-License-Identifier: GPL-2.0-or-later
#include "perf/ring.h"

#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstring>
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

}  // namespace

Result<Ring::PerfEvent> Ring::open_event(perf_event_attr attr, int task) const {
  attr.size = sizeof attr;
  attr.disabled = 1;
  attr.watermark = 1;
  attr.wakeup_watermark = static_cast<std::uint32_t>(data_size_ / 2);
  attr.read_format = kFormatLost;
  int descriptor = perf_event_open(attr, task, cpu_);
  const bool counts_lost = descriptor >= 0;
  if (descriptor < 0 && errno == EINVAL) {
    attr.read_format = 0;
    descriptor = perf_event_open(attr, task, cpu_);
  }
  if (descriptor < 0) {
    const int error = errno;
    return fail("cannot open a perf event on CPU {}: {}{}", cpu_, std::strerror(error),
                why_not_opened(error, attr));
  }
  return PerfEvent{descriptor, counts_lost};
}

Result<Ring> Ring::open(perf_event_attr attr, int task, int cpu, std::size_t bytes) {
  Ring ring(cpu);
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  ring.data_size_ = std::bit_ceil(std::max(bytes, page));
  const auto event = ring.open_event(attr, task);
  if (!event) {
    return std::unexpected(event.error());
  }
  ring.events_.push_back(*event);
  void* memory = MAP_FAILED;
  for (;; ring.data_size_ /= 2) {
    ring.memory_size_ = page + ring.data_size_;
    memory = ::mmap(nullptr, ring.memory_size_, PROT_READ | PROT_WRITE, MAP_SHARED,
                    event->descriptor, 0);
    // EPERM: beyond kernel.perf_event_mlock_kb and what the user may lock.
    if (memory != MAP_FAILED || errno != EPERM || ring.data_size_ == page) {
      break;
    }
  }
  if (memory == MAP_FAILED) {
    const int error = errno;
    return fail(
        "cannot map {} KiB of perf buffer for CPU {}: {}; {}", ring.data_size_ >> 10, cpu,
        std::strerror(error),
        error == EPERM ? "raise kernel.perf_event_mlock_kb or run as root" : "use smaller buffers");
  }
  ring.memory_ = static_cast<std::byte*>(memory);
  return ring;
}

Result<void> Ring::add(perf_event_attr attr, int task) {
  const auto event = open_event(attr, task);
  if (!event) {
    return std::unexpected(event.error());
  }
  events_.push_back(*event);
  if (::ioctl(event->descriptor, PERF_EVENT_IOC_SET_OUTPUT, descriptor()) != 0) {
    return fail("cannot send a perf event's records to CPU {}'s buffer: {}", cpu_,
                std::strerror(errno));
  }
  return {};
}

std::vector<std::uint64_t> Ring::ids() const {
  std::vector<std::uint64_t> ids;
  for (const PerfEvent& event : events_) {
    std::uint64_t id = 0;
    ::ioctl(event.descriptor, PERF_EVENT_IOC_ID, &id);
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
  for (const PerfEvent& event : events_) {
    ::close(event.descriptor);
  }
}

Result<void> Ring::enable() {
  for (const PerfEvent& event : events_) {
    if (::ioctl(event.descriptor, PERF_EVENT_IOC_ENABLE, 0) != 0) {
      return fail("cannot enable a perf event: {}", std::strerror(errno));
    }
  }
  return {};
}

void Ring::disable() {
  for (const PerfEvent& event : events_) {
    ::ioctl(event.descriptor, PERF_EVENT_IOC_DISABLE, 0);
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

std::uint64_t Ring::lost(std::size_t event) const {
  std::uint64_t values[2] = {};  // the event's count, then what was lost
  if (!events_[event].counts_lost ||
      ::read(events_[event].descriptor, values, sizeof values) != sizeof values) {
    return 0;
  }
  return values[1];
}

std::uint64_t Ring::lost() const {
  std::uint64_t sum = 0;
  for (std::size_t event = 0; event < events_.size(); ++event) {
    sum += lost(event);
  }
  return sum;
}

}  // namespace xenoprof::perf
