// SPDX-License-Identifier: GPL-2.0-or-later
#include "session/kvm_guests.h"

#include <linux/perf_event.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <numeric>
#include <utility>

#include "session/accounting.h"
#include "session/agent_channel.h"
#include "session/protocol.h"
#include "symbols/resolve.h"

namespace xenoprof {
namespace {

using namespace std::chrono_literals;

// How long an agent may take over one step. Generous: an emulated or busy guest is slow.
constexpr auto kStepLimit = 15s;
// Resolving names reads every image that was sampled; before that there is a sign of life.
constexpr auto kFinishLimit = 60s;
constexpr auto kSignOfLife = 15s;
constexpr auto kSendEvery = 500ms;
// Within one of the agent's largest messages, at 25 bytes a sample.
constexpr int kSendAtOnce = 2000;
// A guest that takes no samples for so long a time must not cost the host's memory: at ten thousand
// samples a second this is a minute and a half.
constexpr std::size_t kMostUnsent = std::size_t{16} << 20;
// The relation of the clocks changes when a guest is migrated, or writes its counter.
constexpr auto kReadClocksEvery = 1s;
constexpr auto kSearchEvery = 1s;

// The head of a sample as RecordBuilder and the kernel write it (perf/records.cpp, SampleFields).
struct SampleHead {
  perf_event_header header;
  std::uint64_t id;
  std::uint64_t ip;
  std::int32_t pid;
  std::int32_t tid;
  std::uint64_t time;
};

bool is_of_guest(const perf_event_header& header) {
  const unsigned mode = header.misc & PERF_RECORD_MISC_CPUMODE_MASK;
  return header.type == PERF_RECORD_SAMPLE &&
         (mode == PERF_RECORD_MISC_GUEST_KERNEL || mode == PERF_RECORD_MISC_GUEST_USER);
}

bool is_within(const Profile& profile, const std::vector<std::uint64_t>& taken) {
  for (std::size_t event = 0; event < taken.size(); ++event) {
    if (profile.total(event) > taken[event]) {
      return false;
    }
  }
  return true;
}

}  // namespace

Result<KvmGuests> KvmGuests::find(const GuestsRequest& request) {
  auto machines = list_kvm_machines();
  if (!machines) {
    return std::unexpected(machines.error());
  }
  KvmGuests guests(request);
  for (KvmMachine& machine : *machines) {
    guests.add(std::move(machine));
  }
  const auto known = [&](const std::string& name) {
    return name == "all" || std::ranges::any_of(guests.guests_, [&](const Guest& guest) {
             return guest.machine.name == name;
           });
  };
  for (const auto* names : {&request.domains, &request.passive}) {
    for (const std::string& name : *names) {
      if (!known(name)) {
        return fail("no machine of this host is called {}; `xenoprof list` shows them", name);
      }
    }
  }
  return guests;
}

void KvmGuests::add(KvmMachine machine) {
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
                             [&](const std::string& one) { return one == "all" || one == name; });
}

Result<void> KvmGuests::dial(Guest& guest) {
  const KvmMachine& machine = guest.machine;
  auto channel = dial_agent(machine);
  if (!channel) {
    return std::unexpected(channel.error());
  }
  guest.peer = peers_.active.size();
  Peer& peer = peers_.active.emplace_back();
  peer.domain = {.id = static_cast<std::uint16_t>(&guest - guests_.data() + 1),
                 .name = machine.name,
                 .type = "kvm",
                 .vcpus = static_cast<unsigned>(machine.vcpus.size()),
                 .has_agent = true};
  peer.connection = std::make_unique<Connection>(std::move(*channel), kLargestFromParticipant);
  wire::ToParticipant hello;
  hello.mutable_hello()->set_version(kProtocolVersion);
  peers_.ask(peer, hello);
  return {};
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
    notes_.push_back(fmt::format("{} is seen from outside only: {}", name, peer->problem));
    if (peer->data) {
      peer->data->discard();
    }
  }
  return {};
}

Result<void> KvmGuests::begin(const perf::Layout& layout, const std::filesystem::path& output,
                              const Cancelled& cancelled) {
  layout_ = layout;
  output_ = output;
  if (!request_.guest_sampling) {
    layout_.call_chains = false;  // the host does not look into a guest's stack
    for (perf::Counting& counting : layout_.countings) {
      counting.frequency = 0;
    }
  }
  for (perf::Counting& counting : layout_.countings) {
    counting.guests = false;
  }
  peers_.active.reserve(guests_.size());
  for (Guest& guest : guests_) {
    const std::string& name = guest.machine.name;
    if (std::ranges::find(request_.passive, name) != request_.passive.end()) {
      continue;
    }
    if (auto dialled = dial(guest); !dialled) {
      guest.peer = peers_.active.size();
      peers_.active.emplace_back().drop(dialled.error().message);
    }
  }
  peers_.agreed(layout_.events);
  return prepare(cancelled);
}

Result<void> KvmGuests::prepare(const Cancelled& cancelled) {
  const auto step = [&](const char* what) -> Result<void> {
    if (!peers_.await(kStepLimit, what, cancelled)) {
      return fail("interrupted before the session began: nothing was recorded");
    }
    return settle_missing();
  };
  if (auto done = step("answer"); !done) {
    return done;
  }
  wire::ToParticipant prepare;
  auto& request = *prepare.mutable_prepare();
  to_wire(layout_.events, *request.mutable_events());
  for (int i = 0; i < request.events_size(); ++i) {
    request.mutable_events(i)->set_frequency(
        layout_.countings[static_cast<std::size_t>(i)].frequency);
  }
  request.set_call_chains(layout_.call_chains);
  request.set_sampling(request_.guest_sampling ? wire::ToParticipant::Prepare::SELF
                                               : wire::ToParticipant::Prepare::HOST);
  for (Guest& guest : guests_) {
    if (guest.peer) {
      Peer& peer = peers_.active[*guest.peer];
      auto data = DomainData::create(output_ / (guest.machine.name + ".perf.data"), layout_, false);
      if (!data) {
        return std::unexpected(data.error());
      }
      peer.data = std::move(*data);
      if (!request_.guest_sampling) {
        read_clocks(guest);
      }
    }
  }
  peers_.ask_all(prepare);
  if (auto done = step("get ready"); !done) {
    return done;
  }
  wire::ToParticipant arm;
  arm.mutable_arm();
  peers_.ask_all(arm);
  if (auto done = step("arm"); !done) {
    return done;
  }
  peers_.started();
  const perf::TscLook now = perf::look_at_tsc();
  tsc_of_raw_.add(now.raw, now.tsc);
  sent_ = clocks_read_ = searched_ = Clock::now();
  return {};
}

Peer* KvmGuests::connected(const Guest& guest) {
  Peer* const peer = guest.peer ? &peers_.active[*guest.peer] : nullptr;
  return peer != nullptr && peer->connection ? peer : nullptr;
}

void KvmGuests::read_clocks(Guest& guest) {
  Peer* const peer = connected(guest);
  if (peer == nullptr) {
    return;
  }
  guest.clocks.resize(guest.machine.vcpus.size());
  for (std::size_t i = 0; i < guest.clocks.size(); ++i) {
    const auto clock = tsc_relation(guest.machine, guest.machine.vcpus[i].number);
    if (!clock) {
      peer->drop(fmt::format("its clock cannot be told: {}", clock.error().message));
      return;
    }
    guest.clocks[i] = *clock;
  }
}

const KvmGuests::Place* KvmGuests::find_again(std::int32_t thread) {
  const auto now = Clock::now();
  if (now - searched_ < kSearchEvery) {
    return nullptr;
  }
  searched_ = now;
  auto machines = list_kvm_machines();
  if (!machines) {
    return nullptr;
  }
  for (KvmMachine& machine : *machines) {
    const auto known = std::ranges::find(guests_, machine.process,
                                         [](const Guest& guest) { return guest.machine.process; });
    if (known != guests_.end()) {
      known->machine.vcpus = std::move(machine.vcpus);
      add_vcpus(static_cast<std::size_t>(known - guests_.begin()));
      read_clocks(*known);
    } else {
      notes_.push_back(
          fmt::format("{} came during the session: it is seen from outside only", machine.name));
      add(std::move(machine));
    }
  }
  const auto place = vcpus_.find(thread);
  return place != vcpus_.end() ? &place->second : nullptr;
}

void KvmGuests::take(perf::Bytes record) {
  if (record.size() < sizeof(SampleHead) + sizeof(std::uint32_t)) {
    return;
  }
  const auto head = perf::value_at<SampleHead>(record, 0);
  if (!is_of_guest(head.header)) {
    return;
  }
  const std::size_t event = head.id - perf::event_id(0);
  std::vector<std::uint64_t>& taken = taken_[head.pid];
  taken.resize(layout_.events.size());
  ++taken[event];
  const auto known = vcpus_.find(head.tid);
  const Place* const place = known != vcpus_.end() ? &known->second : find_again(head.tid);
  if (place == nullptr) {
    return;
  }
  Guest& guest = guests_[place->guest];
  if (request_.guest_sampling || connected(guest) == nullptr ||
      place->vcpu >= guest.clocks.size()) {
    return;
  }
  auto& samples = *guest.waiting.mutable_samples();
  samples.add_tsc(guest.clocks[place->vcpu].guest(tsc_of_raw_.other_at(head.time)));
  samples.add_ip(head.ip);
  samples.add_vcpu(guest.machine.vcpus[place->vcpu].number);
  samples.add_event(static_cast<std::uint32_t>(event));
  if (samples.tsc_size() >= kSendAtOnce) {
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
  if (due && complete_to_ != 0) {
    guest.waiting.mutable_samples()->set_complete_to(
        guest.clocks.front().guest(tsc_of_raw_.other_at(complete_to_)));
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
  const perf::TscLook look = perf::look_at_tsc();
  tsc_of_raw_.add(look.raw, look.tsc);
  complete_to_ = std::max(complete_to_, complete_to);
  const auto now = Clock::now();
  const bool due = now - sent_ >= kSendEvery;
  const bool clocks_due = now - clocks_read_ >= kReadClocksEvery;
  sent_ = due ? now : sent_;
  clocks_read_ = clocks_due ? now : clocks_read_;
  for (Guest& guest : guests_) {
    if (!request_.guest_sampling) {
      send(guest, due);
    }
    if (clocks_due && !request_.guest_sampling) {
      read_clocks(guest);
    }
  }
  peers_.wait_for_messages(0ms);
}

void KvmGuests::end() {
  complete_to_ = perf::raw_clock();
  wire::ToParticipant stop;
  stop.mutable_stop();
  for (Guest& guest : guests_) {
    if (!request_.guest_sampling) {
      send(guest, true);
    }
  }
  peers_.ask_all(stop);
  const auto asked = Clock::now();
  peers_.await(kFinishLimit, "finish", [&] {
    if (Clock::now() - asked > kSignOfLife) {
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
    const auto taken = taken_of(guest);
    now.domains.push_back({.name = guest.machine.name,
                           .role = peer != nullptr ? "active" : "passive",
                           .taken = std::reduce(taken.begin(), taken.end()),
                           .lost = 0,
                           .problem = peer != nullptr ? peer->problem : ""});
  }
}

bool KvmGuests::conclude(DomainData& host, const Profile& served, Profile& merged,
                         SessionRecord& record) {
  bool whole = !missing_;
  for (std::string& note : notes_) {
    record.notes.push_back(std::move(note));
  }
  for (std::size_t index = 0; index < guests_.size(); ++index) {
    Guest& guest = guests_[index];
    const std::string& name = guest.machine.name;
    const auto taken_outside = taken_of(guest);
    Peer* const peer = guest.peer ? &peers_.active[*guest.peer] : nullptr;
    if (peer != nullptr && peer->profile && !request_.guest_sampling &&
        !is_within(*peer->profile, taken_outside)) {
      peer->profile.reset();
      peer->drop("its agent tells of more samples than were taken of it");
    }
    const bool finished = peer != nullptr && peer->profile;
    Profile own(layout_.events);
    if (finished) {
      own = std::move(*peer->profile);
      for (const std::string& note : peer->notes) {
        record.notes.push_back(fmt::format("{}: {}", name, note));
      }
    } else {
      if (peer != nullptr) {
        record.notes.push_back(
            fmt::format("{} is not whole: {}; its samples are shown as they look from outside",
                        name, peer->problem));
        whole = false;
      }
      own = host.guest_profile(guest.machine.process);
      SymbolSources sources{.kallsyms = {}, .xensyms = {}, .own_files = false};
      if (const auto given = request_.kernel_symbols.find(name);
          given != request_.kernel_symbols.end()) {
        sources.kallsyms = given->second;
      }
      for (const std::string& note : resolve(own, sources)) {
        record.notes.push_back(fmt::format("{}: {}", name, note));
      }
    }
    DomainTotals totals{.name = name,
                        .id = static_cast<std::uint32_t>(index + 1),
                        .role = peer != nullptr ? "active" : "passive",
                        .events = {}};
    for (std::size_t event = 0; event < layout_.events.size(); ++event) {
      std::uint64_t done_for = 0;
      for (const Sample& sample : served.samples()) {
        done_for += served.text(sample.key.domain) == name ? sample.samples[event] : 0;
      }
      const std::uint64_t delivered = own.total(event);
      // The guest's perf tells the sum over all events.
      const std::uint64_t lost_inside =
          request_.guest_sampling && finished && event == 0 ? peer->ring_lost : 0;
      const std::uint64_t taken =
          request_.guest_sampling && finished ? delivered + lost_inside : taken_outside[event];
      EventTotals& one = totals.events.emplace_back();
      one = {.name = layout_.events[event].name,
             .count = layout_.events[event].count,
             .taken = taken + done_for,
             .delivered = delivered + done_for,
             .lost = {},
             .estimated = lost_inside != 0 && layout_.events.size() > 1};
      if (lost_inside != 0) {
        one.lost[kLostInPerf] = lost_inside;
      } else if (delivered < taken) {
        one.lost[finished ? kLostWithAgent : kLostOnDisk] = taken - delivered;
      }
      totals.counted += one.taken;
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
