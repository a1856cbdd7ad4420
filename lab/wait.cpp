// SPDX-License-Identifier: GPL-2.0-or-later
#include "wait.h"

#include <algorithm>
#include <thread>

#include "interrupt.h"

namespace xenoprof::lab {
namespace {

constexpr int kLogLines = 15;
// Until the control server is there, QEMU accepts a connection and keeps it open a while: give up
// early and try again, but not so early that a busy machine never makes it.
constexpr auto kFirstProbeLimit = std::chrono::milliseconds(400);
constexpr auto kLastProbeLimit = std::chrono::milliseconds(5'000);
constexpr auto kProbePause = std::chrono::milliseconds(100);
// A guest's console costs its host a command.
constexpr auto kLookEvery = std::chrono::seconds(3);

}  // namespace

Result<void> wait_for_domain(const pb::Lab& lab, const pb::Domain& domain, const LabFolder& folder,
                             std::chrono::seconds limit,
                             const std::function<std::string()>& console_end, Progress& progress) {
  const Endpoint endpoint = endpoint_of(lab, domain);
  const auto start = std::chrono::steady_clock::now();
  auto probe_limit = kFirstProbeLimit;
  auto looked = start;
  while (true) {
    const auto run = capture_in_domain(endpoint, {"true"}, probe_limit);
    probe_limit = std::min(probe_limit * 21 / 20, kLastProbeLimit);
    if (run && run->status.shell_status() == 0)
      return {};
    if (interrupted())
      return fail("interrupted");
    if (!machine_pid(folder))
      return fail("the machine ended while domain {} was booting. {} ends with:\n{}\n{}",
                  domain.name(), folder.console_log().string(),
                  last_lines(folder.console_log(), kLogLines),
                  last_lines(folder.machine_log(), kLogLines));
    if (std::chrono::steady_clock::now() - looked > kLookEvery) {
      if (const std::string end = console_end(); end.find("Kernel panic") != end.npos)
        return fail(
            "the kernel of domain {} panicked while booting. The machine's console is in {}. The "
            "domain's ends with:\n{}",
            domain.name(), folder.console_log().string(), end);
      looked = std::chrono::steady_clock::now();
    }
    if (std::chrono::steady_clock::now() - start > limit)
      return fail(
          "domain {} did not answer within {} s. The machine's console is in {}. The "
          "domain's ends with:\n{}",
          domain.name(), limit.count(), folder.console_log().string(), console_end());
    progress.detail("waiting for its answer");
    std::this_thread::sleep_for(kProbePause);
  }
}

}  // namespace xenoprof::lab
