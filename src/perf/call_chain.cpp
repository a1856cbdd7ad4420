// SPDX-License-Identifier: GPL-2.0-or-later
#include "perf/call_chain.h"

#include <linux/perf_event.h>

namespace xenoprof::perf {
namespace {

constexpr auto kKernelContext = static_cast<std::uint64_t>(PERF_CONTEXT_KERNEL);
constexpr auto kUserContext = static_cast<std::uint64_t>(PERF_CONTEXT_USER);
constexpr auto kFirstContext = static_cast<std::uint64_t>(PERF_CONTEXT_MAX);

}  // namespace

void cut_call_chain(std::uint64_t ip, Mode mode, bool exact, std::vector<std::uint64_t>& chain) {
  const std::uint64_t context = mode == Mode::kUser ? kUserContext : kKernelContext;
  std::uint64_t current = 0;
  auto entry = chain.begin();
  for (; exact && entry != chain.end(); ++entry) {
    if (*entry >= kFirstContext) {
      current = *entry;
    } else if (current == context && *entry == ip) {
      break;
    }
  }
  if (!exact || entry == chain.end()) {
    chain = {context, ip};
    return;
  }
  chain.erase(chain.begin(), entry);
  chain.insert(chain.begin(), context);
}

}  // namespace xenoprof::perf
