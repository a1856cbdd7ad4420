// SPDX-License-Identifier: GPL-2.0-or-later
#include "session/guest_clock.h"

#include <fmt/format.h>

#include <cmath>
#include <thread>
#include <utility>

namespace xenoprof {

using namespace std::chrono_literals;

perf::TscLook HostClock::look() {
  const perf::TscLook look = perf::look_at_tsc();
  tsc_of_raw_.add(look.raw, look.tsc);
  return look;
}

double HostClock::ticks_per_second() const {
  constexpr std::uint64_t kSecond = 1'000'000'000;
  const std::uint64_t now = perf::raw_clock();
  return static_cast<double>(tsc_at(now) - tsc_at(now - kSecond));
}

Result<void> GuestClock::read(const KvmMachine& machine, const std::filesystem::path& root) {
  if (told_) {
    vcpus_.assign(machine.vcpus.size(), told_->relation());
    return {};
  }
  vcpus_.resize(machine.vcpus.size());
  for (std::size_t i = 0; i < vcpus_.size(); ++i) {
    const auto relation = tsc_relation(machine, machine.vcpus[i].number, root);
    if (!relation) {
      return std::unexpected(relation.error());
    }
    vcpus_[i] = *relation;
  }
  return {};
}

void GuestClock::leave_to_agent(std::string why) {
  told_.emplace();
  untold_ = std::move(why);
}

void GuestClock::ask(Peers& peers, Peer& agent, HostClock& host, Clock::duration limit) {
  hear(agent, host);  // a late answer
  if (!agent.clock_asked) {
    asked_ = host.look();
    peers.ask_clock(agent);
  }
  const auto deadline = Clock::now() + limit;
  while (agent.connection && !agent.clock && Clock::now() < deadline) {
    peers.wait_for_messages(1ms);
  }
  hear(agent, host);
}

void GuestClock::hear(Peer& agent, HostClock& host) {
  if (!agent.clock) {
    return;
  }
  const perf::TscLook heard = host.look();
  told_->add(asked_, heard,
             {.tsc = agent.clock->tsc(),
              .host_realtime = agent.clock->host_realtime(),
              .within = agent.clock->tsc_within()},
             look_at_real_clock());
  agent.clock.reset();
}

void GuestClock::ask_often(Peers& peers, Peer& agent, HostClock& host, const Cancelled& cancelled) {
  constexpr int kTimes = 20;
  constexpr auto kLimit = 1s;
  // After which another rate shows as 50 us: KVM scales by 250 ppm or more.
  constexpr auto kPause = 200ms;
  for (int i = 0; i <= kTimes && !cancelled(); ++i) {
    if (i == kTimes) {
      std::this_thread::sleep_for(kPause);
    }
    ask(peers, agent, host, kLimit);
    if (!agent.connection || agent.clock_asked) {
      return;
    }
  }
}

Result<void> GuestClock::learn(Peers& peers, Peer& agent, HostClock& host,
                               const Cancelled& cancelled) {
  ask_often(peers, agent, host, cancelled);
  if (told_->changes() != 0) {
    // Another rate contradicts again; a clock that was set does not.
    told_.emplace();
    ask_often(peers, agent, host, cancelled);
  }
  if (!told_->known()) {
    return fail("{}, nor by its agent", untold_);
  }
  if (told_->changes() != 0) {
    return fail("{}, and it runs at another rate than the host's", untold_);
  }
  return {};
}

std::string GuestClock::note(const HostClock& host) const {
  std::string note = fmt::format(
      "{}. Its agent was asked instead: a sample within {:.0f} us of a context switch may be "
      "charged to the task on the other side of it",
      untold_, std::ceil(1e6 * static_cast<double>(told_->error()) / host.ticks_per_second()));
  if (told_->changes() != 0) {
    note += fmt::format("; the clock changed {} times, and was wrong until asked again",
                        told_->changes());
  }
  return note + '.';
}

}  // namespace xenoprof
