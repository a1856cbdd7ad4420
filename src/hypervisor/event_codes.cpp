// SPDX-License-Identifier: GPL-2.0-or-later
#include "hypervisor/event_codes.h"

#include <perfmon/pfmlib.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <numeric>
#include <optional>
#include <utility>

#include "driver/xenoprof.h"
#include "model/event_aliases.h"

namespace xenoprof {
namespace {

Result<void> initialise() {
  static const int status = pfm_initialize();
  if (status != PFM_SUCCESS) {
    return fail("libpfm4 does not know this CPU ({}): no event can be named", pfm_strerror(status));
  }
  return {};
}

std::vector<pfm_pmu_info_t> present_pmus() {
  std::vector<pfm_pmu_info_t> pmus;
  for (int pmu = 0; pmu < PFM_PMU_MAX; ++pmu) {
    pfm_pmu_info_t info{};
    info.size = sizeof(info);
    // Core PMUs of the hardware only: not the kernel's software events, not uncore boxes, which
    // Xenoprof cannot reach.
    if (pfm_get_pmu_info(static_cast<pfm_pmu_t>(pmu), &info) == PFM_SUCCESS && info.is_present &&
        info.type == PFM_PMU_TYPE_CORE) {
      pmus.push_back(info);
    }
  }
  return pmus;
}

// Of a select register's value, as on AMD and Intel: event in bits 7:0 (AMD: and 35:32), unit mask
// in 15:8 (AMD BKDG 31116 "PERF_CTL", Intel SDM "IA32_PERFEVTSELx").
EventCode code_of(std::uint64_t select) {
  return {.event_select = static_cast<std::uint32_t>((select & 0xff) | ((select >> 32 & 0xf) << 8)),
          .unit_mask = static_cast<std::uint32_t>(select >> 8 & 0xff)};
}

std::optional<EventCode> encode(const char* name) {
  pfm_pmu_encode_arg_t argument{};
  argument.size = sizeof(argument);
  const int status = pfm_get_os_event_encoding(name, PFM_PLM0 | PFM_PLM3, PFM_OS_NONE, &argument);
  std::optional<EventCode> code;
  if (status == PFM_SUCCESS && argument.count >= 1) {
    const std::uint64_t select = argument.codes[0];
    // Edge (18), invert (23) and counter mask (31:24) cannot be handed to Xenoprof, and it counts
    // in all modes (17:16): an event with such modifiers would count something else than it says.
    constexpr std::uint64_t kAllModes = 3u << 16;
    if ((select & 0xff840000u) == 0 && (select & kAllModes) == kAllModes) {
      code = code_of(select);
    }
  }
  std::free(argument.codes);  // the library allocated it
  return code;
}

// perf's rHEX: the value itself.
std::optional<EventCode> raw(std::string_view name) {
  constexpr std::uint64_t kCode = 0xf0000ffff;
  std::uint64_t select = 0;
  if (!name.starts_with('r') || name.size() < 2) {
    return std::nullopt;
  }
  const char* end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + 1, end, select, 16);
  if (error != std::errc() || stop != end || (select & ~kCode) != 0) {
    return std::nullopt;
  }
  return code_of(select);
}

const char* pfm_name(const EventAlias& alias) {
  for (const char* event : alias.events) {
    if (encode(event)) {
      return event;
    }
  }
  return nullptr;
}

std::string lower(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(), [](unsigned char c) { return std::tolower(c); });
  return result;
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replace = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replace});
    }
  }
  return row[b.size()];
}

// The known names that look most like `name`: names that contain it, then those with the fewest
// changed letters.
std::vector<std::string> nearest(std::string_view name) {
  std::vector<std::pair<std::size_t, std::string>> ranked;
  const std::string wanted = lower(name);
  for (const EventDescription& event : list_events().value_or(std::vector<EventDescription>())) {
    const std::string known = lower(event.name);
    const bool contains = known.contains(wanted) || wanted.contains(known);
    ranked.emplace_back(contains ? 0 : edit_distance(known, wanted), event.name);
  }
  std::ranges::stable_sort(ranked, {}, [](const auto& entry) { return entry.first; });
  std::vector<std::string> names;
  for (std::size_t i = 0; i < ranked.size() && i < 3; ++i) {
    names.push_back(ranked[i].second);
  }
  return names;
}

}  // namespace

Result<Event> parse_event(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  std::uint64_t count = 0;
  bool is_number = false;
  if (colon != std::string_view::npos) {
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data() + colon + 1, end, count);
    is_number = error == std::errc() && stop == end;
  }
  if (colon == 0 || !is_number) {
    return fail(
        "event '{}' must be NAME:COUNT, one sample each COUNT events, as in "
        "instructions:1000000",
        text);
  }
  Event event{.name = std::string(text.substr(0, colon)), .count = count};
  if (auto good = check_count(event); !good) {
    return std::unexpected(good.error());
  }
  return event;
}

Result<void> check_count(const Event& event) {
  if (event.count < XENOPROF_MIN_COUNT || event.count > XENOPROF_MAX_COUNT) {
    return fail(
        "event {}: the count is {} and must be between {} (a smaller one would spend the "
        "machine's time on sampling) and {} (the hypervisor's counters hold no more)",
        event.name, event.count, XENOPROF_MIN_COUNT, XENOPROF_MAX_COUNT);
  }
  return {};
}

Result<EventCode> encode_event(const std::string& name) {
  if (auto ready = initialise(); !ready) {
    return std::unexpected(ready.error());
  }
  for (const EventAlias& alias : kEventAliases) {
    if (name == alias.name) {
      const char* event = pfm_name(alias);
      if (event == nullptr) {
        return fail("this CPU has no event for '{}'; `xenoprof list` shows what it has", name);
      }
      return *encode(event);
    }
  }
  if (auto code = encode(name.c_str())) {
    return *code;
  }
  if (const auto code = raw(name)) {
    return *code;
  }
  return fail("unknown event '{}'; the nearest names are {}; `xenoprof list` shows all", name,
              fmt::join(nearest(name), ", "));
}

Result<std::vector<EventDescription>> list_events() {
  if (auto ready = initialise(); !ready) {
    return std::unexpected(ready.error());
  }
  std::vector<EventDescription> events;
  for (const EventAlias& alias : kEventAliases) {
    if (const char* event = pfm_name(alias)) {
      events.push_back({.name = alias.name, .meaning = alias.meaning, .alias_of = event});
    }
  }
  for (const pfm_pmu_info_t& pmu : present_pmus()) {
    for (int i = pmu.first_event; i != -1; i = pfm_get_event_next(i)) {
      pfm_event_info_t info{};
      info.size = sizeof(info);
      if (pfm_get_event_info(i, PFM_OS_NONE, &info) == PFM_SUCCESS) {
        events.push_back({.name = info.name, .meaning = info.desc ? info.desc : ""});
      }
    }
  }
  return events;
}

}  // namespace xenoprof
