// SPDX-License-Identifier: GPL-2.0-or-later
#include "session/peers.h"

#include <poll.h>

#include <algorithm>
#include <utility>

#include "hypervisor/event_codes.h"
#include "model/text.h"
#include "pprof/pprof.h"
#include "session/accounting.h"
#include "session/protocol.h"
#include "session/wishes.h"

namespace xenoprof {
namespace {

using namespace std::chrono_literals;

constexpr auto kPollEvery = 100ms;
// What a connection did not take at once is tried again after so long.
constexpr auto kRetry = 2ms;

// So that a guest that floods dom0 holds up neither the others nor the end of the session.
constexpr int kMostMessagesAtOnce = 64;
// What a participant may send: the processes and mappings that there were before, and some hundred
// thousand samples a second, more if it has many vCPUs. Bounds what a hostile one costs in memory
// and disk.
constexpr double kRecordBytes = 64e6;
constexpr double kRecordBytesPerSecond = 16e6;  // for each four vCPUs
// At least between two looks at how a domain stands, and how many times as long as the last took:
// that bounds what they add to what is measured.
constexpr auto kPeekEvery = 2s;
constexpr auto kFirstPeek = 1s;  // when there is something to be told
constexpr int kPeekPause = 5;
// Of a participant's remarks; more are not read.
constexpr int kMaxNotes = 20;

// What a participant says reaches the user's terminal: no control characters, no endless text.
std::string one_line(std::string_view text) {
  constexpr std::size_t kLongest = 300;
  return printable(text.substr(0, kLongest));
}

// The question that a message answers; none for those that come unasked.
wire::ToParticipant::KindCase question(wire::FromParticipant::KindCase answer) {
  switch (answer) {
    case wire::FromParticipant::kIntroduction:
      return wire::ToParticipant::kHello;
    case wire::FromParticipant::kPrepared:
      return wire::ToParticipant::kPrepare;
    case wire::FromParticipant::kArmed:
      return wire::ToParticipant::kArm;
    case wire::FromParticipant::kFinished:
      return wire::ToParticipant::kStop;
    default:
      return wire::ToParticipant::KIND_NOT_SET;
  }
}

}  // namespace

void Peers::ask(Peer& peer, const wire::ToParticipant& message) {
  if (!peer.connection) {
    return;
  }
  peer.asked = message.kind_case();
  peer.answered = false;
  if (auto sent = peer.connection->post(message); !sent) {
    peer.drop(sent.error().message);
  }
}

void Peers::ask_all(const wire::ToParticipant& message) {
  for (Peer& peer : active) {
    ask(peer, message);
  }
}

void Peers::started() {
  started_ = Clock::now();
  for (Peer& peer : active) {
    peer.next_peek = *started_ + kFirstPeek;
  }
}

bool Peers::peek() {
  wire::ToParticipant message;
  message.mutable_peek();
  const auto now = Clock::now();
  for (Peer& peer : active) {
    if (peer.connection && !peer.peeked && now >= peer.next_peek) {
      peer.peeked = now;
      if (auto sent = peer.connection->post(message); !sent) {
        peer.drop(sent.error().message);
      }
    }
  }
  return std::exchange(interim_came_, false);
}

void Peers::ask_clock(Peer& peer) {
  wire::ToParticipant message;
  message.mutable_clock();
  peer.clock_asked = true;
  peer.clock.reset();
  if (auto sent = peer.connection->post(message); !sent) {
    peer.drop(sent.error().message);
  }
}

void Peers::wait_for_messages(Clock::duration limit) {
  std::vector<pollfd> wanted;
  for (const Peer& peer : active) {
    if (peer.connection) {
      if (peer.connection->unsent() != 0) {
        limit = std::min<Clock::duration>(limit, kRetry);
      }
      wanted.push_back({.fd = peer.connection->fd(), .events = POLLIN, .revents = 0});
    }
  }
  const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(limit).count();
  ::poll(wanted.data(), wanted.size(), static_cast<int>(milliseconds));
  for (Peer& peer : active) {
    if (peer.connection) {
      peer.connection->wait(0ms);
      if (auto sent = peer.connection->flush(); !sent) {
        peer.drop(sent.error().message);
        continue;
      }
      receive(peer);
    }
  }
}

bool Peers::await(Clock::duration limit, std::string_view what,
                  const std::function<bool()>& cancelled) {
  const auto deadline = Clock::now() + limit;
  const auto waiting = [](const Peer& peer) { return peer.connection && !peer.answered; };
  while (std::ranges::any_of(active, waiting) && Clock::now() < deadline) {
    if (cancelled()) {
      return false;
    }
    wait_for_messages(std::clamp<Clock::duration>(deadline - Clock::now(), 0ms, kPollEvery));
  }
  for (Peer& peer : active) {
    if (waiting(peer)) {
      peer.drop(fmt::format("its agent did not {} within {} s{}", what,
                            std::chrono::duration_cast<std::chrono::seconds>(limit).count(),
                            what == kAnswer ? " (stopped, busy, or in another session)" : ""));
    }
  }
  return true;
}

bool Peers::any_gone() const {
  return std::ranges::any_of(active, [](const Peer& peer) { return !peer.connection; });
}

void Peers::drop_silent(Clock::time_point time) {
  for (Peer& peer : active) {
    if (peer.connection && !peer.answered && peer.heard < time) {
      peer.drop("its agent says nothing");
    }
  }
}

void Peers::receive(Peer& peer) {
  for (int i = 0; i < kMostMessagesAtOnce && peer.connection; ++i) {
    const auto bytes = peer.connection->receive();
    if (!bytes) {
      peer.drop(bytes.error().message);
      return;
    }
    if (!bytes->has_value()) {
      return;
    }
    peer.heard = Clock::now();
    wire::FromParticipant message;
    if (!message.ParseFromString(**bytes)) {
      peer.drop("its agent sent a message that cannot be read");
      return;
    }
    if (auto taken = take(peer, message); !taken) {
      peer.drop(taken.error().message);
    }
  }
}

Result<void> Peers::take(Peer& peer, const wire::FromParticipant& message) {
  const auto answered = question(message.kind_case());
  if (answered != wire::ToParticipant::KIND_NOT_SET) {
    if (peer.asked != answered || peer.answered) {
      return fail("its agent answered what it was not asked");
    }
    peer.answered = true;
  }
  switch (message.kind_case()) {
    case wire::FromParticipant::kIntroduction:
      return introduce(peer, message.introduction());
    case wire::FromParticipant::kPrepared:
    case wire::FromParticipant::kArmed:
      return {};
    case wire::FromParticipant::kRecords:
      return records(peer, message.records());
    case wire::FromParticipant::kTotals: {
      auto totals = totals_from_wire(message.totals());
      if (!totals) {
        return std::unexpected(totals.error());
      }
      if (peer.profile) {
        return fail("its agent went on after it had finished");
      }
      peer.totals = std::move(*totals);
      return {};
    }
    case wire::FromParticipant::kInterim:
      return interim(peer, message.interim());
    case wire::FromParticipant::kClock:
      if (!std::exchange(peer.clock_asked, false)) {
        return fail("its agent answered what it was not asked");
      }
      peer.clock = message.clock();
      return {};
    case wire::FromParticipant::kFinished:
      return finish(peer, message.finished());
    case wire::FromParticipant::kFailure:
      return fail("{}", one_line(message.failure()));
    case wire::FromParticipant::KIND_NOT_SET:
      break;
  }
  return fail("its agent sent a message of an unknown kind: install the same xenoprof in both");
}

Result<void> Peers::introduce(Peer& peer, const wire::FromParticipant::Introduction& introduction) {
  if (introduction.initiator() != peer.local()) {
    return fail("the hypervisor takes another domain than dom0 for the initiator");
  }
  if (introduction.version() != kProtocolVersion) {
    return fail(
        "its agent speaks version {} and this command version {}: install the same "
        "xenoprof in both",
        introduction.version(), kProtocolVersion);
  }
  if (introduction.wishes_size() > static_cast<int>(kMaxCounters)) {
    return fail("its agent wants {} events, more than any CPU counts at a time",
                introduction.wishes_size());
  }
  peer.kernel = one_line(introduction.kernel());
  peer.wishes = events_from_wire(introduction.wishes());
  for (Event& wish : peer.wishes) {
    wish.name = one_line(wish.name);
    const auto known = encode_event(wish.name);
    auto good = known ? check_count(wish) : std::unexpected(known.error());
    if (good && wish.count < kLeastWished) {
      good = fail("{}:{} is a sample too often for a guest to ask for: {} or more", wish.name,
                  wish.count, kLeastWished);
    }
    if (!good) {
      return fail("its agent's wish cannot be met: {}", good.error().message);
    }
  }
  return {};
}

Result<void> Peers::records(Peer& peer, const wire::FromParticipant::Records& records) {
  Peer* owner = &peer;
  if (records.has_passive_domain()) {
    const auto found = std::ranges::find(passive, records.passive_domain(),
                                         [](const Peer& one) { return one.domain.id; });
    // Only the hypervisor's own domain is given the samples of others.
    if (!peer.local() || found == passive.end()) {
      return fail("its agent sent samples of another domain");
    }
    owner = &*found;
  }
  if (!owner->data) {
    return fail("its agent sent samples before it was asked");
  }
  if (peer.profile) {
    return fail("its agent went on after it had finished");
  }
  peer.record_bytes += records.data().size();
  const auto seconds =
      started_ ? std::chrono::duration<double>(Clock::now() - *started_).count() : 0.0;
  // The local one's are this program's own, and those of the passive domains with them.
  const double most =
      kRecordBytes + seconds * kRecordBytesPerSecond * std::max(peer.domain.vcpus / 4, 1u);
  if (!peer.local() && static_cast<double>(peer.record_bytes) > most) {
    return fail("its agent sends more records than any domain has samples");
  }
  return owner->data->add(records.data());
}

Result<void> Peers::interim(Peer& peer, const wire::FromParticipant::Interim& interim) {
  if (!peer.peeked) {
    return fail("its agent answered what it was not asked");
  }
  auto totals = totals_from_wire(interim.totals());
  if (!totals) {
    return std::unexpected(totals.error());
  }
  auto profile = pprof::decode(interim.profile());
  if (!profile) {
    return fail("its agent sent a profile that cannot be read: {}", profile.error().message);
  }
  if (profile->events() != events_) {
    return fail("its agent sent a profile of other events");
  }
  if (peer.profile) {
    return fail("its agent went on after it had finished");
  }
  if (interim.ring_lost() > kMostSamples) {
    return fail("its agent tells of more lost samples than can be");
  }
  peer.totals = std::move(*totals);
  peer.interim = std::move(*profile);
  peer.ring_lost = interim.ring_lost();
  const auto now = Clock::now();
  peer.next_peek = std::max<Clock::time_point>(*peer.peeked + kPeekEvery,
                                               now + kPeekPause * (now - *peer.peeked));
  peer.peeked.reset();
  interim_came_ = true;
  return {};
}

Result<void> Peers::finish(Peer& peer, const wire::FromParticipant::Finished& finished) {
  auto totals = totals_from_wire(finished.totals());
  if (!totals) {
    return std::unexpected(totals.error());
  }
  auto profile = pprof::decode(finished.profile());
  if (!profile) {
    return fail("its agent sent a profile that cannot be read: {}", profile.error().message);
  }
  if (profile->events() != events_) {
    return fail("its agent sent a profile of other events");
  }
  // It was made of the records that came before.
  if (!peer.data || !is_within(*profile, peer.data->arrived())) {
    return fail("its agent tells of more samples than it sent");
  }
  if (finished.ring_lost() > kMostSamples) {
    return fail("its agent tells of more lost samples than can be");
  }
  for (int i = 0; i < std::min(finished.notes_size(), kMaxNotes); ++i) {
    peer.notes.push_back(one_line(finished.notes(i)));
  }
  peer.totals = std::move(*totals);
  peer.profile = std::move(*profile);
  peer.ring_lost = finished.ring_lost();
  return {};
}

}  // namespace xenoprof
