// SPDX-License-Identifier: GPL-2.0-or-later
// session.json: who was recorded, when, and what was lost. It stands beside profile.pb.gz.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "model/result.h"

namespace xenoprof {

inline constexpr char kSessionFile[] = "session.json";
inline constexpr char kProfileFile[] = "profile.pb.gz";

// taken = delivered + all of lost.
struct EventTotals {
  std::string name;
  std::uint64_t count = 0;  // one sample each `count` events
  std::uint64_t taken = 0;
  std::uint64_t delivered = 0;
  // By cause: hypervisor-buffer, driver, perf-buffer, agent, disk.
  std::map<std::string, std::uint64_t> lost;
  // The hypervisor counts what it drops by buffer, not by counter. With several counters those
  // losses, and with them `taken`, are divided in proportion; the domain's sums stay exact.
  bool estimated = false;
};

struct DomainTotals {
  std::string name;
  std::uint32_t id = 0;
  std::string role;  // initiator, active or passive
  std::vector<EventTotals> events;
  // All samples that the hypervisor says it took in this domain; equals the sum of `taken` when
  // whole.
  std::uint64_t counted = 0;
  // False when the last word of the hypervisor's counts is missing: `taken` is then what is known
  // to have been taken at least.
  bool whole = true;
};

struct SessionRecord {
  std::string started;  // ISO 8601 with offset; empty when not known
  double seconds = 0;   // of recording
  std::string machine;  // what ran below: "Xen 4.17, AuthenticAMD family 10h"; may be empty
  std::string command;  // the command that was recorded, if one was given
  // What was done meanwhile, by unit ("MiB", "requests"): what costs are compared per.
  std::map<std::string, double> work;
  std::vector<std::string> notes;  // what went wrong without ending the session, a sentence each
  std::vector<DomainTotals> domains;
};

// As SessionRecord::started has it, in this system's time zone.
std::string iso_time(std::chrono::system_clock::time_point time);

std::string to_json(const SessionRecord& session);
Result<SessionRecord> session_from_json(std::string_view text);

Result<SessionRecord> read_session(const std::filesystem::path& path);

}  // namespace xenoprof
