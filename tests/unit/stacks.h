// SPDX-License-Identifier: GPL-2.0-or-later
// Profiles with call stacks, written down shortly.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/profile.h"

namespace xenoprof {

struct Call {
  const char* image = "/bin/a";
  const char* symbol = "main";
  std::uint64_t address = 0;  // 0: made from the symbol
};

struct StackSample {
  std::vector<Call> calls;  // outermost first
  std::uint64_t samples = 1;
  const char* domain = "dom0";
  const char* process = "a";
  Mode mode = Mode::kUser;
  std::int32_t pid = 10;
  std::int32_t tid = 10;
  std::uint32_t vcpu = 0;
  std::size_t event = 0;
};

inline void add(Profile& profile, const StackSample& sample) {
  SampleKey key{.domain = profile.intern(sample.domain),
                .process = profile.intern(sample.process),
                .pid = sample.pid,
                .tid = sample.tid,
                .vcpu = sample.vcpu,
                .stack = 0,
                .mode = sample.mode};
  std::vector<LocationId> locations;
  for (const Call& call : sample.calls) {
    std::uint64_t address = call.address;
    if (address == 0) {
      for (const char c : std::string_view(call.symbol)) {
        address = (address * 31 + static_cast<unsigned char>(c)) & 0xffffff;
      }
    }
    const LocationId location = profile.add_location(profile.add_image(call.image, ""), address,
                                                     profile.intern(call.symbol));
    locations.push_back(location);
  }
  std::ranges::reverse(locations);
  key.stack = profile.add_stack(locations);
  profile.add(key, sample.event, sample.samples);
}

}  // namespace xenoprof
