// SPDX-License-Identifier: GPL-2.0-or-later
#include "session/initiator.h"

#include <fmt/chrono.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <iterator>
#include <thread>
#include <utility>

#include "hypervisor/event_codes.h"
#include "hypervisor/xenoprof_device.h"
#include "model/text.h"
#include "pprof/pprof.h"
#include "session/accounting.h"
#include "session/output_folder.h"
#include "session/participant.h"
#include "session/peer.h"
#include "session/protocol.h"
#include "session/vchan.h"
#include "session/wishes.h"
#include "symbols/resolve.h"

namespace xenoprof {
namespace {

using namespace std::chrono_literals;

// How long a participant may take over one step. Generous: an emulated or busy guest is slow, and
// the error names it.
constexpr auto kStepLimit = 30s;
// Resolving names reads every image that was sampled.
constexpr auto kFinishLimit = 60s;
constexpr auto kSendLimit = 5s;
constexpr auto kTick = 100ms;

constexpr char kInterrupted[] = "interrupted before the session began: nothing was recorded";

// So that a guest that floods dom0 holds up neither the others nor the end of the session.
constexpr int kMostMessagesAtOnce = 64;
// What a participant may send: the processes and mappings that there were before, and some hundred
// thousand samples a second. Bounds what a hostile one costs in memory and disk.
constexpr double kRecordBytes = 64e6;
constexpr double kRecordBytesPerSecond = 16e6;
// Of a participant's remarks; more are not read.
constexpr int kMaxNotes = 20;

// What a participant says reaches the user's terminal: no control characters, no endless text.
std::string one_line(std::string_view text) {
  constexpr std::size_t kLongest = 300;
  return printable(text.substr(0, kLongest));
}

std::string joined(const std::vector<std::string>& names) {
  return fmt::format("{}", fmt::join(names, ", "));
}

class Session {
 public:
  Session(const SessionRequest& request, XenoprofDevice device, const Cancelled& cancelled)
      : request_(request), device_(std::move(device)), cancelled_(cancelled) {}
  ~Session();

  Result<void> choose_domains();
  Result<void> introduce();
  Result<void> agree_on_events();
  Result<void> begin();
  Result<void> run(const KeepGoing& keep_going);
  void end();
  // `ran`: what run() said.
  Result<SessionResult> conclude(const Result<void>& ran);

 private:
  using Answered = bool Peer::*;

  bool is_local(const Peer& peer) const { return peer.domain.id == 0; }
  Result<void> dial(Peer& peer);
  void send(Peer& peer, const wire::ToParticipant& message);
  // Takes the messages that are there; of one that never stops sending, some.
  void receive(Peer& peer);
  Result<void> take(Peer& peer, const wire::FromParticipant& message);
  // Waits until every peer has answered or is gone; those that do not answer in time are dropped.
  Result<void> await(Answered answered, Clock::duration limit, std::string_view what);
  void wait_for_messages(Clock::duration limit);
  // Deals with peers that were dropped: an error, or without them as the request says.
  Result<void> settle_missing();
  Result<bool> try_begin();
  DomainTotals conclude_domain(Peer& peer, std::string role, bool final, Profile& merged);
  SessionProgress progress() const;

  const SessionRequest& request_;
  XenoprofDevice device_;
  const Cancelled& cancelled_;
  std::vector<Peer> peers_;    // active, dom0 first
  std::vector<Peer> passive_;  // connection is never set
  std::vector<Peer> missing_;  // asked for, not taking part
  Agreement agreement_;
  std::vector<std::string> notes_;
  std::thread local_;  // dom0's own participant
  bool running_ = false;
  bool stopped_ = false;
  std::chrono::system_clock::time_point started_at_;
  Clock::time_point started_{};
  double seconds_ = 0;
};

Session::~Session() {
  peers_.clear();  // hangs up, which ends dom0's participant
  missing_.clear();
  if (local_.joinable()) {
    local_.join();
  }
}

Result<void> Session::choose_domains() {
  const auto domains = list_xen_domains();
  if (!domains) {
    return std::unexpected(domains.error());
  }
  const auto find = [&](const std::string& name) -> Result<XenDomain> {
    const auto found = std::ranges::find(*domains, name, &XenDomain::name);
    if (found == domains->end()) {
      std::vector<std::string> names;
      std::ranges::transform(*domains, std::back_inserter(names), &XenDomain::name);
      return fail("there is no domain '{}'; those running are {}", name, joined(names));
    }
    return *found;
  };
  for (const std::string& name : request_.passive) {
    const auto domain = find(name);
    if (!domain) {
      return std::unexpected(domain.error());
    }
    if (domain->id == 0) {
      return fail("dom0 runs the session and cannot be passive");
    }
    passive_.push_back({.domain = *domain});
  }
  for (const auto& [name, path] : request_.kernel_symbols) {
    if (std::ranges::find(request_.passive, name) == request_.passive.end()) {
      return fail("--kernel-symbols names '{}', which is not among the passive domains", name);
    }
  }
  const auto is_passive = [&](const XenDomain& domain) {
    return std::ranges::find(request_.passive, domain.name) != request_.passive.end();
  };
  // dom0 is always in: Xenoprof's primary profiler has to be on its own active list.
  if (domains->empty() || domains->front().id != 0) {
    return fail("xenstore does not list dom0: run `xen-init-dom0` first");
  }
  peers_.push_back({.domain = domains->front()});
  const bool all = std::ranges::find(request_.domains, "all") != request_.domains.end();
  if (all || request_.domains.empty()) {
    for (const XenDomain& domain : *domains) {
      if (domain.id == 0 || is_passive(domain)) {
        continue;
      }
      if (all || domain.has_agent) {
        peers_.push_back({.domain = domain});
      } else {
        notes_.push_back(
            fmt::format("{} was not profiled: no agent runs in it (`xenoprof agent`), and it was "
                        "not named with --passive",
                        domain.name));
      }
    }
    return {};
  }
  for (const std::string& name : request_.domains) {
    const auto domain = find(name);
    if (!domain) {
      return std::unexpected(domain.error());
    }
    if (is_passive(*domain)) {
      return fail("{} is asked for as active and as passive; it can be one of them", name);
    }
    if (std::ranges::find(peers_, domain->id, [](const Peer& peer) { return peer.domain.id; }) ==
        peers_.end()) {
      peers_.push_back({.domain = *domain});
    }
  }
  return {};
}

Result<void> Session::dial(Peer& peer) {
  Result<std::unique_ptr<Channel>> channel;
  if (is_local(peer)) {
    auto both = local_channel();
    if (!both) {
      return std::unexpected(both.error());
    }
    // Signals are for the main thread: here they would only interrupt the driver's calls.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    local_ = std::thread([this, end = std::move(both->second)]() mutable {
      Connection initiator(std::move(end), kLargestToParticipant);
      // Its errors arrive as messages at the other end.
      (void)participate(initiator, device_, {});
    });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    channel = std::move(both->first);
  } else {
    channel = dial_vchan(peer.domain.id);
  }
  if (!channel) {
    return std::unexpected(channel.error());
  }
  peer.connection = std::make_unique<Connection>(std::move(*channel), kLargestFromParticipant);
  wire::ToParticipant hello;
  hello.mutable_hello()->set_version(kProtocolVersion);
  return peer.connection->send(hello, kSendLimit);
}

Result<void> Session::introduce() {
  const auto deadline = Clock::now() + kStepLimit;
  for (Peer& peer : peers_) {
    // An agent that has just ended a session needs a moment before it listens again.
    for (;;) {
      if (auto dialled = dial(peer); dialled) {
        break;
      } else if (peer.drop(dialled.error().message); is_local(peer) || !peer.domain.has_agent ||
                                                     cancelled_() || Clock::now() >= deadline) {
        break;
      }
      std::this_thread::sleep_for(200ms);
    }
  }
  if (auto answered = await(&Peer::introduced, kStepLimit, "answer"); !answered) {
    return answered;
  }
  return settle_missing();
}

Result<void> Session::agree_on_events() {
  std::vector<Wishes> wishes{{.who = "this command", .events = request_.events}};
  for (const Peer& peer : peers_) {
    wishes.push_back({.who = peer.domain.name, .events = peer.wishes});
  }
  const auto info = device_.info();
  if (!info) {
    return std::unexpected(info.error());
  }
  auto agreement = agree(wishes, info->num_counters);
  if (!agreement) {
    return std::unexpected(agreement.error());
  }
  agreement_ = std::move(*agreement);
  return {};
}

Result<void> Session::begin() {
  for (;;) {
    const auto begun = try_begin();
    if (!begun) {
      return std::unexpected(begun.error());
    }
    if (*begun) {
      return {};
    }
    // Somebody did not arm. Without them, all over again.
  }
}

// One attempt with the peers that there are: true when the counters run, false when peers were
// dropped and the rest can try again.
Result<bool> Session::try_begin() {
  const perf::Layout layout{.events = agreement_.events, .call_chains = request_.call_chains};
  const auto create = [&](Peer& peer, bool passive) -> Result<void> {
    auto data =
        DomainData::create(request_.output / (peer.domain.name + ".perf.data"), layout, passive);
    if (!data) {
      return std::unexpected(data.error());
    }
    peer.data = std::move(*data);
    return {};
  };
  wire::ToParticipant prepare;
  to_wire(agreement_.events, *prepare.mutable_prepare()->mutable_events());
  prepare.mutable_prepare()->set_call_chains(request_.call_chains);
  std::vector<std::uint16_t> active_ids;
  for (Peer& peer : peers_) {
    if (auto created = create(peer, false); !created) {
      return std::unexpected(created.error());
    }
    peer.prepared = peer.armed = false;
    send(peer, prepare);
  }
  std::vector<std::uint16_t> passive_ids;
  for (Peer& peer : passive_) {
    if (auto created = create(peer, true); !created) {
      return std::unexpected(created.error());
    }
    passive_ids.push_back(peer.domain.id);
  }
  const auto gone = [this] {
    return std::ranges::any_of(peers_, [](const Peer& peer) { return !peer.connection; });
  };
  const auto retry = [this]() -> Result<bool> {
    if (auto settled = settle_missing(); !settled) {
      return std::unexpected(settled.error());
    }
    return false;
  };
  if (auto ready = await(&Peer::prepared, kStepLimit, "get ready"); !ready) {
    return std::unexpected(ready.error());
  }
  if (gone()) {
    return retry();
  }
  std::ranges::transform(peers_, std::back_inserter(active_ids),
                         [](const Peer& peer) { return peer.domain.id; });
  if (auto set = device_.set_domains(active_ids, passive_ids); !set) {
    return std::unexpected(set.error());
  }
  if (auto set = device_.set_counters(agreement_.counters); !set) {
    return std::unexpected(set.error());
  }
  wire::ToParticipant arm;
  arm.mutable_arm();
  for (Peer& peer : peers_) {
    send(peer, arm);
  }
  if (auto armed = await(&Peer::armed, kStepLimit, "arm"); !armed) {
    return std::unexpected(armed.error());
  }
  if (gone()) {
    return retry();
  }
  const auto deadline = Clock::now() + kStepLimit;
  for (;;) {
    const auto started = device_.start();
    if (!started) {
      return std::unexpected(started.error());
    }
    if (*started == XenoprofDevice::Started::kYes) {
      break;
    }
    if (Clock::now() >= deadline) {
      return fail("all domains say that they armed, but the hypervisor still waits for one");
    }
    if (cancelled_()) {
      return fail(kInterrupted);
    }
    wait_for_messages(10ms);
    if (gone()) {
      return retry();
    }
  }
  running_ = true;
  started_ = Clock::now();
  started_at_ = std::chrono::system_clock::now();
  return true;
}

void Session::send(Peer& peer, const wire::ToParticipant& message) {
  if (peer.connection) {
    if (auto sent = peer.connection->send(message, kSendLimit); !sent) {
      peer.drop(sent.error().message);
    }
  }
}

void Session::receive(Peer& peer) {
  for (int i = 0; i < kMostMessagesAtOnce && peer.connection; ++i) {
    const auto bytes = peer.connection->receive();
    if (!bytes) {
      peer.drop(bytes.error().message);
      return;
    }
    if (!bytes->has_value()) {
      return;
    }
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

Result<void> Session::take(Peer& peer, const wire::FromParticipant& message) {
  switch (message.kind_case()) {
    case wire::FromParticipant::kIntroduction: {
      if (message.introduction().initiator() != is_local(peer)) {
        return fail("the hypervisor takes another domain than dom0 for the initiator");
      }
      peer.introduction = message.introduction();
      if (peer.introduction.version() != kProtocolVersion) {
        return fail(
            "its agent speaks version {} and this command version {}: install the same "
            "xenoprof in both",
            peer.introduction.version(), kProtocolVersion);
      }
      if (peer.introduction.wishes_size() > static_cast<int>(kMaxCounters)) {
        return fail("its agent wants {} events, more than any CPU counts at a time",
                    peer.introduction.wishes_size());
      }
      peer.wishes = events_from_wire(peer.introduction.wishes());
      for (Event& wish : peer.wishes) {
        wish.name = one_line(wish.name);
        if (auto good = check_count(wish); !good) {
          return fail("its agent's wish cannot be met: {}", good.error().message);
        }
      }
      peer.introduced = true;
      return {};
    }
    case wire::FromParticipant::kPrepared:
      peer.prepared = true;
      return {};
    case wire::FromParticipant::kArmed:
      peer.armed = true;
      return {};
    case wire::FromParticipant::kRecords: {
      Peer* owner = &peer;
      if (message.records().has_passive_domain()) {
        const auto found = std::ranges::find(passive_, message.records().passive_domain(),
                                             [](const Peer& one) { return one.domain.id; });
        // Only the hypervisor's own domain is given the samples of others.
        if (!is_local(peer) || found == passive_.end()) {
          return fail("its agent sent samples of another domain");
        }
        owner = &*found;
      }
      if (!owner->data) {
        return fail("its agent sent samples before it was asked");
      }
      peer.record_bytes += message.records().data().size();
      const auto seconds = running_ || stopped_
                               ? std::chrono::duration<double>(Clock::now() - started_).count()
                               : 0.0;
      if (static_cast<double>(peer.record_bytes) > kRecordBytes + kRecordBytesPerSecond * seconds) {
        return fail("its agent sends more records than any domain has samples");
      }
      return owner->data->add(message.records().data());
    }
    case wire::FromParticipant::kTotals:
      peer.totals = totals_from_wire(message.totals());
      return {};
    case wire::FromParticipant::kFinished: {
      if (!stopped_ || peer.finished) {
        return fail("its agent finished unasked");
      }
      peer.totals = totals_from_wire(message.finished().totals());
      peer.notes.clear();
      for (int i = 0; i < std::min(message.finished().notes_size(), kMaxNotes); ++i) {
        peer.notes.push_back(one_line(message.finished().notes(i)));
      }
      auto profile = pprof::decode(message.finished().profile());
      if (!profile) {
        return fail("its agent sent a profile that cannot be read: {}", profile.error().message);
      }
      if (profile->events() != agreement_.events) {
        return fail("its agent sent a profile of other events");
      }
      peer.profile = std::move(*profile);
      peer.finished = true;
      return {};
    }
    case wire::FromParticipant::kFailure:
      return fail("{}", one_line(message.failure()));
    case wire::FromParticipant::KIND_NOT_SET:
      break;
  }
  return fail("its agent sent a message of an unknown kind: install the same xenoprof in both");
}

void Session::wait_for_messages(Clock::duration limit) {
  std::vector<pollfd> wanted;
  for (const Peer& peer : peers_) {
    if (peer.connection) {
      wanted.push_back({.fd = peer.connection->fd(), .events = POLLIN, .revents = 0});
    }
  }
  const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(limit).count();
  ::poll(wanted.data(), wanted.size(), static_cast<int>(milliseconds));
  for (Peer& peer : peers_) {
    if (peer.connection) {
      peer.connection->wait(0ms);
      receive(peer);
    }
  }
}

Result<void> Session::await(Answered answered, Clock::duration limit, std::string_view what) {
  const auto deadline = Clock::now() + limit;
  const auto waiting = [&](const Peer& peer) { return peer.connection && !(peer.*answered); };
  while (std::ranges::any_of(peers_, waiting) && Clock::now() < deadline) {
    if (answered != &Peer::finished && cancelled_()) {
      return fail(kInterrupted);
    }
    wait_for_messages(kTick);
  }
  for (Peer& peer : peers_) {
    if (waiting(peer)) {
      peer.drop(fmt::format("its agent did not {} within {} s", what,
                            std::chrono::duration_cast<std::chrono::seconds>(limit).count()));
    }
  }
  return {};
}

Result<void> Session::settle_missing() {
  for (auto peer = peers_.begin(); peer != peers_.end();) {
    if (peer->connection) {
      ++peer;
      continue;
    }
    if (is_local(*peer)) {
      return fail("dom0 cannot take part: {}", peer->problem);
    }
    if (!request_.allow_missing) {
      return fail("{} does not take part: {}; --allow-missing goes on without it",
                  peer->domain.name, peer->problem);
    }
    notes_.push_back(fmt::format("{} was not profiled: {}", peer->domain.name, peer->problem));
    missing_.push_back(std::move(*peer));
    peer = peers_.erase(peer);
  }
  return {};
}

SessionProgress Session::progress() const {
  SessionProgress now;
  now.seconds = std::chrono::duration<double>(Clock::now() - started_).count();
  const auto add = [&](const Peer& peer, const std::vector<VcpuTotals>& totals) {
    SessionProgress::Domain& domain = now.domains.emplace_back();
    domain.name = peer.domain.name;
    for (const VcpuTotals& vcpu : totals) {
      domain.taken += vcpu.taken();
      domain.lost += vcpu.lost + vcpu.rejected;
    }
  };
  for (const Peer& peer : peers_) {
    add(peer, peer.totals);
  }
  for (const Peer& peer : passive_) {
    add(peer, device_.passive_totals(peer.domain.id).value_or(std::vector<VcpuTotals>()));
  }
  return now;
}

Result<void> Session::run(const KeepGoing& keep_going) {
  DomainWatch watch = DomainWatch::open();
  while (keep_going(progress())) {
    wait_for_messages(kTick);
    if (watch.domain_ended()) {
      const auto domains = list_xen_domains();
      for (Peer& peer : peers_) {
        if (domains && peer.connection &&
            std::ranges::find(*domains, peer.domain.id, &XenDomain::id) == domains->end()) {
          peer.drop("the domain ended during the session");
        }
      }
    }
    if (!peers_.front().connection) {
      return fail("dom0's own part ended: {}", peers_.front().problem);
    }
    for (const std::vector<Peer>* peers : {&peers_, &passive_}) {
      for (const Peer& peer : *peers) {
        if (auto written = peer.data->written(); !written) {
          return fail("the session ended early: {}", written.error().message);
        }
      }
    }
  }
  return {};
}

void Session::end() {
  if (!running_) {
    return;
  }
  running_ = false;
  seconds_ = std::chrono::duration<double>(Clock::now() - started_).count();
  if (auto stopped = device_.stop(); !stopped) {
    notes_.push_back(stopped.error().message);
  }
  stopped_ = true;
  wire::ToParticipant stop;
  stop.mutable_stop();
  for (Peer& peer : peers_) {
    send(peer, stop);
  }
  (void)await(&Peer::finished, kFinishLimit, "finish");  // nothing interrupts that
}

DomainTotals Session::conclude_domain(Peer& peer, std::string role, bool final, Profile& merged) {
  Received received;
  for (std::size_t event = 0; event < agreement_.events.size(); ++event) {
    received.delivered.push_back(peer.profile->total(event));
  }
  // A profile of its own was made from its own records: how many of them came here is no matter.
  received.arrived = peer.finished ? received.delivered : peer.data->arrived();
  DomainTotals totals = account(agreement_.events, peer.totals, received, final);
  std::uint64_t taken = 0;
  for (const EventTotals& event : totals.events) {
    taken += event.taken;
  }
  if (final && taken != totals.counted) {
    totals.whole = false;
    notes_.push_back(
        fmt::format("{}: its samples do not add up: the hypervisor counted {}, {} are "
                    "accounted for",
                    peer.domain.name, totals.counted, taken));
  }
  totals.name = peer.domain.name;
  totals.id = peer.domain.id;
  totals.role = std::move(role);
  merged.merge(*peer.profile, peer.domain.name);
  return totals;
}

Result<SessionResult> Session::conclude(const Result<void>& ran) {
  Profile merged(agreement_.events);
  SessionResult result;
  if (!ran) {
    notes_.push_back(ran.error().message);
    result.whole = false;
  }
  for (Peer& peer : peers_) {
    if (!peer.finished) {
      notes_.push_back(
          fmt::format("{} is not whole: {}; what it had sent is kept, without the names "
                      "of its functions",
                      peer.domain.name, peer.problem));
      result.whole = false;
      peer.profile = peer.data->profile();
    }
    for (const std::string& note : peer.notes) {
      notes_.push_back(fmt::format("{}: {}", peer.domain.name, note));
    }
    result.record.domains.push_back(
        conclude_domain(peer, is_local(peer) ? "initiator" : "active", peer.finished, merged));
  }
  for (Peer& peer : passive_) {
    auto totals = device_.passive_totals(peer.domain.id);
    peer.totals = totals.value_or(std::vector<VcpuTotals>());
    SymbolSources sources{.kallsyms = {}, .xensyms = {}, .own_files = false};
    if (const auto given = request_.kernel_symbols.find(peer.domain.name);
        given != request_.kernel_symbols.end()) {
      sources.kallsyms = given->second;
    }
    peer.profile = peer.data->profile();
    for (std::string& note : resolve(*peer.profile, sources)) {
      notes_.push_back(fmt::format("{}: {}", peer.domain.name, note));
    }
    result.record.domains.push_back(conclude_domain(peer, "passive", totals.has_value(), merged));
  }
  // Xen's names, for the samples of all domains at once.
  for (std::string& note : resolve(merged, {.kallsyms = {}, .own_files = false})) {
    notes_.push_back(std::move(note));
  }
  const auto xensyms = read_xensyms();
  std::vector<std::byte> xen_records;
  if (xensyms) {
    std::vector<perf::XenFunction> functions;
    for (const Symbol& symbol : sampled_symbols(merged, kXenImage, *xensyms)) {
      functions.push_back({.address = symbol.start,
                           .length = static_cast<std::uint32_t>(symbol.end - symbol.start),
                           .name = symbol.name});
    }
    xen_records = perf::xen_function_records(
        {.events = agreement_.events, .call_chains = request_.call_chains}, functions);
  }
  const auto store = [&](Peer& peer) -> Result<void> {
    perf::Features features{.hostname = peer.domain.name,
                            .os_release = peer.introduction.kernel(),
                            .architecture = "x86_64",
                            .cpus = peer.domain.vcpus};
    return peer.data->finish(features, xen_records);
  };
  // A full disk must not cost the rest: everything is tried, the first error is told.
  Result<void> stored;
  const auto attempt = [&](const Result<void>& one) {
    if (!one && stored) {
      stored = one;
    }
  };
  for (Peer& peer : peers_) {
    attempt(store(peer));
  }
  for (Peer& peer : passive_) {
    attempt(store(peer));
  }
  release_reserve(request_.output);
  attempt(pprof::write(merged, request_.output / kProfileFile));
  if (!stored) {
    notes_.push_back(stored.error().message);
    result.whole = false;
  }
  result.whole = result.whole && missing_.empty();
  result.record.started = fmt::format("{:%Y-%m-%dT%H:%M:%S%z}", fmt::localtime(started_at_));
  result.record.seconds = seconds_;
  const auto info = device_.info();
  const std::string cpu_type = info ? info->cpu_type : "unknown CPU";
  result.record.machine = fmt::format("Xen, {}", cpu_type);
  result.record.command = request_.command;
  result.record.notes = notes_;
  result.whole = result.whole && std::ranges::all_of(result.record.domains, &DomainTotals::whole);
  if (auto written = write_session(result.record, request_.output / kSessionFile); !written) {
    result.record.notes.push_back(written.error().message);
    result.whole = false;
  }
  return result;
}

}  // namespace

Result<SessionResult> run_session(const SessionRequest& request, const Cancelled& cancelled,
                                  const std::function<Result<void>()>& started,
                                  const KeepGoing& keep_going) {
  auto device = XenoprofDevice::open();
  if (!device) {
    return std::unexpected(device.error());
  }
  const auto info = device->info();
  if (!info) {
    return std::unexpected(info.error());
  }
  if (!info->initiator) {
    return fail(
        "the hypervisor lets only dom0 run a session: type this in dom0; this domain takes "
        "part while `xenoprof agent` runs in it");
  }
  Session session(request, std::move(*device), cancelled);
  if (auto opened = open_output(request.output); !opened) {
    return std::unexpected(opened.error());
  }
  Result<void> done = session.choose_domains();
  for (auto step : {&Session::introduce, &Session::agree_on_events, &Session::begin}) {
    if (done) {
      done = (session.*step)();
    }
  }
  if (done) {
    done = started();
  }
  if (!done) {
    discard_output(request.output);
    return std::unexpected(done.error());
  }
  done = session.run(keep_going);
  session.end();
  return session.conclude(done);
}

}  // namespace xenoprof
