// SPDX-License-Identifier: GPL-2.0-or-later
#include "session/accounting.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <string_view>

namespace xenoprof {
namespace {

constexpr std::string_view kNotNamedYet = "(not named yet)";

// Divides `amount` in proportion to `weights`, in whole samples whose sum is `amount`.
std::vector<std::uint64_t> divide(std::uint64_t amount, std::span<const std::uint64_t> weights) {
  std::vector<std::uint64_t> parts(weights.size());
  const auto sum = std::accumulate(weights.begin(), weights.end(), std::uint64_t{0});
  std::uint64_t given = 0;
  for (std::size_t i = 0; sum != 0 && i < weights.size(); ++i) {
    parts[i] = static_cast<std::uint64_t>(static_cast<long double>(amount) *
                                          static_cast<long double>(weights[i]) /
                                          static_cast<long double>(sum));
    parts[i] = std::min(parts[i], amount - given);
    given += parts[i];
  }
  if (!parts.empty()) {
    // What rounding left over goes to the heaviest.
    const auto heaviest = std::ranges::max_element(weights) - weights.begin();
    parts[static_cast<std::size_t>(heaviest)] += amount - given;
  }
  return parts;
}

std::uint64_t above(std::uint64_t value, std::uint64_t floor) {
  return value > floor ? value - floor : 0;
}

}  // namespace

DomainTotals account(std::span<const Event> events, std::span<const VcpuTotals> totals,
                     const Received& received, bool final) {
  std::uint64_t stored = 0;
  std::uint64_t dropped = 0;
  std::vector<std::uint64_t> emitted(events.size());
  for (const VcpuTotals& vcpu : totals) {
    stored += vcpu.hypervisor + vcpu.kernel + vcpu.user;
    dropped += vcpu.lost;
    for (std::size_t i = 0; i < events.size() && i < kMaxCounters; ++i) {
      emitted[i] += vcpu.emitted[i];
    }
  }
  if (!final) {
    // Samples may have arrived after the last totals did.
    for (std::size_t i = 0; i < events.size(); ++i) {
      emitted[i] = std::max(emitted[i], received.arrived[i]);
    }
  }
  const auto emitted_sum = std::accumulate(emitted.begin(), emitted.end(), std::uint64_t{0});
  // Without the last word, what is still in the shared buffer counts as lost with the agent.
  const std::uint64_t unread = above(stored, emitted_sum);
  // Before anything was seen of any counter, all are equally likely.
  std::vector<std::uint64_t> weights = emitted;
  if (emitted_sum == 0) {
    std::ranges::fill(weights, 1);
  }
  const auto dropped_by_event = divide(dropped, weights);
  const auto unread_by_event = divide(unread, weights);

  DomainTotals result;
  result.whole = final;
  result.counted = stored + dropped;
  for (std::size_t i = 0; i < events.size(); ++i) {
    EventTotals& one = result.events.emplace_back();
    one.name = events[i].name;
    one.count = events[i].count;
    one.delivered = received.delivered[i];
    one.estimated = events.size() > 1 && dropped + unread != 0;
    const auto lose = [&](const char* cause, std::uint64_t samples) {
      if (samples != 0) {
        one.lost[cause] += samples;
      }
    };
    lose(kLostInHypervisor, dropped_by_event[i]);
    lose(final ? kLostInDriver : kLostWithAgent, unread_by_event[i]);
    lose(final ? kLostInPerf : kLostWithAgent, above(emitted[i], received.arrived[i]));
    lose(kLostOnDisk, above(received.arrived[i], one.delivered));
    one.taken = one.delivered;
    for (const auto& [cause, samples] : one.lost) {
      one.taken += samples;
    }
  }
  if (!final) {
    std::uint64_t taken = 0;
    for (const EventTotals& event : result.events) {
      taken += event.taken;
    }
    result.counted = std::max(result.counted, taken);
  }
  return result;
}

bool is_within(const Profile& profile, std::span<const std::uint64_t> samples) {
  for (std::size_t event = 0; event < samples.size(); ++event) {
    if (profile.total(event) > samples[event]) {
      return false;
    }
  }
  return true;
}

Profile untold(const Profile& taken, const Profile* told) {
  struct Left {
    std::array<std::uint64_t, 2> of_mode{};  // user and kernel
    std::uint64_t all = 0;
  };
  const std::size_t events = taken.events().size();
  std::vector<Left> left(events);
  const auto each = [&](const Profile& profile, const auto& take) {
    const std::size_t first = profile.events().size() - events;  // its guest's own are before
    for (const Sample& sample : profile.samples()) {
      const auto mode = static_cast<std::size_t>(sample.key.mode);
      for (std::size_t event = 0; event < events; ++event) {
        take(left[event].all, sample.samples[first + event]);
        if (mode < left[event].of_mode.size()) {
          take(left[event].of_mode[mode], sample.samples[first + event]);
        }
      }
    }
  };
  each(taken, [](std::uint64_t& sum, std::uint64_t samples) { sum += samples; });
  if (told != nullptr) {
    each(*told, [](std::uint64_t& sum, std::uint64_t samples) { sum -= std::min(sum, samples); });
  }
  Profile result(taken.events());
  const StringId name = result.intern(kNotNamedYet);
  const StackId nowhere =
      result.add_alone(result.add_location(result.add_image(kNotNamedYet, ""), 0, name));
  for (std::size_t event = 0; event < events; ++event) {
    for (const Mode mode : {Mode::kUser, Mode::kKernel}) {
      // An agent may tell of another mode than the host: never more than was taken in all.
      auto& [of_mode, all] = left[event];
      const std::uint64_t samples = std::min(of_mode[static_cast<std::size_t>(mode)], all);
      all -= samples;
      if (samples != 0) {
        result.add({.process = name, .stack = nowhere, .mode = mode}, event, samples);
      }
    }
  }
  return result;
}

}  // namespace xenoprof
