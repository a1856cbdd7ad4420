// SPDX-License-Identifier: GPL-2.0-or-later
#include "interrupt.h"

#include <atomic>
#include <csignal>

namespace xenoprof::lab {
namespace {

std::atomic<bool> signal_came = false;

}  // namespace

void catch_interrupts() {
  struct sigaction action{};
  action.sa_handler = [](int) { signal_came = true; };
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool interrupted() {
  return signal_came;
}

}  // namespace xenoprof::lab
