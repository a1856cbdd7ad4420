// SPDX-License-Identifier: GPL-2.0-or-later
#include "perf/why_not_opened.h"

#include <fmt/format.h>
#include <linux/perf_event.h>

#include <cerrno>
#include <fstream>
#include <string_view>

namespace xenoprof::perf {
namespace {

// The module of KVM that gives the counters to guests while they run (a mediated vPMU); empty:
// none. perf then refuses with EOPNOTSUPP what would count in guests
// (mediated_pmu_account_event in kernel/events/core.c of Linux, since its commit "perf: Add APIs to
// create/release mediated guest vPMUs").
std::string_view mediating_module(const std::filesystem::path& root) {
  for (const std::string_view module : {"kvm_intel", "kvm_amd"}) {
    std::ifstream parameter(root / "sys/module" / module / "parameters/enable_mediated_pmu");
    if (parameter.get() == 'Y') {
      return module;
    }
  }
  return {};
}

std::string no_right(bool of_process, const std::filesystem::path& root) {
  constexpr int kOwnUserCode = 2;  // and less: programs of one's own can be recorded
  constexpr int kAll = -1;
  int paranoid = kOwnUserCode + 1;
  std::ifstream(root / "proc/sys/kernel/perf_event_paranoid") >> paranoid;
  if (of_process && paranoid <= kOwnUserCode) {
    return "; another user's process is for root or CAP_PERFMON";
  }
  if (paranoid <= kAll) {
    return "; a container's seccomp filter may forbid it";
  }
  return "; run as root or with CAP_PERFMON, or lower kernel.perf_event_paranoid (2: programs of "
         "one's own, without the kernel's code; 1: with it; -1: all)";
}

}  // namespace

std::string why_not_opened(int error, const perf_event_attr& attr, bool of_process,
                           const std::filesystem::path& root) {
  switch (error) {
    case EACCES:
    case EPERM:
      return no_right(of_process, root);
    case EOPNOTSUPP:
      if (const auto module = mediating_module(root); attr.exclude_guest == 0 && !module.empty()) {
        return fmt::format(
            "; {0} gives the counters to its guests (a mediated vPMU), and the host none that "
            "count "
            "in them: let the guests sample themselves with --guest-sampling, or load {0} with "
            "enable_mediated_pmu=0",
            module);
      }
      [[fallthrough]];
    case ENOENT:
      return "; this machine has no counter for it";
    case EMFILE:
      return "; raise the limit of open files (`ulimit -n`)";
    case EBUSY:
      return "; another program holds the counters for itself";
    default:
      return "";
  }
}

}  // namespace xenoprof::perf
