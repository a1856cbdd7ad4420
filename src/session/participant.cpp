// SPDX-License-Identifier: GPL-2.0-or-later
#include "session/participant.h"

#include <sys/utsname.h>

#include <chrono>
#include <optional>
#include <string>
#include <utility>

#include "perf/interpret.h"
#include "perf/record_parser.h"
#include "perf/recorder.h"
#include "pprof/pprof.h"
#include "session/outline.h"
#include "session/protocol.h"
#include "symbols/resolve.h"

namespace xenoprof {
namespace {

using namespace std::chrono_literals;

// While profiling: how often the rings are emptied, and how much and how long records are kept
// back so that sending them does not itself show up in the profile.
constexpr auto kDrainEvery = 100ms;
constexpr auto kSendEvery = 1s;
constexpr std::size_t kSendAtOnce = 64 * 1024;
// An initiator that takes nothing for so long is as good as gone.
constexpr auto kSendLimit = 20s;
// How long the hypervisor may need to forget a session whose holder died.
constexpr auto kArmLimit = 3s;

// One session's worth of state; begun anew by each Prepare.
class Participation {
 public:
  Participation(Connection& initiator, XenoprofDevice& device)
      : initiator_(initiator), device_(device) {}

  Result<void> prepare(const wire::ToParticipant::Prepare& request);
  Result<void> arm();
  // Hands on what has come; to be called now and then while armed.
  Result<void> pump();
  Result<void> peek();
  Result<void> stop();

  bool armed() const { return armed_; }

 private:
  // The records of one domain that wait to be sent.
  struct Outgoing {
    std::optional<std::uint16_t> passive_domain;
    std::string data;
  };

  void take(std::uint16_t domain, perf::Bytes record);
  perf::Sink sink() {
    return [this](std::uint16_t domain, perf::Bytes record) { take(domain, record); };
  }
  Result<void> send_records(bool all);
  Result<void> send(const wire::FromParticipant& message) {
    return initiator_.send(message, kSendLimit);
  }

  Connection& initiator_;
  XenoprofDevice& device_;
  std::optional<perf::Recorder> recorder_;
  std::optional<perf::RecordParser> parser_;
  std::optional<perf::Interpreter> interpreter_;
  std::optional<NamesInPassing> names_;  // in a live session
  std::vector<Outgoing> outgoing_;       // own records first
  Clock::time_point sent_{};
  std::optional<Error> bad_record_;
  bool armed_ = false;
};

Result<void> Participation::prepare(const wire::ToParticipant::Prepare& request) {
  if (armed_) {
    // A session begun again without a domain that did not arm.
    armed_ = false;
    if (auto done = device_.disarm(); !done) {
      return done;
    }
  }
  const perf::Layout layout{.events = events_from_wire(request.events()),
                            .call_chains = request.call_chains()};
  if (layout.events.empty() || layout.events.size() > kMaxCounters) {
    return fail("the initiator asked for {} events, 1 to {} can be", layout.events.size(),
                kMaxCounters);
  }
  recorder_.reset();
  auto recorder = perf::Recorder::open({.layout = layout});
  if (!recorder) {
    return std::unexpected(recorder.error());
  }
  recorder_ = std::move(*recorder);
  parser_.emplace(layout);
  interpreter_.emplace(layout);
  names_.reset();
  if (request.live()) {
    // Xen's own names are dom0's to give: the initiator looks them up for everybody.
    names_.emplace(SymbolSources{.xensyms = {}});
    names_->read_ahead();
  }
  outgoing_.assign(1, {});
  bad_record_.reset();
  wire::FromParticipant answer;
  answer.mutable_prepared();
  return send(answer);
}

Result<void> Participation::arm() {
  if (!recorder_ || armed_) {
    return fail("the initiator asked to arm before it said for what");
  }
  if (auto started = recorder_->start(sink()); !started) {
    return started;
  }
  const auto deadline = Clock::now() + kArmLimit;
  for (;;) {
    const auto armed = device_.arm();
    if (!armed) {
      return std::unexpected(armed.error());
    }
    if (*armed == XenoprofDevice::Armed::kYes) {
      break;
    }
    if (Clock::now() >= deadline) {
      return *armed == XenoprofDevice::Armed::kBusy
                 ? fail(
                       "the hypervisor still holds this domain's part of an earlier session, or "
                       "its counters serve a vPMU")
                 : fail("the hypervisor does not list this domain as active");
    }
    initiator_.wait(50ms);
    // Gone, perhaps: whoever dials next must not get the answer to a question of another session.
    if (const auto message = initiator_.receive(); !message) {
      return std::unexpected(message.error());
    } else if (*message) {
      return fail("the initiator spoke before this domain had armed");
    }
  }
  armed_ = true;
  sent_ = Clock::now();
  wire::FromParticipant answer;
  answer.mutable_armed();
  return send(answer);
}

void Participation::take(std::uint16_t domain, perf::Bytes record) {
  Outgoing* out = &outgoing_.front();
  if (domain == perf::kOwnDomain) {
    if (auto parsed = parser_->parse(record)) {
      interpreter_->add(*parsed);
    } else if (!bad_record_) {
      bad_record_ = parsed.error();
    }
  } else {
    const auto found =
        std::ranges::find(outgoing_, std::optional(domain), &Outgoing::passive_domain);
    if (found != outgoing_.end()) {
      out = &*found;
    } else {
      out = &outgoing_.emplace_back();
      out->passive_domain = domain;
    }
  }
  out->data.append(reinterpret_cast<const char*>(record.data()), record.size());
}

Result<void> Participation::send_records(bool all) {
  const bool due = all || Clock::now() - sent_ >= kSendEvery;
  for (Outgoing& out : outgoing_) {
    if (out.data.empty() || (!due && out.data.size() < kSendAtOnce)) {
      continue;
    }
    // Cut at record boundaries: each message holds whole records only.
    const perf::Bytes bytes = std::as_bytes(std::span(out.data));
    std::size_t begin = 0;
    for (std::size_t end = 0; end < bytes.size();) {
      const auto record = perf::first_record(bytes.subspan(end));
      if (!record) {
        return std::unexpected(record.error());
      }
      end += record->size();
      if (end - begin >= kSendAtOnce || end == bytes.size()) {
        wire::FromParticipant message;
        message.mutable_records()->set_data(out.data.substr(begin, end - begin));
        if (out.passive_domain) {
          message.mutable_records()->set_passive_domain(*out.passive_domain);
        }
        if (auto sent = send(message); !sent) {
          return sent;
        }
        begin = end;
      }
    }
    out.data.clear();
  }
  if (!due || all) {
    return {};
  }
  sent_ = Clock::now();
  const auto totals = device_.own_totals();
  if (!totals) {
    return std::unexpected(totals.error());
  }
  wire::FromParticipant message;
  to_wire(*totals, *message.mutable_totals());
  return send(message);
}

Result<void> Participation::pump() {
  if (auto waited = recorder_->wait(kDrainEvery); !waited) {
    return waited;
  }
  recorder_->drain(sink());
  return send_records(false);
}

Result<void> Participation::peek() {
  if (!armed_ || !names_) {
    return fail("the initiator asked how things stand in a session that is not live");
  }
  names_->name(interpreter_->profile());
  wire::FromParticipant message;
  auto& interim = *message.mutable_interim();
  interim.set_profile(pprof::encode(outline(interpreter_->profile())));
  interim.set_ring_lost(recorder_->losses().samples);
  // After the profile: never fewer samples than that has.
  const auto totals = device_.own_totals();
  if (!totals) {
    return std::unexpected(totals.error());
  }
  to_wire(*totals, *interim.mutable_totals());
  return send(message);
}

Result<void> Participation::stop() {
  if (!armed_) {
    return fail("the initiator asked to stop what had not begun");
  }
  armed_ = false;
  if (auto done = device_.disarm(); !done) {
    return done;
  }
  recorder_->stop(sink());
  if (bad_record_) {
    return std::unexpected(*bad_record_);
  }
  if (auto sent = send_records(true); !sent) {
    return sent;
  }
  const auto totals = device_.own_totals();
  if (!totals) {
    return std::unexpected(totals.error());
  }
  wire::FromParticipant message;
  auto& finished = *message.mutable_finished();
  to_wire(*totals, *finished.mutable_totals());
  for (const std::string& note : resolve(interpreter_->profile(), {.xensyms = {}})) {
    finished.add_notes(note);
  }
  if (const auto losses = recorder_->losses(); losses.sideband != 0) {
    finished.add_notes(
        fmt::format("{} records of mappings and names were lost: some samples of new "
                    "processes have no image",
                    losses.sideband));
  }
  finished.set_profile(pprof::encode(interpreter_->profile()));
  return send(message);
}

Result<void> introduce(Connection& initiator, const XenoprofDevice& device,
                       const std::vector<Event>& wishes) {
  const auto info = device.info();
  if (!info) {
    return std::unexpected(info.error());
  }
  utsname system{};
  ::uname(&system);
  wire::FromParticipant message;
  auto& introduction = *message.mutable_introduction();
  introduction.set_version(kProtocolVersion);
  introduction.set_kernel(system.release);
  introduction.set_initiator(info->initiator);
  to_wire(wishes, *introduction.mutable_wishes());
  return initiator.send(message, kSendLimit);
}

Result<void> answer(const wire::ToParticipant& message, Participation& part, Connection& initiator,
                    XenoprofDevice& device, const std::vector<Event>& wishes) {
  switch (message.kind_case()) {
    case wire::ToParticipant::kHello:
      if (message.hello().version() != kProtocolVersion) {
        return fail(
            "the initiator speaks version {} and this agent version {}: install the same "
            "xenoprof in both",
            message.hello().version(), kProtocolVersion);
      }
      return introduce(initiator, device, wishes);
    case wire::ToParticipant::kPrepare:
      return part.prepare(message.prepare());
    case wire::ToParticipant::kArm:
      return part.arm();
    case wire::ToParticipant::kPeek:
      return part.peek();
    case wire::ToParticipant::kStop:
      return part.stop();
    case wire::ToParticipant::KIND_NOT_SET:
      break;
  }
  return fail("the initiator sent a message of an unknown kind: install the same xenoprof in both");
}

}  // namespace

Result<void> refuse(Connection& initiator, const Error& why) {
  wire::FromParticipant message;
  message.set_failure(why.message);
  (void)initiator.send(message, 1s);
  return std::unexpected(why);
}

Result<void> participate(Connection& initiator, XenoprofDevice& device,
                         const std::vector<Event>& wishes) {
  Participation part(initiator, device);
  for (;;) {
    const auto bytes = initiator.receive();
    if (!bytes) {
      // Hanging up is how a session ends.
      return part.armed() ? Result<void>(std::unexpected(bytes.error())) : Result<void>();
    }
    if (bytes->has_value()) {
      wire::ToParticipant message;
      if (!message.ParseFromString(**bytes)) {
        return refuse(initiator, {"the initiator sent a message that cannot be read"});
      }
      if (auto done = answer(message, part, initiator, device, wishes); !done) {
        return refuse(initiator, done.error());
      }
    } else if (part.armed()) {
      if (auto pumped = part.pump(); !pumped) {
        return refuse(initiator, pumped.error());
      }
    } else {
      initiator.wait(500ms);
    }
  }
}

}  // namespace xenoprof
