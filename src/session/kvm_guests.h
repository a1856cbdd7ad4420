// SPDX-License-Identifier: GPL-2.0-or-later
// The guests of a KVM host in a session of the host. The host's perf takes the samples of all; each
// guest's go to the agent in it, which knows whose they are. Where there is no agent, or where it
// fails, they are shown as they look from outside: nothing is lost with it.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "hypervisor/kvm_machines.h"
#include "perf/interpret.h"
#include "perf/record_parser.h"
#include "perf/records.h"
#include "report/session_file.h"
#include "session/domain_data.h"
#include "session/guest_clock.h"
#include "session/initiator.h"
#include "session/peers.h"
#include "symbols/resolve.h"

namespace xenoprof {

// Who takes samples of a guest with an agent.
enum class GuestSampling : std::uint8_t {
  kByHost,
  kByGuest,  // the agent, with perf events of its guest's own
  kByBoth,   // the host's tell how much, the guest's own, as events NAME@guest, have call chains
};

struct GuestsRequest {
  std::vector<std::string> domains;  // those that must have an agent; "all": every one
  std::vector<std::string> passive;  // those whose agents are left alone
  std::map<std::string, KernelList> kernel_symbols;  // of a guest without agent
  bool allow_missing = false;
  GuestSampling sampling = GuestSampling::kByHost;
};

// How long an agent may take: over a step, over its last words, and until it says anything once it
// was asked for those. Generous: an emulated or busy guest is slow, and resolving names reads every
// image that was sampled.
struct AgentLimits {
  Clock::duration step = std::chrono::seconds(15);
  Clock::duration finish = std::chrono::seconds(60);
  Clock::duration sign_of_life = std::chrono::seconds(15);
};

class KvmGuests {
 public:
  // The machines that run now; none is no error. `root`: where proc and sys are.
  static Result<KvmGuests> find(const GuestsRequest& request, std::filesystem::path root = "/",
                                const AgentLimits& limits = {});

  bool any() const { return !guests_.empty(); }
  // Dials the agents and has them ready, with all that they record kept in `output`, which outlives
  // this, unless it is null. `live`: look() will be called.
  Result<void> begin(const perf::Layout& layout, const Folder* output, bool live,
                     const Cancelled& cancelled);

  // Each record of the host's, in the order of their times.
  void take(perf::Bytes record);
  // Sends what has been taken, hears what the agents say; `complete_to`: the recorder's
  // handed_out().
  void pump(std::uint64_t complete_to);
  // Adds what is known so far of the guests' samples.
  void look(Profile& profile);
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
    GuestClock clock;
    wire::ToParticipant waiting;  // samples to be sent
    // In a live session: its samples as they look from outside.
    std::optional<perf::Interpreter> outside;
    std::optional<NamesInPassing> names;
  };
  struct Place {
    std::size_t guest = 0;
    std::size_t vcpu = 0;
  };

  KvmGuests(GuestsRequest request, std::filesystem::path root, const AgentLimits& limits)
      : request_(std::move(request)), root_(std::move(root)), limits_(limits) {}
  // That those asked for are there, and for one thing only.
  Result<void> check_names() const;
  void add(KvmMachine machine);
  void add_vcpus(std::size_t guest);
  // Samples of its code, by event.
  std::vector<std::uint64_t> taken_of(const Guest& guest) const;
  bool samples_itself_only(const Guest& guest) const {
    return request_.sampling == GuestSampling::kByGuest && guest.peer;
  }
  bool is_told_more_than_taken(const Guest& guest, const Profile& told) const;
  // `served`: samples of what was done for it, by event; null: none.
  std::vector<EventTotals> totals_of(const Guest& guest, const Profile& own,
                                     const std::vector<std::uint64_t>* served, bool finished,
                                     bool by_interim) const;
  void dial_all();
  void greet(Guest& guest, std::unique_ptr<Channel> channel);
  Result<void> settle_missing();
  const char* without_agent() const {
    return request_.sampling == GuestSampling::kByGuest ? "not sampled, unless by a clock"
                                                        : "seen from outside only";
  }
  Result<void> prepare(const Cancelled& cancelled);
  bool must_take_part(const std::string& name) const;
  bool may_take_part(const std::string& name) const;
  // A machine or vCPU that has come to be since, if `thread` is of one.
  const Place* find_again(std::int32_t thread);
  // While samples are taken an agent without it is dropped; before, it is asked.
  void read_clock(Guest& guest);
  void learn_clock(Guest& guest, const Cancelled& cancelled);
  // In a live session.
  void watch(Guest& guest);
  SymbolSources symbols_of(const Guest& guest) const;
  void send(Guest& guest, bool due);
  Peer* connected(const Guest& guest);

  GuestsRequest request_;
  std::filesystem::path root_;
  AgentLimits limits_;
  perf::Layout layout_;  // of what the host records
  perf::Layout agents_;  // of what the agents record: the host's events are the last
  const Folder* output_ = nullptr;
  std::optional<perf::RecordParser> parser_;  // in a live session
  std::vector<Guest> guests_;
  std::unordered_map<std::int32_t, Place> vcpus_;  // by the host's thread
  // Samples of guests' code, by the process whose guest it is and by event: also of machines that
  // are not known yet.
  std::unordered_map<std::int32_t, std::vector<std::uint64_t>> taken_;
  Peers peers_;
  HostClock host_clock_;
  std::uint64_t complete_to_ = 0;  // raw clock; 0: not known yet
  Clock::time_point sent_{};
  Clock::time_point clocks_read_{};
  Clock::time_point searched_{};
  std::unordered_set<std::int32_t> searched_for_;  // threads, since then
  int searched_at_once_ = 0;                       // times, since then
  std::vector<std::string> notes_;
  bool taking_ = false;  // samples
  bool missing_ = false;
};

}  // namespace xenoprof
