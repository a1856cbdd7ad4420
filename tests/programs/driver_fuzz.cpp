// SPDX-License-Identifier: GPL-2.0-or-later
// Hammers /dev/xenoprof with calls in any order and with any arguments: half of them noise, half of
// them valid but for the order. For a lab's domain; what the kernel says afterwards is the result.
//
//   driver_fuzz [--seconds N] [--seed N] [--dom0]      --dom0: sessions of domain 0 alone may start
//
// Prints "calls=N succeeded=N opened=N".

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>

#include "../../driver/xenoprof.h"

namespace {

std::mt19937 random_engine;

unsigned below(unsigned limit) {
  return std::uniform_int_distribution<unsigned>(0, limit - 1)(random_engine);
}

constexpr std::array<unsigned long, 8> kRequests{
    XENOPROF_INFO,  XENOPROF_SET_DOMAINS, XENOPROF_SET_COUNTERS, XENOPROF_ARM,
    XENOPROF_START, XENOPROF_STOP,        XENOPROF_DISARM,       XENOPROF_TOTALS};

alignas(8) std::array<unsigned char, 4096> argument;

void fill_with_noise() {
  for (auto& byte : argument)
    byte = static_cast<unsigned char>(below(256));
}

void fill_with_sense(unsigned long request, bool dom0) {
  argument.fill(0);
  if (request == XENOPROF_SET_DOMAINS && dom0) {
    xenoprof_domains domains{};
    domains.num_active = 1;
    std::memcpy(argument.data(), &domains, sizeof domains);
  } else if (request == XENOPROF_SET_COUNTERS) {
    xenoprof_counters counters{};
    counters.num = 1 + below(4);
    for (auto& counter : counters.counter) {
      counter.event = below(2) ? 0xc0 : 0x76;
      counter.count = 100'000 + below(1'000'000);
      counter.user = counter.kernel = 1;
    }
    std::memcpy(argument.data(), &counters, sizeof counters);
  } else if (request == XENOPROF_TOTALS) {
    xenoprof_totals totals{};
    totals.domain = below(4) ? XENOPROF_DOMAIN_SELF : 0;
    totals.vcpu = below(3);
    std::memcpy(argument.data(), &totals, sizeof totals);
  }
}

// Where the argument may lie: in order, half off the end of memory, nowhere.
void* place() {
  static auto* pages = static_cast<unsigned char*>(
      mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  static const bool cut = munmap(pages + 4096, 4096) == 0;
  switch (below(8)) {
    case 0:
      return cut ? pages + 4096 - 16 : pages;
    case 1:
      return nullptr;
    case 2:
      return reinterpret_cast<void*>(0xffff800000000000UL + below(1U << 30));
    default:
      return argument.data();
  }
}

unsigned long choose_request() {
  const unsigned long known = kRequests[below(kRequests.size())];
  if (below(10))
    return known;
  return known ^ (1UL << below(32));  // another size, direction or number
}

}  // namespace

int main(int argc, char** argv) {
  unsigned seconds = 5;
  unsigned seed = std::random_device{}();
  bool dom0 = false;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--dom0")
      dom0 = true;
    else if (i + 1 < argc && name == "--seconds")
      seconds = static_cast<unsigned>(std::atoi(argv[++i]));
    else if (i + 1 < argc && name == "--seed")
      seed = static_cast<unsigned>(std::atoi(argv[++i]));
  }
  random_engine.seed(seed);
  std::printf("seed=%u\n", seed);
  std::fflush(stdout);

  unsigned long calls = 0;
  unsigned long succeeded = 0;
  unsigned long opened = 0;
  int device = -1;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  while (std::chrono::steady_clock::now() < end) {
    if (device < 0 || !below(64)) {
      if (device >= 0)
        close(device);
      device = open(XENOPROF_DEVICE, O_RDWR | O_CLOEXEC);
      if (device < 0)
        continue;
      ++opened;
      if (open(XENOPROF_DEVICE, O_RDWR) >= 0) {
        std::puts("a second opener was let in");
        return 1;
      }
    }
    const unsigned long request = choose_request();
    const bool sense = below(2);
    if (sense)
      fill_with_sense(request, dom0);
    else
      fill_with_noise();
    void* at = sense ? argument.data() : place();
    ++calls;
    if (ioctl(device, request, at) == 0)
      ++succeeded;
  }
  std::printf("calls=%lu succeeded=%lu opened=%lu\n", calls, succeeded, opened);
  return 0;
}
