// SPDX-License-Identifier: GPL-2.0-or-later
// The guests of a KVM host in a session of the host. The host's perf takes the samples of all; each
// guest's go to the agent in it, which knows whose they are. Where there is no agent, or where it
// fails, they are shown as they look from outside: nothing is lost with it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "hypervisor/kvm_machines.h"
#include "perf/clock_relation.h"
#include "perf/records.h"
#include "report/session_file.h"
#include "session/domain_data.h"
#include "session/initiator.h"
#include "session/peers.h"

namespace xenoprof {

struct GuestsRequest {
  std::vector<std::string> domains;  // those that must have an agent; "all": every one
  std::vector<std::string> passive;  // those whose agents are left alone
  std::map<std::string, std::filesystem::path> kernel_symbols;  // of a guest without agent
  bool allow_missing = false;
  // The agents sample with perf events of their guests' own.
  bool guest_sampling = false;
};

class KvmGuests {
 public:
  // The machines that run now; none is no error.
  static Result<KvmGuests> find(const GuestsRequest& request);

  bool any() const { return !guests_.empty(); }
  // Dials the agents and has them ready, with all that they record kept in `output`.
  Result<void> begin(const perf::Layout& layout, const std::filesystem::path& output,
                     const Cancelled& cancelled);

  // Each record of the host's, in the order of their times.
  void take(perf::Bytes record);
  // Sends what has been taken, hears what the agents say; `complete_to`: the recorder's
  // handed_out().
  void pump(std::uint64_t complete_to);
  // After the last record: the agents finish.
  void end();

  // The machines by the numbers of the host's processes that serve them.
  std::unordered_map<std::int32_t, std::string> by_process() const;
  // Samples of each event that were taken of guests' code.
  std::vector<std::uint64_t> taken() const;
  void progress(SessionProgress& now) const;
  // Adds each guest's profile and totals; `served` is the host's profile, which has what was done
  // for the guests, and `host` its records. False: a part is missing; the notes say which.
  bool conclude(DomainData& host, const Profile& served, Profile& merged, SessionRecord& record);

 private:
  struct Guest {
    KvmMachine machine;
    std::optional<std::size_t> peer;  // index into Peers::active; none: no agent
    std::vector<TscRelation> clocks;  // by vCPU, as in the machine
    wire::ToParticipant waiting;      // samples to be sent
  };
  struct Place {
    std::size_t guest = 0;
    std::size_t vcpu = 0;
  };

  explicit KvmGuests(GuestsRequest request) : request_(std::move(request)) {}
  void add(KvmMachine machine);
  void add_vcpus(std::size_t guest);
  // Samples of its code, by event.
  std::vector<std::uint64_t> taken_of(const Guest& guest) const;
  Result<void> dial(Guest& guest);
  Result<void> settle_missing();
  Result<void> prepare(const Cancelled& cancelled);
  bool must_take_part(const std::string& name) const;
  // A machine or vCPU that has come to be since, if `thread` is of one.
  const Place* find_again(std::int32_t thread);
  void read_clocks(Guest& guest);
  void send(Guest& guest, bool due);
  Peer* connected(const Guest& guest);

  GuestsRequest request_;
  perf::Layout layout_;  // of what the agents record
  std::filesystem::path output_;
  std::vector<Guest> guests_;
  std::unordered_map<std::int32_t, Place> vcpus_;  // by the host's thread
  // Samples of guests' code, by the process whose guest it is and by event: also of machines that
  // are not known yet.
  std::unordered_map<std::int32_t, std::vector<std::uint64_t>> taken_;
  Peers peers_;
  perf::ClockRelation tsc_of_raw_;  // the host's
  std::uint64_t complete_to_ = 0;   // raw clock; 0: not known yet
  Clock::time_point sent_{};
  Clock::time_point clocks_read_{};
  Clock::time_point searched_{};
  std::vector<std::string> notes_;
  bool missing_ = false;
};

}  // namespace xenoprof
