// SPDX-License-Identifier: GPL-2.0-or-later
// The profiled domains as the initiator sees them, and its talk with those that take part. Whatever
// they say is checked: it may be a hostile guest's.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hypervisor/xen_domains.h"
#include "hypervisor/xenoprof_device.h"
#include "model/event.h"
#include "model/profile.h"
#include "session/channel.h"
#include "session/domain_data.h"
#include "session/wire.pb.h"

namespace xenoprof {

// A finished profile is the largest; unpacked, pprof's own limits hold.
inline constexpr std::size_t kLargestFromParticipant = std::size_t{16} << 20;

// What agents do first, as await() says it of those that do not.
inline constexpr std::string_view kAnswer = "answer";

struct Peer {
  Domain domain;
  std::unique_ptr<Connection> connection;  // none: gone, or passive
  std::string problem;                     // why it is gone
  // What it was asked last; each question is answered once.
  wire::ToParticipant::KindCase asked = wire::ToParticipant::KIND_NOT_SET;
  bool answered = false;
  Clock::time_point heard{};  // when its last message came
  std::string kernel;         // its release
  std::vector<Event> wishes;
  std::uint64_t record_bytes = 0;
  std::vector<VcpuTotals> totals;  // the last that were told
  // How its samples stood when it was last asked.
  std::optional<Profile> interim;
  std::uint64_t ring_lost = 0;
  // A peek is not one of the questions that the session waits for: others may overtake it.
  std::optional<Clock::time_point> peeked;  // under way since then
  Clock::time_point next_peek{};
  bool clock_asked = false;  // its clock, and it has not answered yet
  std::optional<wire::FromParticipant::Clock> clock;
  std::optional<Profile> profile;  // its own, with names, once it has finished
  std::vector<std::string> notes;
  std::optional<DomainData> data;

  // dom0 alone runs sessions.
  bool local() const { return domain.id == 0; }
  void drop(std::string why) {
    connection.reset();
    problem = std::move(why);
  }
};

class Peers {
 public:
  std::vector<Peer> active;  // dom0 first
  std::vector<Peer> passive;

  // What is counted: a profile of anything else is refused.
  void agreed(std::vector<Event> events) { events_ = std::move(events); }
  // From now on time allows for more and more records.
  void started();

  // Says `message` to `peer`, which then has it to answer.
  void ask(Peer& peer, const wire::ToParticipant& message);
  void ask_all(const wire::ToParticipant& message);
  // Asks how things stand those whose turn it is: seldom enough that neither they nor we spend much
  // of the time on it. True: somebody has answered since the last call.
  bool peek();
  // Asks for the TSC; Peer::clock is the answer, once it has come.
  void ask_clock(Peer& peer);
  // Takes the messages that come within `limit`; of one that never stops sending, some.
  void wait_for_messages(Clock::duration limit);
  // Waits until every active peer has answered or is gone; those that do not `what` within `limit`
  // are dropped. False: `cancelled`, which is asked several times a second.
  bool await(Clock::duration limit, std::string_view what, const std::function<bool()>& cancelled);

  // Somebody was dropped.
  bool any_gone() const;
  // Drops those that have yet to answer and have said nothing since `time`.
  void drop_silent(Clock::time_point time);

 private:
  void receive(Peer& peer);
  Result<void> take(Peer& peer, const wire::FromParticipant& message);
  Result<void> introduce(Peer& peer, const wire::FromParticipant::Introduction& introduction);
  Result<void> records(Peer& peer, const wire::FromParticipant::Records& records);
  Result<void> interim(Peer& peer, const wire::FromParticipant::Interim& interim);
  Result<void> finish(Peer& peer, const wire::FromParticipant::Finished& finished);

  std::vector<Event> events_;
  std::optional<Clock::time_point> started_;
  bool interim_came_ = false;
};

}  // namespace xenoprof
