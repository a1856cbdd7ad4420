// SPDX-License-Identifier: GPL-2.0-or-later
#include "session/initiator.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <iterator>
#include <thread>
#include <utility>

#include "hypervisor/xenoprof_device.h"
#include "pprof/pprof.h"
#include "session/accounting.h"
#include "session/domains.h"
#include "session/outline.h"
#include "session/output_folder.h"
#include "session/participant.h"
#include "session/peers.h"
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
constexpr auto kTick = 100ms;

constexpr char kInterrupted[] = "interrupted before the session began: nothing was recorded";

class Session {
 public:
  // `output` outlives this.
  Session(const SessionRequest& request, const OutputFolder& output, XenoprofDevice device,
          const Cancelled& cancelled)
      : request_(request), output_(output), device_(std::move(device)), cancelled_(cancelled) {}
  ~Session();

  Result<void> choose();
  Result<void> introduce();
  Result<void> agree_on_events();
  Result<void> begin();
  Result<void> run(const KeepGoing& keep_going);
  void end();
  // `ran`: what run() said.
  Result<SessionResult> conclude(const Result<void>& ran);

 private:
  Result<void> dial(Peer& peer);
  // Peers::await(), unless somebody wants this to end.
  Result<void> await(std::string_view what);
  // Deals with peers that were dropped: an error, or without them as the request says.
  Result<void> settle_missing();
  Result<bool> try_begin();
  // `received`: the domain's samples by event.
  DomainTotals conclude_domain(const Peer& peer, std::string role, const Received& received,
                               bool final);
  // What every domain's file still lacks, and the profile of all.
  Result<void> store(const Profile& merged);
  // Xen's names come from here, a passive domain's kernel's from a file that was given.
  SymbolSources passive_symbols(const Peer& peer) const;
  // In a live session: makes the profile anew when a domain told how it stands.
  void look();
  SessionProgress progress() const;
  bool keeps() const { return output_.files() != nullptr; }

  const SessionRequest& request_;
  const OutputFolder& output_;
  XenoprofDevice device_;
  const Cancelled& cancelled_;
  Peers peers_;
  bool missing_ = false;  // a domain that was asked for does not take part
  Agreement agreement_;
  std::vector<std::string> notes_;
  std::thread local_;  // dom0's own participant
  bool running_ = false;
  std::chrono::system_clock::time_point started_at_;
  Clock::time_point started_{};
  double seconds_ = 0;
  std::shared_ptr<const Profile> live_;
  NamesInPassing xen_names_{{.kallsyms = {}, .own_files = false}};
  std::map<std::uint16_t, NamesInPassing> passive_names_;  // by domain
};

Session::~Session() {
  peers_.active.clear();  // hangs up, which ends dom0's participant
  if (local_.joinable()) {
    local_.join();
  }
}

Result<void> Session::choose() {
  const auto running = list_xen_domains();
  if (!running) {
    return std::unexpected(running.error());
  }
  auto chosen = choose_domains(request_, *running);
  if (!chosen) {
    return std::unexpected(chosen.error());
  }
  for (Domain& domain : chosen->active) {
    peers_.active.push_back({.domain = std::move(domain)});
  }
  for (Domain& domain : chosen->passive) {
    peers_.passive.push_back({.domain = std::move(domain)});
  }
  notes_ = std::move(chosen->notes);
  return {};
}

Result<void> Session::dial(Peer& peer) {
  peer.problem.clear();
  Result<std::unique_ptr<Channel>> channel;
  if (peer.local()) {
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
      (void)participate(initiator, &device_, {});
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
  peers_.ask(peer, hello);
  return peer.connection ? Result<void>() : fail("{}", peer.problem);
}

Result<void> Session::await(std::string_view what) {
  return peers_.await(kStepLimit, what, cancelled_) ? Result<void>() : fail(kInterrupted);
}

Result<void> Session::introduce() {
  // An agent that has just ended a session needs a moment before it listens again. One that was
  // killed has left a word in xenstore and never answers.
  constexpr auto kLimit = 5s;
  const auto deadline = Clock::now() + kLimit;
  for (bool again = true; again;) {
    again = false;
    for (Peer& peer : peers_.active) {
      if (peer.connection) {
        continue;
      }
      if (const auto dialled = dial(peer); !dialled) {
        if (peer.local()) {
          return fail("dom0 cannot take part: {}", dialled.error().message);
        }
        peer.drop(dialled.error().message);
        again |= peer.domain.has_agent;
      }
    }
    again = again && !cancelled_() && Clock::now() < deadline;
    if (again) {
      std::this_thread::sleep_for(200ms);
    }
  }
  if (auto answered = await(kAnswer); !answered) {
    return answered;
  }
  return settle_missing();
}

// What a guest wants beyond what can be counted costs it its place, and nobody else.
Result<void> Session::agree_on_events() {
  const auto info = device_.info();
  if (!info) {
    return std::unexpected(info.error());
  }
  std::vector<Wishes> wishes;
  if (!request_.events.empty()) {
    wishes.push_back({.who = "this command", .events = request_.events});
    if (auto possible = agree(wishes, info->num_counters); !possible) {
      return std::unexpected(possible.error());
    }
  }
  for (Peer& peer : peers_.active) {
    if (peer.wishes.empty()) {
      continue;
    }
    wishes.push_back({.who = peer.domain.name, .events = peer.wishes});
    if (auto possible = agree(wishes, info->num_counters); !possible) {
      wishes.pop_back();
      peer.drop(possible.error().message);
    }
  }
  if (auto settled = settle_missing(); !settled) {
    return settled;
  }
  auto agreement = agree(wishes, info->num_counters);
  if (!agreement) {
    return std::unexpected(agreement.error());
  }
  agreement_ = std::move(*agreement);
  peers_.agreed(agreement_.events);
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
    auto data = DomainData::create(output_.files(), peer.domain.name, layout, passive);
    if (!data) {
      return std::unexpected(data.error());
    }
    peer.data = std::move(*data);
    if (passive && request_.live) {
      peer.data->interpret_at_once();
    }
    return {};
  };
  wire::ToParticipant prepare;
  to_wire(agreement_.events, *prepare.mutable_prepare()->mutable_events());
  prepare.mutable_prepare()->set_call_chains(request_.call_chains);
  prepare.mutable_prepare()->set_live(request_.live);
  for (Peer& peer : peers_.active) {
    if (auto created = create(peer, false); !created) {
      return std::unexpected(created.error());
    }
  }
  for (Peer& peer : peers_.passive) {
    if (auto created = create(peer, true); !created) {
      return std::unexpected(created.error());
    }
  }
  peers_.ask_all(prepare);
  if (request_.live) {
    xen_names_.read_ahead();
  }
  const auto retry = [this]() -> Result<bool> {
    if (auto settled = settle_missing(); !settled) {
      return std::unexpected(settled.error());
    }
    return false;
  };
  if (auto ready = await("get ready"); !ready) {
    return std::unexpected(ready.error());
  }
  if (peers_.any_gone()) {
    return retry();
  }
  const auto ids = [](const std::vector<Peer>& peers) {
    std::vector<std::uint16_t> result;
    std::ranges::transform(peers, std::back_inserter(result),
                           [](const Peer& peer) { return peer.domain.id; });
    return result;
  };
  if (auto set = device_.set_domains(ids(peers_.active), ids(peers_.passive)); !set) {
    return std::unexpected(set.error());
  }
  if (auto set = device_.set_counters(agreement_.counters); !set) {
    return std::unexpected(set.error());
  }
  wire::ToParticipant arm;
  arm.mutable_arm();
  peers_.ask_all(arm);
  if (auto armed = await("arm"); !armed) {
    return std::unexpected(armed.error());
  }
  if (peers_.any_gone()) {
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
    peers_.wait_for_messages(10ms);
    if (peers_.any_gone()) {
      return retry();
    }
  }
  running_ = true;
  started_ = Clock::now();
  peers_.started();
  started_at_ = std::chrono::system_clock::now();
  return true;
}

Result<void> Session::settle_missing() {
  for (auto peer = peers_.active.begin(); peer != peers_.active.end();) {
    if (peer->connection) {
      ++peer;
      continue;
    }
    if (peer->local()) {
      return fail("dom0 cannot take part: {}", peer->problem);
    }
    // Those that nobody named take part if they can: any guest could say that it has an agent.
    const bool wanted = !request_.domains.empty();
    if (wanted && !request_.allow_missing) {
      return fail("{} does not take part: {}; --allow-missing goes on without it",
                  peer->domain.name, peer->problem);
    }
    notes_.push_back(fmt::format("{} was not profiled: {}", peer->domain.name, peer->problem));
    missing_ |= wanted;
    if (peer->data) {
      peer->data->discard();
    }
    peer = peers_.active.erase(peer);
  }
  return {};
}

SymbolSources Session::passive_symbols(const Peer& peer) const {
  SymbolSources sources{.kallsyms = {}, .xensyms = {}, .own_files = false};
  if (const auto given = request_.kernel_symbols.find(peer.domain.name);
      given != request_.kernel_symbols.end()) {
    sources.kallsyms = given->second.file;
    sources.kernel_offset = given->second.offset;
  }
  return sources;
}

void Session::look() {
  if (!peers_.peek()) {
    return;
  }
  auto merged = std::make_shared<Profile>(agreement_.events);
  for (const Peer& peer : peers_.active) {
    if (peer.interim) {
      merged->merge(*peer.interim, peer.domain.name);
    }
  }
  for (Peer& peer : peers_.passive) {
    Profile& profile = *peer.data->profile_so_far();
    passive_names_.try_emplace(peer.domain.id, passive_symbols(peer)).first->second.name(profile);
    merged->merge(outline(profile), peer.domain.name);
  }
  xen_names_.name(*merged);
  live_ = std::move(merged);
}

SessionProgress Session::progress() const {
  SessionProgress now;
  now.seconds = std::chrono::duration<double>(Clock::now() - started_).count();
  now.profile = live_;
  const auto add = [&](const Peer& peer, const char* role, const std::vector<VcpuTotals>& totals) {
    SessionProgress::Domain& domain = now.domains.emplace_back();
    domain.name = peer.domain.name;
    domain.role = role;
    domain.problem = peer.problem;
    domain.lost = peer.ring_lost;
    for (const VcpuTotals& vcpu : totals) {
      domain.taken += vcpu.taken();
      domain.lost += vcpu.lost + vcpu.rejected;
    }
  };
  for (const Peer& peer : peers_.active) {
    add(peer, peer.local() ? "initiator" : "active", peer.totals);
  }
  for (const Peer& peer : peers_.passive) {
    add(peer, "passive",
        device_.passive_totals(peer.domain.id).value_or(std::vector<VcpuTotals>()));
  }
  return now;
}

Result<void> Session::run(const KeepGoing& keep_going) {
  DomainWatch watch = DomainWatch::open();
  while (keep_going(progress())) {
    peers_.wait_for_messages(kTick);
    if (request_.live) {
      look();
    }
    if (watch.domain_ended()) {
      const auto domains = list_xen_domains();
      for (Peer& peer : peers_.active) {
        if (domains && peer.connection &&
            std::ranges::find(*domains, peer.domain.id, &Domain::id) == domains->end()) {
          peer.drop("the domain ended during the session");
        }
      }
    }
    if (!peers_.active.front().connection) {
      return fail("dom0's own part ended: {}", peers_.active.front().problem);
    }
    for (const std::vector<Peer>* peers : {&peers_.active, &peers_.passive}) {
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
  wire::ToParticipant stop;
  stop.mutable_stop();
  peers_.ask_all(stop);
  peers_.await(kFinishLimit, "finish", [] { return false; });  // nothing interrupts that
}

DomainTotals Session::conclude_domain(const Peer& peer, std::string role, const Received& received,
                                      bool final) {
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
  return totals;
}

Result<void> Session::store(const Profile& merged) {
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
  // A full disk must not cost the rest: everything is tried, the first error is told.
  Result<void> stored;
  const auto attempt = [&](const Result<void>& one) {
    if (!one && stored) {
      stored = one;
    }
  };
  for (std::vector<Peer>* peers : {&peers_.active, &peers_.passive}) {
    for (Peer& peer : *peers) {
      const perf::Features features{.hostname = peer.domain.name,
                                    .os_release = peer.kernel,
                                    .architecture = "x86_64",
                                    .cpus = peer.domain.vcpus};
      attempt(peer.data->finish(features, xen_records));
    }
  }
  output_.release_reserve();
  attempt(output_.files()->write(kProfileFile, pprof::encode(merged)));
  return stored;
}

Result<SessionResult> Session::conclude(const Result<void>& ran) {
  Profile merged(agreement_.events);
  SessionResult result;
  if (!ran) {
    notes_.push_back(ran.error().message);
    result.whole = false;
  }
  const auto samples = [this](const Profile& profile) {
    std::vector<std::uint64_t> by_event;
    for (std::size_t event = 0; event < agreement_.events.size(); ++event) {
      by_event.push_back(profile.total(event));
    }
    return by_event;
  };
  for (Peer& peer : peers_.active) {
    const bool finished = peer.profile.has_value();
    if (!finished) {
      notes_.push_back(fmt::format("{} is not whole: {}; what it had sent is kept{}",
                                   peer.domain.name, peer.problem,
                                   keeps() ? ", without the names of its functions" : ""));
      result.whole = false;
    }
    for (const std::string& note : peer.notes) {
      notes_.push_back(fmt::format("{}: {}", peer.domain.name, note));
    }
    const Profile profile = finished                   ? std::move(*peer.profile)
                            : !keeps() && peer.interim ? std::move(*peer.interim)
                                                       : peer.data->profile();
    Received received{.arrived = peer.data->arrived(), .delivered = samples(profile)};
    if (finished || !keeps()) {
      // Made from the records before they were sent: how many of them came here is no matter.
      received.arrived = received.delivered;
    }
    result.record.domains.push_back(
        conclude_domain(peer, peer.local() ? "initiator" : "active", received, finished));
    merged.merge(profile, peer.domain.name);
  }
  for (Peer& peer : peers_.passive) {
    const auto totals = device_.passive_totals(peer.domain.id);
    peer.totals = totals.value_or(std::vector<VcpuTotals>());
    Profile profile = peer.data->profile();
    for (const std::string& note : resolve(profile, passive_symbols(peer))) {
      notes_.push_back(fmt::format("{}: {}", peer.domain.name, note));
    }
    result.record.domains.push_back(conclude_domain(
        peer, "passive", {.arrived = peer.data->arrived(), .delivered = samples(profile)},
        totals.has_value()));
    merged.merge(profile, peer.domain.name);
  }
  // Xen's names, for the samples of all domains at once.
  for (std::string& note : resolve(merged, {.kallsyms = {}, .own_files = false})) {
    notes_.push_back(std::move(note));
  }
  if (auto stored = keeps() ? store(merged) : Result<void>(); !stored) {
    notes_.push_back(stored.error().message);
    result.whole = false;
  }
  result.whole = result.whole && !missing_;
  result.record.started = iso_time(started_at_);
  result.record.seconds = seconds_;
  const auto info = device_.info();
  const std::string cpu_type = info ? info->cpu_type : "unknown CPU";
  result.record.machine = fmt::format("Xen, {}", cpu_type);
  result.record.command = request_.command;
  result.record.notes = notes_;
  result.whole = result.whole && std::ranges::all_of(result.record.domains, &DomainTotals::whole);
  if (!keeps()) {
    return result;
  }
  if (auto written = output_.files()->write(kSessionFile, to_json(result.record)); !written) {
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
  auto output = OutputFolder::open(request.output);
  if (!output) {
    return std::unexpected(output.error());
  }
  Session session(request, *output, std::move(*device), cancelled);
  Result<void> done = session.choose();
  for (auto step : {&Session::introduce, &Session::agree_on_events, &Session::begin}) {
    if (done) {
      done = (session.*step)();
    }
  }
  if (done) {
    done = started();
  }
  if (!done) {
    return std::unexpected(done.error());
  }
  output->begun();
  done = session.run(keep_going);
  session.end();
  return session.conclude(done);
}

}  // namespace xenoprof
