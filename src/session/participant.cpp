// SPDX-License-Identifier: GPL-2.0-or-later
#include "session/participant.h"

#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

#include "hypervisor/apic_ids.h"
#include "perf/clock_relation.h"
#include "perf/interpret.h"
#include "perf/kvm_ptp_clock.h"
#include "perf/record_parser.h"
#include "perf/recorder.h"
#include "pprof/pprof.h"
#include "session/outline.h"
#include "session/protocol.h"
#include "session/task_timeline.h"
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
// Of mappings, names and context switches, for each CPU: two seconds of 20,000 switches a second.
constexpr std::size_t kRingWithSwitches = std::size_t{2} << 20;
// How long the hypervisor may need to forget a session whose holder died.
constexpr auto kArmLimit = 3s;
// Records that wait for the host's samples of their time. A host that is so far behind is not
// waited for.
constexpr std::size_t kMostWaiting = std::size_t{64} << 20;
// The same and the host's samples together: of a host that goes on sending what is not due yet, no
// more is taken.
constexpr std::size_t kMostKept = 2 * kMostWaiting;

// Lets every CPU switch once, so that it is known who runs there: also those that this process does
// without by choice, but not those that it may not use (cpuset).
void switch_everywhere() {
  cpu_set_t before;
  if (::sched_getaffinity(0, sizeof before, &before) != 0) {
    return;
  }
  for (int cpu = 0; cpu < CPU_SETSIZE && cpu < ::sysconf(_SC_NPROCESSORS_CONF); ++cpu) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    if (::sched_setaffinity(0, sizeof one, &one) == 0) {
      ::usleep(1);  // or the CPU that this process is on already would not switch
    }
  }
  ::sched_setaffinity(0, sizeof before, &before);
}

// Samples that the host took, on their way into this system's records.
struct HostSamples {
  explicit HostSamples(const perf::Layout& layout)
      : first_event(layout.countings.size()),
        events(layout.events.size() - first_event),
        timeline(layout) {}

  std::size_t first_event;  // of the layout's: this system's own are before
  std::size_t events;
  TaskTimeline timeline;
  perf::ClockRelation raw_of_tsc{1'000'000};  // ticks
  std::unordered_map<std::uint32_t, std::uint32_t> cpus = cpus_by_apic_id();
  Clock::time_point cpus_read = Clock::now();
  std::uint64_t complete_to = 0;  // raw clock: older ones do not follow

  // Also of one that came online since.
  std::optional<std::uint32_t> cpu_of(std::uint32_t apic_id) {
    constexpr auto kReadEvery = 1s;
    if (!cpus.contains(apic_id) && Clock::now() - cpus_read >= kReadEvery) {
      cpus = cpus_by_apic_id();
      cpus_read = Clock::now();
    }
    const auto found = cpus.find(apic_id);
    return found != cpus.end() ? std::optional(found->second) : std::nullopt;
  }

  void look() {
    const perf::TscLook now = perf::look_at_tsc();
    raw_of_tsc.add(now.tsc, now.raw);
  }
};

// One session's worth of state; begun anew by each Prepare.
class Participation {
 public:
  Participation(Connection& initiator, XenoprofDevice* device)
      : initiator_(initiator), device_(device) {}

  Result<void> prepare(const wire::ToParticipant::Prepare& request);
  Result<void> arm();
  // Hands on what has come; to be called now and then while armed.
  Result<void> pump();
  Result<void> peek();
  Result<void> samples(const wire::ToParticipant::Samples& samples);
  Result<void> tell_clock();
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
  Result<void> open_recorder(const wire::ToParticipant::Prepare& request);
  Result<void> arm_device();
  // From the rings, with the host's samples among it where those come from there.
  void hand_out(bool all);
  Result<void> send_records(bool all);
  Result<std::vector<VcpuTotals>> totals() const {
    return device_ != nullptr ? device_->own_totals() : std::vector<VcpuTotals>();
  }
  Result<void> send(const wire::FromParticipant& message) {
    return initiator_.send(message, kSendLimit);
  }

  Connection& initiator_;
  XenoprofDevice* device_;
  std::optional<perf::Recorder> recorder_;
  std::optional<HostSamples> host_samples_;
  std::optional<perf::RecordParser> parser_;
  std::optional<perf::Interpreter> interpreter_;
  std::optional<NamesInPassing> names_;  // in a live session
  std::vector<Outgoing> outgoing_;       // own records first
  Clock::time_point sent_{};
  std::optional<Error> bad_record_;
  bool armed_ = false;
};

Result<void> Participation::open_recorder(const wire::ToParticipant::Prepare& request) {
  perf::Layout layout{.events = events_from_wire(request.events()),
                      .call_chains = request.call_chains()};
  if (layout.events.empty() || layout.events.size() > kMaxCounters) {
    return fail("{} events are asked for, an agent takes part in sessions of {} at most",
                layout.events.size(), kMaxCounters);
  }
  if ((request.sampling() == wire::ToParticipant::Prepare::HYPERVISOR) != (device_ != nullptr)) {
    return fail("the initiator and this domain are not of the same hypervisor");
  }
  const bool both = request.sampling() == wire::ToParticipant::Prepare::BOTH;
  const bool outside = both || request.sampling() == wire::ToParticipant::Prepare::HOST;
  if (both || request.sampling() == wire::ToParticipant::Prepare::SELF) {
    for (const wire::Event& event : request.events()) {
      auto counted = perf::find_counted_event(event.name(), event.frequency());
      if (!counted) {
        return std::unexpected(counted.error());
      }
      counted->counting.frequency = event.count() == 0 ? event.frequency() : 0;
      layout.countings.push_back(counted->counting);
    }
  }
  if (both) {
    layout.events = with_guests_own(layout.events);
  }
  recorder_.reset();
  host_samples_.reset();
  perf::RecorderOptions options{.layout = layout, .outside = outside, .raw_clock = outside};
  if (outside) {
    options.sideband_ring_bytes = kRingWithSwitches;
  }
  auto recorder = perf::Recorder::open(options);
  if (!recorder) {
    return std::unexpected(recorder.error());
  }
  recorder_ = std::move(*recorder);
  if (outside) {
    host_samples_.emplace(layout);
  }
  parser_.emplace(layout);
  interpreter_.emplace(layout);
  return {};
}

Result<void> Participation::prepare(const wire::ToParticipant::Prepare& request) {
  if (armed_) {
    // A session begun again without a domain that did not arm.
    armed_ = false;
    if (auto done = device_ != nullptr ? device_->disarm() : Result<void>(); !done) {
      return done;
    }
  }
  if (auto opened = open_recorder(request); !opened) {
    return opened;
  }
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
  if (host_samples_) {
    host_samples_->look();
  }
  if (auto started = recorder_->start(sink()); !started) {
    return started;
  }
  if (host_samples_) {
    switch_everywhere();
    host_samples_->look();
  }
  if (auto armed = device_ != nullptr ? arm_device() : Result<void>(); !armed) {
    return armed;
  }
  armed_ = true;
  sent_ = Clock::now();
  wire::FromParticipant answer;
  answer.mutable_armed();
  return send(answer);
}

Result<void> Participation::arm_device() {
  const auto deadline = Clock::now() + kArmLimit;
  for (;;) {
    const auto armed = device_->arm();
    if (!armed) {
      return std::unexpected(armed.error());
    }
    if (*armed == XenoprofDevice::Armed::kYes) {
      return {};
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
}

Result<void> Participation::samples(const wire::ToParticipant::Samples& samples) {
  if (!armed_ || !host_samples_) {
    return fail("the initiator sent samples that were not to come from it");
  }
  const int size = samples.tsc_size();
  if (samples.ip_size() != size || samples.vcpu_size() != size || samples.event_size() != size) {
    return fail("the initiator sent samples that are not whole");
  }
  HostSamples& host = *host_samples_;
  host.look();
  for (int i = 0; i < size; ++i) {
    if (samples.event(i) >= host.events) {
      return fail("the initiator sent a sample of an event that it did not announce");
    }
    const auto cpu = host.cpu_of(samples.vcpu(i));
    host.timeline.add({.time = host.raw_of_tsc.other_at(samples.tsc(i)),
                       .ip = samples.ip(i),
                       .cpu = cpu.value_or(samples.vcpu(i)),
                       .event = static_cast<std::uint32_t>(host.first_event) + samples.event(i),
                       .known_cpu = cpu.has_value()});
  }
  host.complete_to = std::max(host.complete_to, host.raw_of_tsc.other_at(samples.complete_to()));
  if (host.timeline.waiting() > kMostKept) {
    return fail("the initiator sends more samples than this domain can keep until they are due");
  }
  return {};
}

Result<void> Participation::tell_clock() {
  wire::FromParticipant message;
  auto& clock = *message.mutable_clock();
  if (const auto host = perf::look_at_host_clock()) {
    clock.set_tsc(host->tsc);
    clock.set_host_realtime(host->host_realtime);
    clock.set_tsc_within(host->tsc_within);
  } else {
    clock.set_tsc(perf::look_at_tsc().tsc);
  }
  return send(message);
}

void Participation::hand_out(bool all) {
  const auto recorded = [this](std::uint16_t, perf::Bytes record) {
    host_samples_->timeline.add(record);
  };
  const perf::Sink out = host_samples_ ? perf::Sink(recorded) : sink();
  if (all) {
    recorder_->stop(out);
  } else {
    recorder_->drain(out);
  }
  if (!host_samples_) {
    return;
  }
  HostSamples& host = *host_samples_;
  host.look();
  const bool far_behind = host.timeline.waiting() > kMostWaiting;
  host.timeline.hand_out(all          ? ~std::uint64_t{0}
                         : far_behind ? recorder_->handed_out()
                                      : std::min(recorder_->handed_out(), host.complete_to),
                         sink());
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
  if (!due) {
    return {};
  }
  // Also a sign of life: what comes after the end takes a while.
  sent_ = Clock::now();
  const auto totals = this->totals();
  if (!totals) {
    return std::unexpected(totals.error());
  }
  wire::FromParticipant message;
  to_wire(*totals, *message.mutable_totals());
  return send(message);
}

Result<void> Participation::pump() {
  // A host that asks for the clock wants to know it now.
  const int also = host_samples_ ? initiator_.fd() : -1;
  if (auto waited = recorder_->wait(kDrainEvery, also); !waited) {
    return waited;
  }
  hand_out(false);
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
  const auto totals = this->totals();
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
  if (auto done = device_ != nullptr ? device_->disarm() : Result<void>(); !done) {
    return done;
  }
  hand_out(true);
  if (bad_record_) {
    return std::unexpected(*bad_record_);
  }
  if (auto sent = send_records(true); !sent) {
    return sent;
  }
  const auto totals = this->totals();
  if (!totals) {
    return std::unexpected(totals.error());
  }
  wire::FromParticipant message;
  auto& finished = *message.mutable_finished();
  to_wire(*totals, *finished.mutable_totals());
  for (const std::string& note : resolve(interpreter_->profile(), {.xensyms = {}})) {
    finished.add_notes(note);
  }
  for (const auto& notes : {interpreter_->notes(), recorder_->notes()}) {
    for (const std::string& note : notes) {
      finished.add_notes(note);
    }
  }
  if (host_samples_ && host_samples_->timeline.late() != 0) {
    finished.add_notes(
        fmt::format("{} samples came so late that they are charged to whoever ran last on their "
                    "CPU, not then.",
                    host_samples_->timeline.late()));
  }
  if (host_samples_ && host_samples_->timeline.unknown() != 0) {
    finished.add_notes(
        fmt::format("{} samples came before the first context switch on their vCPU, or after some "
                    "that were lost: whose they are is not known.",
                    host_samples_->timeline.unknown()));
  }
  finished.set_ring_lost(recorder_->losses().samples);
  finished.set_profile(pprof::encode(interpreter_->profile()));
  return send(message);
}

Result<void> introduce(Connection& initiator, const XenoprofDevice* device,
                       const std::vector<Event>& wishes) {
  bool runs_sessions = false;
  if (device != nullptr) {
    const auto info = device->info();
    if (!info) {
      return std::unexpected(info.error());
    }
    runs_sessions = info->initiator;
  }
  utsname system{};
  ::uname(&system);
  wire::FromParticipant message;
  auto& introduction = *message.mutable_introduction();
  introduction.set_version(kProtocolVersion);
  introduction.set_kernel(system.release);
  introduction.set_initiator(runs_sessions);
  to_wire(wishes, *introduction.mutable_wishes());
  return initiator.send(message, kSendLimit);
}

Result<void> answer(const wire::ToParticipant& message, Participation& part, Connection& initiator,
                    const XenoprofDevice* device, const std::vector<Event>& wishes) {
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
    case wire::ToParticipant::kSamples:
      return part.samples(message.samples());
    case wire::ToParticipant::kClock:
      return part.tell_clock();
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

Result<void> participate(Connection& initiator, XenoprofDevice* device,
                         const std::vector<Event>& wishes, const Cancelled& cancelled) {
  Participation part(initiator, device);
  for (;;) {
    if (cancelled()) {
      return refuse(initiator, {"the agent was told to end"});
    }
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
