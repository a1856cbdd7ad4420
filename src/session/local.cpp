// SPDX-License-Identifier: GPL-2.0-or-later
#include "session/local.h"

#include <linux/perf_event.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <numeric>
#include <optional>
#include <string_view>
#include <utility>

#include "files/file_descriptor.h"
#include "hypervisor/kvm_machines.h"
#include "perf/ring_reader.h"
#include "pprof/pprof.h"
#include "session/accounting.h"
#include "session/domain_data.h"
#include "session/outline.h"
#include "session/output_folder.h"
#include "symbols/resolve.h"

namespace xenoprof {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

// Half-full rings wake us earlier.
constexpr auto kLook = 100ms;

// Looks in a live session, as Peers has it for those of other domains.
constexpr auto kFirstLook = 1s;
constexpr auto kLookEvery = 2s;
constexpr int kLookPause = 5;

// A CPU's samples for half a second, with the usual stacks and frequency.
constexpr std::size_t kRingWithStacks = std::size_t{8} << 20;

// kernel.perf_event_paranoid's meaning: linux/Documentation/admin-guide/sysctl/kernel.rst.
constexpr int kNothing = 3;  // to Debian's and Ubuntu's kernels; to others as 2
constexpr int kOwnUserCodeOnly = 2;
constexpr int kOwnProcessesOnly = 1;

std::string first_line(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

bool has_capability(unsigned number) {
  std::ifstream status("/proc/self/status");
  constexpr std::string_view kEffective = "CapEff:";
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(kEffective)) {
      return (std::strtoull(line.c_str() + kEffective.size(), nullptr, 16) >> number & 1) != 0;
    }
  }
  return false;
}

// What the kernel refuses us; -1: nothing.
int paranoia() {
  constexpr unsigned kSysAdmin = 21;  // linux/capability.h
  constexpr unsigned kPerfmon = 38;
  if (has_capability(kPerfmon) || has_capability(kSysAdmin)) {
    return -1;
  }
  return std::atoi(first_line("/proc/sys/kernel/perf_event_paranoid").c_str());
}

std::string cpu_model() {
  std::ifstream cpus("/proc/cpuinfo");
  for (std::string line; std::getline(cpus, line);) {
    if (line.starts_with("model name")) {
      const std::size_t colon = line.find(": ");
      return colon == line.npos ? "" : line.substr(colon + 2);
    }
  }
  return "unknown CPU";
}

Result<std::vector<std::int32_t>> threads_of(const std::vector<std::int32_t>& processes) {
  std::vector<std::int32_t> threads;
  for (const std::int32_t process : processes) {
    std::error_code error;
    const std::filesystem::path folder = fmt::format("/proc/{}/task", process);
    for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end;
         entry.increment(error)) {
      threads.push_back(std::atoi(entry->path().filename().c_str()));
    }
    if (error) {
      return fail("process {} is not there, or not for us to see: {}", process, error.message());
    }
  }
  // Whoever is named twice is recorded once.
  std::ranges::sort(threads);
  threads.erase(std::unique(threads.begin(), threads.end()), threads.end());
  return threads;
}

// Of which process a thread is; 0: there is none.
std::int32_t process_of(std::int32_t thread) {
  constexpr std::string_view kProcess = "Tgid:";
  std::ifstream status(fmt::format("/proc/{}/status", thread));
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(kProcess)) {
      return std::atoi(line.c_str() + kProcess.size());
    }
  }
  return 0;
}

// Can be read once the process has ended, also while its parent has not asked after it.
Result<std::vector<FileDescriptor>> open_processes(const std::vector<std::int32_t>& processes) {
  std::vector<FileDescriptor> opened;
  for (const std::int32_t process : processes) {
    opened.emplace_back(static_cast<int>(::syscall(SYS_pidfd_open, process_of(process), 0)));
    if (!opened.back()) {
      return fail("process {} cannot be followed: {}", process, std::strerror(errno));
    }
  }
  return opened;
}

bool asks_for_guests(const GuestsRequest& request) {
  return !request.domains.empty() || !request.passive.empty() || !request.kernel_symbols.empty() ||
         request.sampling != GuestSampling::kByHost;
}

class LocalSession {
 public:
  // `output` outlives this.
  LocalSession(const LocalRequest& request, const OutputFolder& output)
      : request_(request), output_(output) {}

  Result<void> prepare(const Cancelled& cancelled);
  Result<void> start(const std::function<Result<void>()>& started);
  Result<void> run(const KeepGoing& keep_going);
  Result<SessionResult> conclude(const Result<void>& ran);

 private:
  Result<void> choose_events();
  void note_machines();
  perf::Sink sink() {
    return [this](std::uint16_t, perf::Bytes record) {
      data_->add_own(record);
      if (guests_) {
        guests_->take(record);
      }
    };
  }
  // In a live session: makes the profile anew, seldom enough to spend little of the time on it.
  void look();
  SessionProgress progress() const;
  bool all_ended() const;
  std::vector<std::uint64_t> lost_by_event(bool& estimated) const;
  // `profile`: of this system and, in the names of its guests, of what it did for them.
  DomainTotals totals(const Profile& profile) const;

  const LocalRequest& request_;
  const OutputFolder& output_;
  perf::Layout layout_;
  std::optional<perf::RingReader> reader_;
  std::optional<DomainData> data_;
  std::optional<KvmGuests> guests_;       // none: this system alone
  std::vector<FileDescriptor> followed_;  // with whose processes the session ends
  std::vector<std::string> notes_;
  std::optional<NamesInPassing> names_;  // in a live session, as all below
  std::shared_ptr<const Profile> live_;
  Clock::time_point next_look_;
  Clock::time_point started_;
  std::chrono::system_clock::time_point started_at_;
};

Result<void> LocalSession::choose_events() {
  std::vector<perf::CountedEvent> events = request_.events;
  if (events.empty()) {
    const bool hardware = perf::has_hardware_counters();
    if (!hardware) {
      notes_.push_back(
          "This machine has no counters that perf can use: samples are of cpu-clock, time on a "
          "CPU.");
    }
    auto found = perf::find_counted_event(hardware ? "cycles" : "cpu-clock", request_.frequency);
    if (!found) {
      return std::unexpected(found.error());
    }
    events.push_back(std::move(*found));
  }
  const int refused = paranoia();
  if (refused >= kOwnProcessesOnly && request_.processes.empty()) {
    return fail(
        "kernel.perf_event_paranoid is {}: the whole system is for root or CAP_PERFMON to "
        "record{}",
        refused,
        refused < kNothing ? ". One program can be recorded: xenoprof record -- COMMAND" : "");
  }
  if (refused >= kOwnUserCodeOnly) {
    notes_.push_back(fmt::format(
        "kernel.perf_event_paranoid is {}: samples are of user code only, without the kernel's.",
        refused));
  }
  layout_.call_chains = request_.call_chains;
  layout_.stack_bytes = request_.stack_bytes;
  for (perf::CountedEvent& event : events) {
    if (refused >= kOwnUserCodeOnly && event.counting.exclude_user) {
      return fail(
          "event '{}' is of the kernel alone, and kernel.perf_event_paranoid is {}: that is for "
          "root or CAP_PERFMON",
          event.event.name, refused);
    }
    event.counting.exclude_kernel |= refused >= kOwnUserCodeOnly;
    if (guests_ && request_.guests.sampling == GuestSampling::kByHost &&
        event.counting.type == PERF_TYPE_SOFTWARE &&
        !perf::is_clock(event.counting.type, event.counting.config)) {
      notes_.push_back(
          fmt::format("{} is counted in this system alone; in guests --guest-sampling does.",
                      event.event.name));
    }
    event.counting.guests = guests_ && request_.guests.sampling != GuestSampling::kByGuest;
    layout_.events.push_back(std::move(event.event));
    layout_.countings.push_back(event.counting);
  }
  return {};
}

// Events of a process leave its guest out, and look as if they had a bit of it: the instruction
// after an exit.
void LocalSession::note_machines() {
  const auto machines =
      request_.processes.empty() ? Result<std::vector<KvmMachine>>{} : list_kvm_machines();
  for (const std::int32_t process : request_.processes) {
    if (machines && std::ranges::count(*machines, process_of(process), &KvmMachine::process) != 0) {
      notes_.push_back(fmt::format(
          "Process {} is a virtual machine's: what runs in its guest is left out. A session of the "
          "whole system (-a) has it.",
          process));
    }
  }
}

Result<void> LocalSession::prepare(const Cancelled& cancelled) {
  if (request_.processes.empty()) {
    auto guests = KvmGuests::find(request_.guests);
    if (guests && guests->any()) {
      guests_ = std::move(*guests);
    } else if (guests && asks_for_guests(request_.guests)) {
      notes_.push_back("No virtual machine ran here when the session began.");
    } else if (!guests && asks_for_guests(request_.guests)) {
      return std::unexpected(guests.error());
    } else if (!guests) {
      notes_.push_back(fmt::format("{}. Their code is not sampled.", guests.error().message));
    }
  }
  if (auto chosen = choose_events(); !chosen) {
    return chosen;
  }
  const auto threads = threads_of(request_.processes);
  if (!threads) {
    return std::unexpected(threads.error());
  }
  // A command is waited for by whoever began it.
  if (!request_.from_exec) {
    note_machines();
    auto followed = open_processes(request_.processes);
    if (!followed) {
      return std::unexpected(followed.error());
    }
    followed_ = std::move(*followed);
  }
  perf::RecorderOptions options{.layout = layout_,
                                .threads = *threads,
                                .from_exec = request_.from_exec,
                                .raw_clock = guests_.has_value()};
  if (layout_.stack_bytes != 0) {
    options.sample_ring_bytes = kRingWithStacks;
  }
  auto recorder = perf::Recorder::open(options);
  if (!recorder) {
    return std::unexpected(recorder.error());
  }
  reader_.emplace(std::move(*recorder));
  auto data = DomainData::create(output_.files(), kHost, layout_, false);
  if (!data) {
    return std::unexpected(data.error());
  }
  data_ = std::move(*data);
  if (request_.live) {
    names_.emplace(SymbolSources{.xensyms = {}});
    names_->read_ahead();
  }
  if (!guests_) {
    // Unwinding takes too long to be done meanwhile.
    if (layout_.stack_bytes == 0) {
      data_->interpret_at_once();
    }
    return {};
  }
  if (request_.live) {
    data_->interpret_at_once(DomainData::Machines{kHost, guests_->by_process()});
  }
  return guests_->begin(layout_, output_.files(), request_.live, cancelled);
}

Result<void> LocalSession::start(const std::function<Result<void>()>& started) {
  if (auto begun = reader_->start(sink()); !begun) {
    return begun;
  }
  started_ = Clock::now();
  next_look_ = started_ + kFirstLook;
  started_at_ = std::chrono::system_clock::now();
  return started();
}

void LocalSession::look() {
  const auto begun = Clock::now();
  if (begun < next_look_) {
    return;
  }
  auto profile = std::make_shared<Profile>(layout_.events);
  Profile& host = *data_->profile_so_far();
  names_->name(host);
  profile->merge(outline(host), guests_ ? "" : kHost);
  if (guests_) {
    guests_->look(*profile);
  }
  live_ = std::move(profile);
  const auto now = Clock::now();
  next_look_ = std::max(begun + kLookEvery, now + kLookPause * (now - begun));
}

SessionProgress LocalSession::progress() const {
  SessionProgress now;
  now.profile = live_;
  now.seconds = std::chrono::duration<double>(Clock::now() - started_).count();
  const std::uint64_t lost = reader_->losses().samples;
  std::uint64_t taken = std::reduce(data_->arrived().begin(), data_->arrived().end()) + lost;
  if (guests_) {
    const auto of_guests = guests_->taken();
    taken -= std::reduce(of_guests.begin(), of_guests.end());
  }
  now.domains.push_back(
      {.name = kHost, .role = "initiator", .taken = taken, .lost = lost, .problem = {}});
  if (guests_) {
    guests_->progress(now);
  }
  return now;
}

bool LocalSession::all_ended() const {
  return !followed_.empty() && std::ranges::all_of(followed_, [](const FileDescriptor& process) {
    pollfd ended{.fd = process.get(), .events = POLLIN, .revents = 0};
    return ::poll(&ended, 1, 0) > 0;
  });
}

Result<void> LocalSession::run(const KeepGoing& keep_going) {
  while (keep_going(progress()) && !all_ended()) {
    if (auto waited = reader_->wait(kLook); !waited) {
      return waited;
    }
    reader_->drain(sink());
    if (guests_) {
      guests_->pump(reader_->handed_out());
    }
    if (request_.live) {
      look();
    }
    if (!data_->written()) {
      return data_->written();
    }
  }
  return {};
}

// What each event lost in perf's rings. Kernels before 6.0 tell the sum alone.
std::vector<std::uint64_t> LocalSession::lost_by_event(bool& estimated) const {
  const perf::RecorderLosses losses = reader_->losses();
  std::vector<std::uint64_t> lost = losses.of_event;
  const auto told = std::reduce(lost.begin(), lost.end());
  if (losses.samples > told) {
    const auto busiest = std::ranges::max_element(data_->arrived()) - data_->arrived().begin();
    lost[static_cast<std::size_t>(busiest)] += losses.samples - told;
    estimated = lost.size() > 1;
  }
  return lost;
}

DomainTotals LocalSession::totals(const Profile& profile) const {
  DomainTotals totals{.name = kHost, .id = 0, .role = "initiator", .events = {}};
  bool estimated = false;
  const std::vector<std::uint64_t> lost = lost_by_event(estimated);
  const auto of_guests =
      guests_ ? guests_->taken() : std::vector<std::uint64_t>(layout_.events.size());
  for (std::size_t i = 0; i < layout_.events.size(); ++i) {
    std::uint64_t for_guests = 0;
    for (const Sample& sample : profile.samples()) {
      for_guests += guests_ && profile.text(sample.key.domain) != kHost ? sample.samples[i] : 0;
    }
    const std::uint64_t arrived = data_->arrived()[i] - of_guests[i] - for_guests;
    EventTotals event{.name = layout_.events[i].name,
                      .count = layout_.events[i].count,
                      .taken = arrived + lost[i],
                      .delivered = profile.total(i) - for_guests,
                      .lost = {},
                      .estimated = estimated};
    if (lost[i] != 0) {
      event.lost[kLostInPerf] = lost[i];
    }
    if (event.delivered < arrived) {
      event.lost[kLostOnDisk] = arrived - event.delivered;
    }
    totals.counted += event.taken;
    totals.events.push_back(std::move(event));
  }
  return totals;
}

// As perf lists them: modules by their files, which the profile does not name.
std::vector<perf::BuildId> build_ids_of(const Profile& profile) {
  std::vector<perf::BuildId> all;
  for (const Image& image : profile.images()) {
    const std::string_view hex = profile.text(image.build_id);
    const std::string_view name = profile.text(image.name);
    const bool kernel = name == kKernelImage;
    if (hex.empty() || (!kernel && name != "[vdso]" && !name.starts_with('/'))) {
      continue;
    }
    perf::BuildId build_id{
        .path = std::string(kernel ? "[kernel.kallsyms]" : name), .id = {}, .kernel = kernel};
    for (std::size_t at = 0; at + 1 < hex.size(); at += 2) {
      const char digits[] = {hex[at], hex[at + 1], 0};
      build_id.id.push_back(static_cast<std::byte>(std::strtoul(digits, nullptr, 16)));
    }
    all.push_back(std::move(build_id));
  }
  return all;
}

Result<SessionResult> LocalSession::conclude(const Result<void>& ran) {
  SessionResult result;
  const double seconds = std::chrono::duration<double>(Clock::now() - started_).count();
  reader_->stop();
  while (reader_->drain(sink())) {
    if (guests_) {
      guests_->pump(reader_->handed_out());
    }
  }
  if (guests_) {
    guests_->end();
  }
  utsname system{};
  ::uname(&system);
  result.record = {.started = iso_time(started_at_),
                   .seconds = seconds,
                   .machine = fmt::format("{} {}, {}", guests_ ? "KVM, Linux" : "Linux",
                                          system.release, cpu_model()),
                   .command = request_.command,
                   .work = {},
                   .notes = std::move(notes_),
                   .domains = {}};
  std::vector<std::string>& notes = result.record.notes;
  const auto fail_softly = [&](const Result<void>& step) {
    if (!step) {
      notes.push_back(step.error().message);
      result.whole = false;
    }
  };
  fail_softly(ran ? data_->written() : ran);
  Profile profile = guests_ && !request_.live ? data_->host_profile({kHost, guests_->by_process()})
                                              : data_->profile();
  for (std::string& note : data_->notes()) {
    notes.push_back(std::move(note));
  }
  for (std::string& note : resolve(profile, {.xensyms = {}})) {
    notes.push_back(std::move(note));
  }
  for (std::string& note : reader_->notes()) {
    notes.push_back(std::move(note));
  }
  Profile merged(layout_.events);
  merged.merge(profile, guests_ ? "" : kHost);
  result.record.domains.push_back(totals(profile));
  if (guests_) {
    result.whole = guests_->conclude(*data_, profile, merged, result.record) && result.whole;
  }
  const Folder* const files = output_.files();
  if (files == nullptr) {
    return result;
  }
  fail_softly(data_->finish({.hostname = system.nodename,
                             .os_release = system.release,
                             .architecture = system.machine,
                             .command_line = {},
                             .cpus = static_cast<std::uint32_t>(::sysconf(_SC_NPROCESSORS_ONLN)),
                             .build_ids = build_ids_of(profile)},
                            {}));
  output_.release_reserve();
  fail_softly(files->write(kProfileFile, pprof::encode(merged)));
  fail_softly(files->write(kSessionFile, to_json(result.record)));
  return result;
}

}  // namespace

Result<SessionResult> run_local_session(const LocalRequest& request, const Cancelled& cancelled,
                                        const std::function<Result<void>()>& started,
                                        const KeepGoing& keep_going) {
  auto output = OutputFolder::open(request.output);
  if (!output) {
    return std::unexpected(output.error());
  }
  LocalSession session(request, *output);
  Result<void> done = session.prepare(cancelled);
  if (done) {
    done = session.start(started);
  }
  if (!done) {
    return std::unexpected(done.error());
  }
  output->begun();
  return session.conclude(session.run(keep_going));
}

}  // namespace xenoprof
