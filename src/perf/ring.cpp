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

namespace xenoprof::perf {
namespace {

// PERF_FORMAT_LOST of linux/perf_event.h; headers older than Linux 6.0 lack it.
constexpr std::uint64_t kFormatLost = 1u << 4;

int perf_event_open(perf_event_attr& attr, int cpu) {
  return static_cast<int>(::syscall(SYS_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC));
}

}  // namespace

Result<Ring> Ring::open(perf_event_attr attr, int cpu, std::size_t bytes) {
  Ring ring;
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  ring.data_size_ = std::bit_ceil(std::max(bytes, page));
  attr.size = sizeof attr;
  attr.disabled = 1;
  attr.watermark = 1;
  attr.wakeup_watermark = static_cast<std::uint32_t>(ring.data_size_ / 2);
  attr.read_format = kFormatLost;
  ring.descriptor_ = perf_event_open(attr, cpu);
  ring.counts_lost_ = ring.descriptor_ >= 0;
  if (ring.descriptor_ < 0 && errno == EINVAL) {
    attr.read_format = 0;
    ring.descriptor_ = perf_event_open(attr, cpu);
  }
  if (ring.descriptor_ < 0) {
    const int error = errno;
    const bool refused = error == EACCES || error == EPERM;
    return fail("cannot open a perf event on CPU {}: {}{}", cpu, std::strerror(error),
                refused ? "; run as root, or lower kernel.perf_event_paranoid to -1" : "");
  }
  ring.memory_size_ = page + ring.data_size_;
  void* const memory =
      ::mmap(nullptr, ring.memory_size_, PROT_READ | PROT_WRITE, MAP_SHARED, ring.descriptor_, 0);
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

Ring::Ring(Ring&& other) noexcept {
  *this = std::move(other);
}

Ring& Ring::operator=(Ring&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  std::swap(memory_, other.memory_);
  std::swap(memory_size_, other.memory_size_);
  std::swap(data_size_, other.data_size_);
  std::swap(counts_lost_, other.counts_lost_);
  std::swap(wrapped_, other.wrapped_);
  return *this;
}

Ring::~Ring() {
  if (memory_ != nullptr) {
    ::munmap(memory_, memory_size_);
  }
  if (descriptor_ >= 0) {
    ::close(descriptor_);
  }
}

Result<void> Ring::enable() {
  if (::ioctl(descriptor_, PERF_EVENT_IOC_ENABLE, 0) != 0) {
    return fail("cannot enable a perf event: {}", std::strerror(errno));
  }
  return {};
}

void Ring::disable() {
  ::ioctl(descriptor_, PERF_EVENT_IOC_DISABLE, 0);
}

void Ring::read(const std::function<void(Bytes)>& take) {
  auto* const control = reinterpret_cast<perf_event_mmap_page*>(memory_);
  const std::byte* const data = memory_ + (memory_size_ - data_size_);
  // The kernel writes the records before it moves data_head, and reuses their room only after we
  // moved data_tail.
  const std::uint64_t head =
      std::atomic_ref<__u64>(control->data_head).load(std::memory_order_acquire);
  std::uint64_t tail = control->data_tail;
  while (head - tail >= sizeof(perf_event_header)) {
    const std::size_t offset = tail & (data_size_ - 1);
    perf_event_header header;
    // Records are multiples of 8 bytes, so a header never wraps around.
    std::memcpy(&header, data + offset, sizeof header);
    if (header.size < sizeof header || header.size > head - tail) {
      tail = head;  // cannot happen; starting afresh beats going astray
      break;
    }
    const std::size_t first = std::min<std::size_t>(header.size, data_size_ - offset);
    if (first == header.size) {
      take(Bytes(data + offset, header.size));
    } else {
      wrapped_.assign(data + offset, data + offset + first);
      wrapped_.insert(wrapped_.end(), data, data + (header.size - first));
      take(wrapped_);
    }
    tail += header.size;
  }
  std::atomic_ref<__u64>(control->data_tail).store(tail, std::memory_order_release);
}

std::uint64_t Ring::lost() const {
  std::uint64_t values[2] = {};  // the event's count, then what was lost
  if (!counts_lost_ || ::read(descriptor_, values, sizeof values) != sizeof values) {
    return 0;
  }
  return values[1];
}

}  // namespace xenoprof::perf
