// SPDX-License-Identifier: GPL-2.0-or-later
#include "session/kvm_guests.h"

#include <linux/perf_event.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <future>
#include <map>
#include <numeric>
#include <string_view>
#include <utility>

#include "perf/record_fields.h"
#include "session/accounting.h"
#include "session/agent_channel.h"
#include "session/outline.h"
#include "session/protocol.h"

namespace xenoprof {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr std::string_view kAll = "all";  // among the domains: every machine
constexpr auto kSendSamplesEvery = 500ms;
// Within one of the agent's largest messages, at 25 bytes a sample.
constexpr int kSendSamplesAtOnce = 2000;
// A guest that takes no samples for so long a time must not cost the host's memory: at ten thousand
// samples a second this is a minute and a half.
constexpr std::size_t kMostUnsent = std::size_t{16} << 20;
// The relation of the clocks changes when a guest is migrated, or writes its counter.
constexpr auto kReadClocksEvery = 1s;
constexpr auto kSearchEvery = 1s;
// While samples are taken; an answer that takes longer is heard later, and tells less.
constexpr auto kAnswerLimit = 2ms;

bool is_of_guest(const perf_event_header& header) {
  const unsigned mode = header.misc & PERF_RECORD_MISC_CPUMODE_MASK;
  return header.type == PERF_RECORD_SAMPLE &&
         (mode == PERF_RECORD_MISC_GUEST_KERNEL || mode == PERF_RECORD_MISC_GUEST_USER);
}

}  // namespace

Result<KvmGuests> KvmGuests::find(const GuestsRequest& request, fs::path root,
                                  const AgentLimits& limits) {
  auto machines = list_kvm_machines(root);
  if (!machines) {
    return std::unexpected(machines.error());
  }
  KvmGuests guests(request, std::move(root), limits);
  for (KvmMachine& machine : *machines) {
    guests.add(std::move(machine));
  }
  if (auto good = guests.check_names(); !good) {
    return std::unexpected(good.error());
  }
  return guests;
}

Result<void> KvmGuests::check_names() const {
  const auto is_in = [](const std::vector<std::string>& names, const std::string& name) {
    return std::ranges::find(names, name) != names.end();
  };
  std::vector<std::string> names = request_.passive;
  for (const std::string& name : request_.domains) {
    if (is_in(request_.passive, name)) {
      return fail("{} is asked for as active and as passive; it can be one of them", name);
    }
    if (name != kAll) {
      names.push_back(name);
    }
  }
  for (const auto& [name, unused] : request_.kernel_symbols) {
    if (is_in(request_.domains, name)) {
      return fail("--kernel-symbols names '{}', whose agent tells its kernel's names itself", name);
    }
    names.push_back(name);
  }
  for (const std::string& name : names) {
    if (std::ranges::none_of(guests_,
                             [&](const Guest& guest) { return guest.machine.name == name; })) {
      return fail("no machine of this host is called {}; `xenoprof list` shows them", name);
    }
  }
  return {};
}

void KvmGuests::add(KvmMachine machine) {
  // One that ended in this session may have borne the name.
  if (std::ranges::any_of(guests_,
                          [&](const Guest& guest) { return guest.machine.name == machine.name; })) {
    machine.name = fmt::format("{}-{}", machine.name, machine.process);
  }
  guests_.emplace_back().machine = std::move(machine);
  add_vcpus(guests_.size() - 1);
}

void KvmGuests::add_vcpus(std::size_t guest) {
  const std::vector<KvmVcpu>& vcpus = guests_[guest].machine.vcpus;
  for (std::size_t vcpu = 0; vcpu < vcpus.size(); ++vcpu) {
    vcpus_[vcpus[vcpu].thread] = {.guest = guest, .vcpu = vcpu};
  }
}

std::vector<std::uint64_t> KvmGuests::taken_of(const Guest& guest) const {
  const auto found = taken_.find(guest.machine.process);
  return found != taken_.end() ? found->second : std::vector<std::uint64_t>(layout_.events.size());
}

bool KvmGuests::must_take_part(const std::string& name) const {
  return std::ranges::any_of(request_.domains,
                             [&](const std::string& one) { return one == kAll || one == name; });
}

bool KvmGuests::may_take_part(const std::string& name) const {
  return std::ranges::find(request_.passive, name) == request_.passive.end() &&
         (request_.domains.empty() || must_take_part(name));
}

// All at once: each that does not answer takes seconds.
void KvmGuests::dial_all() {
  std::vector<std::future<Result<std::unique_ptr<Channel>>>> dialled(guests_.size());
  for (std::size_t i = 0; i < guests_.size(); ++i) {
    const KvmMachine& machine = guests_[i].machine;
    if (may_take_part(machine.name)) {
      dialled[i] = std::async(std::launch::async, [&machine] { return dial_agent(machine); });
    }
  }
  peers_.active.reserve(guests_.size());
  for (std::size_t i = 0; i < guests_.size(); ++i) {
    if (!dialled[i].valid()) {
      if (request_.sampling == GuestSampling::kByGuest) {
        notes_.push_back(fmt::format("{} is {}: its agent was not to be asked",
                                     guests_[i].machine.name, without_agent()));
      }
      continue;
    }
    if (auto channel = dialled[i].get()) {
      greet(guests_[i], std::move(*channel));
    } else {
      guests_[i].peer = peers_.active.size();
      peers_.active.emplace_back().drop(channel.error().message);
    }
  }
}

void KvmGuests::greet(Guest& guest, std::unique_ptr<Channel> channel) {
  const KvmMachine& machine = guest.machine;
  guest.peer = peers_.active.size();
  Peer& peer = peers_.active.emplace_back();
  peer.domain = {.id = static_cast<std::uint16_t>(&guest - guests_.data() + 1),
                 .name = machine.name,
                 .type = "kvm",
                 .vcpus = static_cast<unsigned>(machine.vcpus.size()),
                 .has_agent = true};
  peer.connection = std::make_unique<Connection>(std::move(channel), kLargestFromParticipant);
  wire::ToParticipant hello;
  hello.mutable_hello()->set_version(kProtocolVersion);
  peers_.ask(peer, hello);
}

// Those that do not answer are seen from outside.
Result<void> KvmGuests::settle_missing() {
  for (Guest& guest : guests_) {
    Peer* const peer = guest.peer ? &peers_.active[*guest.peer] : nullptr;
    if (peer == nullptr || peer->connection) {
      continue;
    }
    guest.peer.reset();
    const std::string& name = guest.machine.name;
    if (must_take_part(name) && !request_.allow_missing) {
      return fail("{} does not take part: {}; --allow-missing goes on without its agent", name,
                  peer->problem);
    }
    missing_ |= must_take_part(name);
    notes_.push_back(fmt::format("{} is {}: {}", name, without_agent(), peer->problem));
    if (peer->data) {
      peer->data->discard();
    }
  }
  return {};
}

Result<void> KvmGuests::begin(const perf::Layout& layout, const Folder* output, bool live,
                              const Cancelled& cancelled) {
  host_clock_.look();
  layout_ = layout;
  output_ = output;
  if (live) {
    parser_.emplace(layout);
    for (Guest& guest : guests_) {
      watch(guest);
    }
  }
  agents_ = layout;
  for (perf::Counting& counting : agents_.countings) {
    counting.guests = false;
  }
  std::vector<perf::Counting> own;
  if (request_.sampling == GuestSampling::kByBoth) {
    own = agents_.countings;
    agents_.events = with_guests_own(layout.events);
  }
  if (request_.sampling != GuestSampling::kByGuest) {
    // The host does not look into a guest's stack.
    agents_.call_chains = layout.call_chains && request_.sampling == GuestSampling::kByBoth;
    agents_.stack_bytes = 0;
    for (perf::Counting& counting : agents_.countings) {
      counting.frequency = 0;
    }
  }
  agents_.countings.insert(agents_.countings.begin(), own.begin(), own.end());
  dial_all();
  peers_.agreed(agents_.events);
  return prepare(cancelled);
}

Result<void> KvmGuests::prepare(const Cancelled& cancelled) {
  const auto step = [&](std::string_view what) -> Result<void> {
    if (!peers_.await(limits_.step, what, cancelled)) {
      return fail("interrupted before the session began: nothing was recorded");
    }
    return settle_missing();
  };
  if (auto done = step(kAnswer); !done) {
    return done;
  }
  wire::ToParticipant prepare;
  auto& request = *prepare.mutable_prepare();
  to_wire(layout_.events, *request.mutable_events());
  for (int i = 0; i < request.events_size(); ++i) {
    request.mutable_events(i)->set_frequency(
        agents_.countings[static_cast<std::size_t>(i)].frequency);
  }
  request.set_call_chains(agents_.call_chains);
  request.set_live(parser_.has_value());
  using Prepare = wire::ToParticipant::Prepare;
  request.set_sampling(request_.sampling == GuestSampling::kByHost    ? Prepare::HOST
                       : request_.sampling == GuestSampling::kByGuest ? Prepare::SELF
                                                                      : Prepare::BOTH);
  for (Guest& guest : guests_) {
    if (guest.peer) {
      Peer& peer = peers_.active[*guest.peer];
      auto data = DomainData::create(output_, guest.machine.name, agents_, false);
      if (!data) {
        return std::unexpected(data.error());
      }
      peer.data = std::move(*data);
      if (!samples_itself_only(guest)) {
        read_clock(guest);
      }
    }
  }
  peers_.ask_all(prepare);
  if (auto done = step("get ready"); !done) {
    return done;
  }
  for (Guest& guest : guests_) {
    if (guest.clock.by_agent()) {
      learn_clock(guest, cancelled);
    }
  }
  if (auto done = settle_missing(); !done) {
    return done;
  }
  wire::ToParticipant arm;
  arm.mutable_arm();
  peers_.ask_all(arm);
  if (auto done = step("arm"); !done) {
    return done;
  }
  peers_.started();
  if (request_.sampling == GuestSampling::kByGuest &&
      std::ranges::any_of(guests_, [&](Guest& guest) { return connected(guest) != nullptr; })) {
    notes_.push_back(
        "Guests sampled themselves: their samples and this system's are of different clocks or "
        "counters, and shares of them tell within a domain, not between domains");
  }
  for (const auto& [name, unused] : request_.kernel_symbols) {
    if (std::ranges::any_of(guests_, [&](Guest& guest) {
          return guest.machine.name == name && connected(guest) != nullptr;
        })) {
      notes_.push_back(fmt::format(
          "--kernel-symbols: {}'s agent tells its kernel's names, the list is not needed", name));
    }
  }
  host_clock_.look();
  taking_ = true;
  sent_ = clocks_read_ = searched_ = Clock::now();
  return {};
}

Peer* KvmGuests::connected(const Guest& guest) {
  Peer* const peer = guest.peer ? &peers_.active[*guest.peer] : nullptr;
  return peer != nullptr && peer->connection ? peer : nullptr;
}

void KvmGuests::read_clock(Guest& guest) {
  Peer* const peer = connected(guest);
  if (peer == nullptr) {
    return;
  }
  if (auto read = guest.clock.read(guest.machine, root_); read) {
    return;
  } else if (taking_) {
    peer->drop(std::move(read.error().message));
  } else {
    guest.clock.leave_to_agent(std::move(read.error().message));
  }
}

void KvmGuests::learn_clock(Guest& guest, const Cancelled& cancelled) {
  Peer* const peer = connected(guest);
  if (peer == nullptr) {
    return;
  }
  auto learned = guest.clock.learn(peers_, *peer, host_clock_, cancelled);
  if (!learned && peer->connection) {
    peer->drop(std::move(learned.error().message));
  }
  read_clock(guest);
}

const KvmGuests::Place* KvmGuests::find_again(std::int32_t thread) {
  // A thread that is new is looked for at once; one that is no vCPU that can be found, seldom. Any
  // user can make threads without end: not all of theirs are looked for.
  constexpr int kMostAtOnce = 10;
  const auto now = Clock::now();
  const bool due = now - searched_ >= kSearchEvery;
  if (due) {
    searched_ = now;
    searched_at_once_ = 0;
    searched_for_.clear();
  }
  const bool is_new = searched_for_.insert(thread).second;
  if (!due && (!is_new || ++searched_at_once_ > kMostAtOnce)) {
    return nullptr;
  }
  auto machines = list_kvm_machines(root_);
  if (!machines) {
    return nullptr;
  }
  for (KvmMachine& machine : *machines) {
    const auto known = std::ranges::find(guests_, machine.process,
                                         [](const Guest& guest) { return guest.machine.process; });
    if (known != guests_.end()) {
      known->machine.vcpus = std::move(machine.vcpus);
      add_vcpus(static_cast<std::size_t>(known - guests_.begin()));
      read_clock(*known);
    } else if (!parser_) {
      add(std::move(machine));
      notes_.push_back(fmt::format("{} came during the session: it is {}",
                                   guests_.back().machine.name, without_agent()));
    }
  }
  const auto place = vcpus_.find(thread);
  return place != vcpus_.end() ? &place->second : nullptr;
}

void KvmGuests::take(perf::Bytes record) {
  if (record.size() < sizeof(perf_event_header) + sizeof(perf::SampleFields) ||
      !is_of_guest(perf::value_at<perf_event_header>(record, 0))) {
    return;
  }
  const auto head = perf::value_at<perf::SampleFields>(record, sizeof(perf_event_header));
  const std::size_t event = head.id - perf::event_id(0);
  std::vector<std::uint64_t>& taken = taken_[head.pid];
  taken.resize(layout_.events.size());
  ++taken[event];
  if (parser_) {
    const auto served = std::ranges::find(guests_, head.pid,
                                          [](const Guest& guest) { return guest.machine.process; });
    if (served == guests_.end()) {
      return;  // it came during the session: the host's profile has its samples
    }
    if (const auto parsed = parser_->parse(record)) {
      served->outside->add(*parsed);
    }
  }
  // A thread that ended may have left its number to another machine's.
  const auto known = vcpus_.find(head.tid);
  const Place* const place =
      known != vcpus_.end() && guests_[known->second.guest].machine.process == head.pid
          ? &known->second
          : find_again(head.tid);
  if (place == nullptr || guests_[place->guest].machine.process != head.pid) {
    return;
  }
  Guest& guest = guests_[place->guest];
  const TscRelation* const clock = guest.clock.of(place->vcpu);
  if (samples_itself_only(guest) || connected(guest) == nullptr || clock == nullptr) {
    return;
  }
  if (head.time > host_clock_.last_look()) {
    host_clock_.look();
  }
  auto& samples = *guest.waiting.mutable_samples();
  samples.add_tsc(clock->guest(host_clock_.tsc_at(head.time)));
  samples.add_ip(head.ip);
  samples.add_vcpu(guest.machine.vcpus[place->vcpu].number);
  samples.add_event(static_cast<std::uint32_t>(event));
  if (samples.tsc_size() >= kSendSamplesAtOnce) {
    complete_to_ = head.time;
    send(guest, true);
  }
}

void KvmGuests::send(Guest& guest, bool due) {
  Peer* const peer = connected(guest);
  if (peer == nullptr) {
    return;
  }
  Result<void> sent;
  const TscRelation* const clock = guest.clock.of(0);
  if (due && complete_to_ != 0 && clock != nullptr) {
    guest.waiting.mutable_samples()->set_complete_to(
        clock->guest(host_clock_.tsc_at(complete_to_)));
    sent = peer->connection->post(guest.waiting);
    guest.waiting.Clear();
  } else {
    sent = peer->connection->flush();
  }
  if (!sent) {
    peer->drop(sent.error().message);
  } else if (peer->connection->unsent() > kMostUnsent) {
    peer->drop("its agent takes no samples");
  }
}

void KvmGuests::pump(std::uint64_t complete_to) {
  host_clock_.look();
  complete_to_ = std::max(complete_to_, complete_to);
  const auto now = Clock::now();
  const bool due = now - sent_ >= kSendSamplesEvery;
  const bool clocks_due = now - clocks_read_ >= kReadClocksEvery;
  sent_ = due ? now : sent_;
  clocks_read_ = clocks_due ? now : clocks_read_;
  for (Guest& guest : guests_) {
    if (samples_itself_only(guest)) {
      continue;
    }
    send(guest, due);
    if (clocks_due) {
      Peer* const peer = connected(guest);
      if (peer != nullptr && guest.clock.by_agent()) {
        guest.clock.ask(peers_, *peer, host_clock_, kAnswerLimit);
      }
      read_clock(guest);
    }
  }
  peers_.wait_for_messages(0ms);
}

void KvmGuests::watch(Guest& guest) {
  guest.outside.emplace(layout_, perf::Interpreter::Kind::kPassive);
  guest.outside->guest_samples_only(guest.machine.process);
  guest.names.emplace(symbols_of(guest));
}

void KvmGuests::look(Profile& profile) {
  peers_.peek();
  for (Guest& guest : guests_) {
    Peer* const peer = guest.peer ? &peers_.active[*guest.peer] : nullptr;
    if (peer != nullptr && peer->interim && is_told_more_than_taken(guest, *peer->interim)) {
      peer->drop("its agent tells of more samples than were taken of it");
    }
    if (connected(guest) != nullptr || samples_itself_only(guest)) {
      if (peer->interim) {
        profile.merge(*peer->interim, guest.machine.name);
      }
      if (!samples_itself_only(guest)) {
        profile.merge(untold(guest.outside->profile(), peer->interim ? &*peer->interim : nullptr),
                      guest.machine.name);
      }
    } else {
      Profile& outside = guest.outside->profile();
      guest.names->name(outside);
      profile.merge(outline(outside), guest.machine.name);
    }
  }
}

SymbolSources KvmGuests::symbols_of(const Guest& guest) const {
  SymbolSources sources{.kallsyms = {}, .xensyms = {}, .own_files = false};
  if (const auto given = request_.kernel_symbols.find(guest.machine.name);
      given != request_.kernel_symbols.end()) {
    sources.kallsyms = given->second.file;
    sources.kernel_offset = given->second.offset;
  }
  return sources;
}

void KvmGuests::end() {
  complete_to_ = perf::raw_clock();
  wire::ToParticipant stop;
  stop.mutable_stop();
  for (Guest& guest : guests_) {
    if (!samples_itself_only(guest)) {
      send(guest, true);
    }
  }
  peers_.ask_all(stop);
  const auto asked = Clock::now();
  peers_.await(limits_.finish, "finish", [&] {
    if (Clock::now() - asked > limits_.sign_of_life) {
      peers_.drop_silent(asked);
    }
    return false;
  });
}

std::unordered_map<std::int32_t, std::string> KvmGuests::by_process() const {
  std::unordered_map<std::int32_t, std::string> machines;
  for (const Guest& guest : guests_) {
    machines[guest.machine.process] = guest.machine.name;
    for (const std::int32_t worker : guest.machine.workers) {
      machines[worker] = guest.machine.name;
    }
  }
  return machines;
}

std::vector<std::uint64_t> KvmGuests::taken() const {
  std::vector<std::uint64_t> sum(layout_.events.size());
  for (const Guest& guest : guests_) {
    std::ranges::transform(sum, taken_of(guest), sum.begin(), std::plus<>());
  }
  return sum;
}

void KvmGuests::progress(SessionProgress& now) const {
  for (const Guest& guest : guests_) {
    const Peer* const peer = guest.peer ? &peers_.active[*guest.peer] : nullptr;
    const auto by_host = taken_of(guest);
    std::uint64_t taken = std::reduce(by_host.begin(), by_host.end());
    std::uint64_t lost = 0;
    if (peer != nullptr && peer->data && request_.sampling != GuestSampling::kByHost) {
      const auto& inside = peer->data->arrived();
      taken = std::reduce(inside.begin(), inside.end(), samples_itself_only(guest) ? 0 : taken);
      lost = peer->ring_lost;
    }
    now.domains.push_back({.name = guest.machine.name,
                           .role = peer != nullptr ? "active" : "passive",
                           .taken = taken + lost,
                           .lost = lost,
                           .problem = peer != nullptr ? peer->problem : ""});
  }
}

// Of what the host took; what the guest took itself is known from its agent alone.
bool KvmGuests::is_told_more_than_taken(const Guest& guest, const Profile& told) const {
  if (samples_itself_only(guest)) {
    return false;
  }
  std::vector<std::uint64_t> most = taken_of(guest);
  most.insert(most.begin(), told.events().size() - most.size(), ~std::uint64_t{0});
  return !is_within(told, most);
}

std::vector<EventTotals> KvmGuests::totals_of(const Guest& guest, const Profile& own,
                                              const std::vector<std::uint64_t>* served,
                                              bool finished, bool by_interim) const {
  const Peer* const peer = guest.peer ? &peers_.active[*guest.peer] : nullptr;
  // The guest's perf tells the sum over all events.
  const std::uint64_t lost_inside =
      finished && request_.sampling != GuestSampling::kByHost ? peer->ring_lost : 0;
  std::vector<EventTotals> totals;
  const auto account = [&](const Event& event, std::uint64_t arrived, std::uint64_t delivered,
                           std::uint64_t lost, const char* cause) -> EventTotals& {
    EventTotals& one = totals.emplace_back();
    one = {.name = event.name,
           .count = event.count,
           .taken = arrived + lost,
           .delivered = delivered,
           .lost = {},
           .estimated = lost != 0 && layout_.events.size() > 1};
    if (lost != 0) {
      one.lost[kLostInPerf] = lost;
    }
    if (delivered < arrived) {
      one.lost[cause] = arrived - delivered;
    }
    return one;
  };
  const std::size_t events = layout_.events.size();
  const std::size_t first = own.events().size() - events;  // before these: the guest's own
  for (std::size_t event = 0; event < events; ++event) {
    const std::uint64_t done_for = served != nullptr ? (*served)[event] : 0;
    const std::uint64_t delivered = own.total(first + event);
    const bool itself = samples_itself_only(guest);
    EventTotals& one = account(layout_.events[event],
                               by_interim ? delivered
                               : itself   ? peer->data->arrived()[event]
                                          : taken_of(guest)[event],
                               delivered, itself && event == 0 ? lost_inside : 0,
                               finished ? kLostWithAgent : kLostOnDisk);
    one.taken += done_for;
    one.delivered += done_for;
  }
  if (request_.sampling == GuestSampling::kByBoth && peer != nullptr) {
    for (std::size_t event = 0; event < events; ++event) {
      account(agents_.events[event], peer->data ? peer->data->arrived()[event] : 0,
              finished ? own.total(event) : 0, event == 0 ? lost_inside : 0, kLostWithAgent);
    }
  }
  return totals;
}

bool KvmGuests::conclude(DomainData& host, const Profile& served, Profile& merged,
                         SessionRecord& record) {
  bool whole = !missing_;
  for (std::string& note : notes_) {
    record.notes.push_back(std::move(note));
  }
  std::map<std::string_view, std::vector<std::uint64_t>> done_for;
  for (const Sample& sample : served.samples()) {
    std::vector<std::uint64_t>& sum = done_for[served.text(sample.key.domain)];
    sum.resize(layout_.events.size());
    std::ranges::transform(sum, sample.samples, sum.begin(), std::plus());
  }
  std::vector<std::int32_t> from_outside;
  for (Guest& guest : guests_) {
    Peer* const peer = guest.peer ? &peers_.active[*guest.peer] : nullptr;
    if (peer != nullptr && peer->profile && is_told_more_than_taken(guest, *peer->profile)) {
      peer->profile.reset();
      peer->drop("its agent tells of more samples than were taken of it");
    }
    if ((peer == nullptr || !peer->profile) && !samples_itself_only(guest) && !guest.outside) {
      from_outside.push_back(guest.machine.process);
    }
  }
  auto outside = host.guest_profiles(from_outside);
  for (std::size_t index = 0; index < guests_.size(); ++index) {
    Guest& guest = guests_[index];
    const std::string& name = guest.machine.name;
    Peer* const peer = guest.peer ? &peers_.active[*guest.peer] : nullptr;
    const bool finished = peer != nullptr && peer->profile;
    if (finished && guest.clock.by_agent()) {
      record.notes.push_back(guest.clock.note(host_clock_));
    }
    const bool sampled_itself = samples_itself_only(guest);
    // Nothing was kept, and its last word is how it stood some time before it went.
    const bool by_interim = sampled_itself && !finished && output_ == nullptr && peer->interim;
    Profile own(layout_.events);
    if (finished) {
      own = std::move(*peer->profile);
      for (const std::string& note : peer->notes) {
        record.notes.push_back(fmt::format("{}: {}", name, note));
      }
    } else {
      if (peer != nullptr) {
        record.notes.push_back(fmt::format(
            "{} is not whole: {}; {}", name, peer->problem,
            sampled_itself ? "what it had sent is kept, without the names of its functions"
                           : "its samples are shown as they look from outside"));
        whole = false;
      }
      if (sampled_itself) {
        own = by_interim ? std::move(*peer->interim) : peer->data->profile();
      } else {
        own =
            std::move(guest.outside ? guest.outside->profile() : outside.at(guest.machine.process));
      }
      SymbolSources symbols = symbols_of(guest);
      if (guest.names && !symbols.kernel_offset) {
        symbols.kernel_offset = guest.names->kernel_offset();  // few samples are left to tell
      }
      for (const std::string& note : resolve(own, symbols)) {
        record.notes.push_back(fmt::format("{}: {}", name, note));
      }
    }
    const auto found = done_for.find(name);
    DomainTotals totals{
        .name = name,
        .id = static_cast<std::uint32_t>(index + 1),
        .role = peer != nullptr ? "active" : "passive",
        .events = totals_of(guest, own, found != done_for.end() ? &found->second : nullptr,
                            finished, by_interim),
        .whole = finished || peer == nullptr || request_.sampling == GuestSampling::kByHost};
    for (const EventTotals& event : totals.events) {
      totals.counted += event.taken;
    }
    record.domains.push_back(std::move(totals));
    merged.merge(own, name);
    if (peer != nullptr && peer->data) {
      const perf::Features features{.hostname = name,
                                    .os_release = peer->kernel,
                                    .architecture = "x86_64",
                                    .command_line = {},
                                    .cpus = static_cast<std::uint32_t>(guest.machine.vcpus.size()),
                                    .build_ids = {}};
      if (auto stored = peer->data->finish(features, {}); !stored) {
        record.notes.push_back(stored.error().message);
        whole = false;
      }
    }
  }
  return whole;
}

}  // namespace xenoprof
