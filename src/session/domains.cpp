// SPDX-License-Identifier: GPL-2.0-or-later
#include "session/domains.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <ranges>

namespace xenoprof {

Result<ChosenDomains> choose_domains(const SessionRequest& request,
                                     std::span<const Domain> running) {
  ChosenDomains chosen;
  const auto find = [&](const std::string& name) -> Result<Domain> {
    const auto found = std::ranges::find(running, name, &Domain::name);
    if (found == running.end()) {
      return fail("there is no domain '{}'; those running are {}", name,
                  fmt::join(running | std::views::transform(&Domain::name), ", "));
    }
    return *found;
  };
  const auto is_in = [](const std::vector<Domain>& domains, const Domain& domain) {
    return std::ranges::find(domains, domain.id, &Domain::id) != domains.end();
  };
  for (const std::string& name : request.passive) {
    const auto domain = find(name);
    if (!domain) {
      return std::unexpected(domain.error());
    }
    if (domain->id == 0) {
      return fail("dom0 runs the session and cannot be passive");
    }
    if (!is_in(chosen.passive, *domain)) {
      chosen.passive.push_back(*domain);
    }
  }
  for (const auto& [name, unused] : request.kernel_symbols) {
    if (std::ranges::find(request.passive, name) == request.passive.end()) {
      return fail("--kernel-symbols names '{}', which is not among the passive domains", name);
    }
  }
  // dom0 is always in: Xenoprof's primary profiler has to be on its own active list.
  if (running.empty() || running.front().id != 0) {
    return fail("xenstore does not list dom0: run `xen-init-dom0` first");
  }
  chosen.active.push_back(running.front());
  const bool all = std::ranges::find(request.domains, "all") != request.domains.end();
  if (all || request.domains.empty()) {
    for (const Domain& domain : running.subspan(1)) {
      if (is_in(chosen.passive, domain)) {
        continue;
      }
      if (all || domain.has_agent) {
        chosen.active.push_back(domain);
      } else {
        chosen.notes.push_back(
            fmt::format("{} was not profiled: no agent runs in it (`xenoprof agent`), and it was "
                        "not named with --passive",
                        domain.name));
      }
    }
    return chosen;
  }
  for (const std::string& name : request.domains) {
    const auto domain = find(name);
    if (!domain) {
      return std::unexpected(domain.error());
    }
    if (is_in(chosen.passive, *domain)) {
      return fail("{} is asked for as active and as passive; it can be one of them", name);
    }
    if (!is_in(chosen.active, *domain)) {
      chosen.active.push_back(*domain);
    }
  }
  return chosen;
}

}  // namespace xenoprof
