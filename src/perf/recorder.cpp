// SPDX-License-Identifier: GPL-2.0-or-later
#include "perf/recorder.h"

#include <linux/perf_event.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <deque>
#include <numeric>
#include <optional>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "model/text.h"
#include "perf/bytes.h"
#include "perf/call_chain.h"
#include "perf/clock_relation.h"
#include "perf/cpu_rings.h"
#include "perf/record_fields.h"
#include "perf/synthesize.h"
#include "perf/tracepoint.h"

namespace xenoprof::perf {
namespace {

// The head of the kernel's records of the tracepoint, by the sample_type we ask for; then come the
// call chain, if wanted, and the raw fields.
struct SampleHead {
  perf_event_header header;
  std::uint64_t id;
  std::int32_t pid;
  std::int32_t tid;
  std::uint64_t time;
  std::uint32_t cpu;
  std::uint32_t reserved;
};
static_assert(sizeof(SampleHead) == 40);

// Of the kernel's records of perf's own events.
constexpr std::size_t kOwnId = sizeof(perf_event_header) + offsetof(SampleFields, id);
constexpr std::size_t kOwnTime = sizeof(perf_event_header) + offsetof(SampleFields, time);

std::uint64_t lost_in(Bytes record) {
  LostFields fields = {};
  if (record.size() >= sizeof(perf_event_header) + sizeof fields + sizeof(SampleIdFields)) {
    fields = value_at<LostFields>(record, sizeof(perf_event_header));
  }
  return fields.count;
}

}  // namespace

class Recorder::Impl {
 public:
  Impl(const RecorderOptions& options, std::optional<Tracepoint> tracepoint)
      : options_(options),
        tracepoint_(tracepoint),
        sample_time_(tracepoint_ ? offsetof(SampleHead, time) : kOwnTime),
        opener_(options_, tracepoint_ ? &*tracepoint_ : nullptr),
        builder_(options_.layout) {
    losses_.of_event.resize(options_.layout.countings.size());
    counted_.resize(options_.layout.countings.size());
  }

  Result<void> open();
  Result<void> start(const Sink& sink);
  void follow_cpus();
  void read(std::uint64_t horizon, const Sink& sink);
  // Ends recording; what came until then is still to be read.
  void finish();
  std::vector<std::string> notes() const;

  void remember_reading();
  // Whatever is as old as this has been read.
  std::uint64_t settled();

  std::vector<int> descriptors_;  // that are waited for
  RecorderLosses losses_;
  std::uint64_t handed_out_ = 0;

 private:
  enum class Origin : std::uint8_t { kSideband, kSamples };
  struct Pending {
    std::uint64_t time;
    std::size_t offset;  // into bytes_
    std::uint16_t size;
    Origin origin;
  };

  Result<void> record_too(int cpu);
  void close(CpuRings& cpu);
  void add(CpuRings cpu);
  void finish(CpuRings& cpu);
  void tell_the_rest(EventRing& source, int cpu, Origin origin);
  void begin_run();
  void collect(EventRing& source, Origin origin);
  void merge();
  void forget_done();
  void emit(const Pending& pending, const Sink& sink);
  void emit_lost(const Pending& pending, Bytes record, const Sink& sink);
  void emit_sample(Bytes record, const Sink& sink);
  void emit_own_sample(std::span<std::byte> record, const Sink& sink);
  void add_notes_of_counts(std::vector<std::string>& notes) const;

  const RecorderOptions options_;
  std::optional<Tracepoint> tracepoint_;  // none: perf's own events, or no samples
  std::size_t sample_time_;               // where a sample tells its time
  RingOpener opener_;
  std::vector<CpuRings> cpus_;
  std::vector<int> not_recorded_;  // CPUs that are told of
  std::vector<std::string> notes_;
  std::chrono::steady_clock::time_point followed_;
  std::unordered_map<std::uint64_t, std::size_t> events_;  // by the kernel's identifier
  struct Counted {
    std::uint64_t events = 0;
    std::uint64_t time = 0;      // that it had a counter, ns
    std::uint64_t time_due = 0;  // that what is recorded ran, ns
    std::uint64_t samples = 0;
  };
  std::vector<Counted> counted_;   // of perf's own events, until the end
  std::uint64_t num_threads_ = 0;  // that began during the recording
  RecordBuilder builder_;
  std::vector<Pending> pending_;
  std::vector<std::size_t> runs_ = {0};  // of pending_: where each that is in order begins
  std::vector<std::byte> bytes_;
  std::size_t done_bytes_ = 0;   // of bytes_: nobody waits for them any more
  std::vector<std::byte> kept_;  // of bytes_, while the others are forgotten
  std::vector<std::uint64_t> chain_;
  // How late it was for the kernel's records. Its own clock for perf is no other's: there, what was
  // read tells.
  struct Reading {
    std::chrono::steady_clock::time_point at;
    std::uint64_t latest;
  };
  std::deque<Reading> readings_;
  std::uint64_t latest_ = 0;
  std::uint64_t settled_ = 0;
};

Result<void> Recorder::Impl::open() {
  const auto cpus = online_cpus();
  if (!cpus) {
    return std::unexpected(cpus.error());
  }
  auto opened = opener_.open(*cpus);
  if (!opened) {
    return std::unexpected(opened.error());
  }
  for (CpuRings& cpu : *opened) {
    add(std::move(cpu));
  }
  followed_ = std::chrono::steady_clock::now();
  return {};
}

void Recorder::Impl::add(CpuRings cpu) {
  if (cpu.samples) {
    descriptors_.push_back(cpu.samples->ring.descriptor());
    const std::vector<std::uint64_t> ids = cpu.samples->ring.ids();
    for (std::size_t i = 0; i < ids.size() && !tracepoint_; ++i) {
      events_.emplace(ids[i], cpu.samples->events[i]);
    }
  }
  descriptors_.push_back(cpu.sideband.ring.descriptor());
  cpus_.push_back(std::move(cpu));
}

void Recorder::Impl::close(CpuRings& cpu) {
  std::erase(descriptors_, cpu.sideband.ring.descriptor());
  if (cpu.samples) {
    std::erase(descriptors_, cpu.samples->ring.descriptor());
  }
  finish(cpu);
}

// Reads all that its rings still have and will ever have.
void Recorder::Impl::finish(CpuRings& cpu) {
  if (cpu.samples) {
    collect(*cpu.samples, Origin::kSamples);
    tell_the_rest(*cpu.samples, cpu.cpu, Origin::kSamples);
    for (std::size_t i = 0; i < cpu.samples->events.size() && !tracepoint_; ++i) {
      const std::size_t event = cpu.samples->events[i];
      const Ring::Reading reading = cpu.samples->ring.reading(i);
      losses_.of_event[event] += reading.lost;
      counted_[event].events += reading.count;
      counted_[event].time += reading.time_running;
      counted_[event].time_due += options_.threads.empty() ? reading.time_enabled : 0;
    }
    if (!options_.threads.empty()) {
      // Events of a thread on one CPU count as enabled while it runs on others, too.
      const std::uint64_t ran = cpu.ran_until.value_or(cpu.sideband.ring.time_running());
      for (Counted& counted : counted_) {
        counted.time_due += ran - cpu.ran_before;
      }
    }
  }
  collect(cpu.sideband, Origin::kSideband);
  tell_the_rest(cpu.sideband, cpu.cpu, Origin::kSideband);
}

// PERF_RECORD_LOST comes with the next record that finds room: what was lost after the last one is
// counted, but has no record.
void Recorder::Impl::tell_the_rest(EventRing& source, int cpu, Origin origin) {
  const std::uint64_t lost = source.ring.lost();
  if (lost <= source.lost) {
    return;
  }
  const Bytes record =
      builder_.lost(0, static_cast<std::uint32_t>(cpu), kSidebandId, lost - source.lost);
  source.lost = lost;
  begin_run();
  pending_.push_back({.time = std::max(source.latest, handed_out_),
                      .offset = bytes_.size(),
                      .size = static_cast<std::uint16_t>(record.size()),
                      .origin = origin});
  put_bytes(bytes_, record);
}

Result<void> Recorder::Impl::record_too(int cpu) {
  if (!options_.threads.empty()) {
    // Children of theirs would not be recorded there.
    return fail("one program's events do not follow it there; -a does");
  }
  auto opened = opener_.open(cpu);
  if (!opened) {
    return std::unexpected(opened.error());
  }
  auto done = opened->sideband.ring.enable();
  if (done && opened->samples) {
    opened->ran_before = opened->sideband.ring.time_running();
    done = opened->samples->ring.enable();
  }
  if (done) {
    add(std::move(*opened));
  }
  return done;
}

// Looks for CPUs that came online, and for those that were offline meanwhile: suspending the host
// takes away all but one for a moment.
void Recorder::Impl::follow_cpus() {
  constexpr auto kEvery = std::chrono::seconds(1);
  const auto now = std::chrono::steady_clock::now();
  if (now - followed_ < kEvery) {
    return;
  }
  followed_ = now;
  std::erase_if(cpus_, [this](CpuRings& cpu) {
    // Events of threads stay with the threads.
    const bool gone = options_.threads.empty() && cpu.has_gone();
    if (gone) {
      close(cpu);
    }
    return gone;
  });
  const auto online = online_cpus();
  if (!online) {
    return;
  }
  std::erase_if(not_recorded_, [&](int cpu) { return std::ranges::count(*online, cpu) == 0; });
  for (const int cpu : *online) {
    if (std::ranges::count(cpus_, cpu, &CpuRings::cpu) != 0 ||
        std::ranges::count(not_recorded_, cpu) != 0) {
      continue;
    }
    if (const auto done = record_too(cpu); done) {
      notes_.push_back(
          fmt::format("CPU {} came online meanwhile: its first two seconds may be missing.", cpu));
    } else {
      not_recorded_.push_back(cpu);
      notes_.push_back(fmt::format("CPU {} came online meanwhile and was not recorded: {}.", cpu,
                                   done.error().message));
    }
  }
}

Result<void> Recorder::Impl::start(const Sink& sink) {
  // What changes while /proc is read is recorded, and comes after it in time. Samples begin when
  // every process is known: one that ends before its turn in /proc would have samples but no name.
  for (CpuRings& cpu : cpus_) {
    if (auto done = cpu.sideband.ring.enable(); !done) {
      return done;
    }
  }
  const auto take = [&](Bytes record) { sink(kOwnDomain, record); };
  synthesize_kernel(builder_, take);
  synthesize_processes(builder_, options_.layout.stack_bytes != 0, take);
  for (CpuRings& cpu : cpus_) {
    cpu.ran_before = cpu.sideband.ring.time_running();
    if (cpu.samples && !options_.from_exec) {
      if (auto done = cpu.samples->ring.enable(); !done) {
        return done;
      }
    }
  }
  return {};
}

void Recorder::Impl::finish() {
  for (CpuRings& cpu : cpus_) {
    if (cpu.samples) {
      cpu.samples->ring.disable();
      cpu.ran_until = cpu.sideband.ring.time_running();
    }
  }
  for (CpuRings& cpu : cpus_) {
    cpu.sideband.ring.disable();
  }
  for (CpuRings& cpu : cpus_) {
    finish(cpu);
  }
}

void Recorder::Impl::begin_run() {
  if (pending_.size() != runs_.back()) {
    runs_.push_back(pending_.size());
  }
}

void Recorder::Impl::collect(EventRing& source, Origin origin) {
  begin_run();
  std::size_t offset = bytes_.size();
  source.ring.read(bytes_);
  std::size_t size = 0;
  for (; bytes_.size() - offset >= sizeof(perf_event_header); offset += size) {
    const auto header = value_at<perf_event_header>(bytes_, offset);
    size = header.size;
    if (size < sizeof header || size > bytes_.size() - offset) {
      return;  // cannot happen; starting afresh beats going astray
    }
    const bool sample = header.type == PERF_RECORD_SAMPLE;
    if (size < (sample ? sizeof(SampleHead) : sizeof header + sizeof(SampleIdFields))) {
      done_bytes_ += size;
      continue;
    }
    std::uint64_t time =
        sample ? value_at<std::uint64_t>(bytes_, offset + sample_time_)
               : value_at<SampleIdFields>(bytes_, offset + size - sizeof(SampleIdFields)).time;
    if (header.type == PERF_RECORD_LOST) {
      // It is told with the record after the loss: what it counts came after the one before.
      time = std::max(source.latest, handed_out_);
      source.lost += lost_in(Bytes(bytes_).subspan(offset, size));
    }
    // Seldom: an interrupt came between the time of a record and its place.
    if (time < source.latest) {
      begin_run();
    }
    source.latest = time;
    pending_.push_back({.time = time, .offset = offset, .size = header.size, .origin = origin});
  }
  if (!options_.raw_clock) {
    latest_ = std::max(latest_, source.latest);
  }
}

// Between the time of a record and its place in the ring a virtual CPU can be taken away: some real
// time has to pass until everything as old as what was read is sure to have been read, too.
constexpr auto kStall = std::chrono::milliseconds(100);

void Recorder::Impl::remember_reading() {
  readings_.push_back({std::chrono::steady_clock::now(), latest_});
}

std::uint64_t Recorder::Impl::settled() {
  const auto before = std::chrono::steady_clock::now() - kStall;
  while (!readings_.empty() && readings_.front().at <= before) {
    settled_ = readings_.front().latest;
    readings_.pop_front();
  }
  return settled_;
}

// Hands out what is not younger than `horizon`.
void Recorder::Impl::read(std::uint64_t horizon, const Sink& sink) {
  if (options_.raw_clock) {
    latest_ = raw_clock();
  }
  // Samples first: a mapping recorded before a sample is then never read after it.
  for (CpuRings& cpu : cpus_) {
    if (cpu.samples) {
      collect(*cpu.samples, Origin::kSamples);
    }
  }
  for (CpuRings& cpu : cpus_) {
    collect(cpu.sideband, Origin::kSideband);
  }
  merge();
  const auto young = std::find_if(pending_.begin(), pending_.end(),
                                  [&](const Pending& it) { return it.time > horizon; });
  std::for_each(pending_.begin(), young, [&](const Pending& it) {
    emit(it, sink);
    done_bytes_ += it.size;
  });
  pending_.erase(pending_.begin(), young);
  if (2 * done_bytes_ >= bytes_.size()) {  // else each record would be moved again and again
    forget_done();
  }
  handed_out_ = horizon;
}

// Keeps of the bytes what still waits.
void Recorder::Impl::forget_done() {
  kept_.clear();
  for (Pending& it : pending_) {
    const Bytes record = Bytes(bytes_).subspan(it.offset, it.size);
    it.offset = kept_.size();
    put_bytes(kept_, record);
  }
  bytes_.swap(kept_);
  done_bytes_ = 0;
}

// What came from one ring is in order already, and so is what was kept back.
void Recorder::Impl::merge() {
  const auto before = [](const Pending& a, const Pending& b) {
    return a.time != b.time ? a.time < b.time : a.origin < b.origin;
  };
  while (runs_.size() > 1) {
    std::vector<std::size_t> merged;
    for (std::size_t i = 0; i < runs_.size(); i += 2) {
      merged.push_back(runs_[i]);
      if (i + 1 < runs_.size()) {
        const auto at = [this](std::size_t run) {
          return pending_.begin() +
                 static_cast<std::ptrdiff_t>(run < runs_.size() ? runs_[run] : pending_.size());
        };
        std::inplace_merge(at(i), at(i + 1), at(i + 2), before);
      }
    }
    runs_ = std::move(merged);
  }
  runs_.assign(1, 0);
}

void Recorder::Impl::emit(const Pending& pending, const Sink& sink) {
  const std::span<std::byte> record = std::span(bytes_).subspan(pending.offset, pending.size);
  perf_event_header header;
  std::memcpy(&header, record.data(), sizeof header);
  switch (header.type) {
    case PERF_RECORD_SAMPLE:
      tracepoint_ ? emit_sample(record, sink) : emit_own_sample(record, sink);
      return;
    case PERF_RECORD_THROTTLE:
      ++losses_.throttled;
      return;
    case PERF_RECORD_LOST:
      emit_lost(pending, record, sink);
      return;
    case PERF_RECORD_FORK:
      ++num_threads_;
      [[fallthrough]];
    case PERF_RECORD_MMAP:
    case PERF_RECORD_MMAP2:
    case PERF_RECORD_COMM:
    case PERF_RECORD_EXIT:
    case PERF_RECORD_SWITCH_CPU_WIDE:
      sink(kOwnDomain, builder_.sideband(record));
      return;
    default:
      return;
  }
}

void Recorder::Impl::emit_lost(const Pending& pending, Bytes record, const Sink& sink) {
  const std::uint64_t count = lost_in(record);
  const auto at = value_at<SampleIdFields>(record, record.size() - sizeof(SampleIdFields));
  const bool sideband = pending.origin == Origin::kSideband;
  (sideband ? losses_.sideband : losses_.samples) += count;
  sink(kOwnDomain,
       builder_.lost(pending.time, at.cpu, sideband ? kSidebandId : event_id(0), count));
}

void Recorder::Impl::emit_sample(Bytes record, const Sink& sink) {
  SampleHead head;
  Bytes rest = record;
  std::uint64_t length = 0;
  std::uint32_t raw_size = 0;
  chain_.clear();
  if (!take(rest, head) || (options_.layout.call_chains && !take(rest, length)) ||
      length > rest.size() / sizeof(std::uint64_t)) {
    return;
  }
  for (std::uint64_t entry = 0; length > 0 && take(rest, entry); --length) {
    chain_.push_back(entry);
  }
  take(rest, raw_size);
  TracepointSample sample;
  if (!tracepoint_->decode(rest.first(std::min<std::size_t>(raw_size, rest.size())), sample) ||
      sample.event >= options_.layout.events.size()) {
    // Of no counter of the session, or from nobody's driver. Samples that the driver took and that
    // are not handed on are missed by the session's account.
    return;
  }
  // The tracepoint of a passive domain's sample is emitted in whatever task dom0 runs.
  const bool own = sample.domain == kOwnDomain;
  cut_call_chain(sample.ip, sample.mode, own && sample.exact, chain_);
  sink(sample.domain, builder_.sample(head.time, sample.event, sample.mode, sample.ip,
                                      own ? head.pid : 0, own ? head.tid : 0, sample.vcpu, chain_));
}

void Recorder::Impl::emit_own_sample(std::span<std::byte> record, const Sink& sink) {
  const auto event = events_.find(value_at<std::uint64_t>(record, kOwnId));
  if (event != events_.end()) {
    ++counted_[event->second].samples;
    const std::uint64_t id = event_id(event->second);
    std::memcpy(record.data() + kOwnId, &id, sizeof id);
    sink(kOwnDomain, record);
  }
}

std::vector<std::string> Recorder::Impl::notes() const {
  std::vector<std::string> notes = notes_;
  if (losses_.sideband != 0) {
    notes.push_back(fmt::format(
        "{} records of {}mappings and names were lost: some samples of new processes have no "
        "image.",
        losses_.sideband, options_.outside ? "context switches, " : ""));
  }
  if (const std::size_t smaller = opener_.smaller_sample_bytes();
      losses_.samples != 0 && smaller != 0) {
    notes.push_back(fmt::format(
        "Samples were lost in buffers of {} KiB for each CPU, as this user may not lock more "
        "memory: a larger kernel.perf_event_mlock_kb or `ulimit -l` helps.",
        smaller >> 10));
  }
  add_notes_of_counts(notes);
  if (losses_.throttled != 0) {
    notes.push_back(fmt::format(
        "The kernel paused sampling {}, as it took too much time: fewer samples were taken than "
        "asked for. A larger count or a lower frequency helps.",
        losses_.throttled == 1 ? "once" : fmt::format("{} times", losses_.throttled)));
  }
  return notes;
}

void Recorder::Impl::add_notes_of_counts(std::vector<std::string>& notes) const {
  constexpr double kNearlyAll = 0.95;
  constexpr std::uint64_t kInstant = 20'000'000;  // ns; from a program's fork to its exec
  const auto share_of = [](std::uint64_t part, std::uint64_t all) {
    return static_cast<double>(part) / static_cast<double>(all);
  };
  constexpr std::uint64_t kFew = 20;  // in which chance has a say
  // Kernels before 6.0 do not tell of which event the lost samples were.
  const bool may_be_short =
      !options_.threads.empty() && num_threads_ >= kFew && losses_.throttled == 0 &&
      losses_.samples <= std::reduce(losses_.of_event.begin(), losses_.of_event.end());
  std::string shared;
  std::string too_few;
  for (std::size_t i = 0; i < counted_.size(); ++i) {
    const Counted& counted = counted_[i];
    const Event& event = options_.layout.events[i];
    const Counting& counting = options_.layout.countings[i];
    if (counting.type != PERF_TYPE_SOFTWARE && counting.type != PERF_TYPE_TRACEPOINT &&
        counted.time_due > counted.time + kInstant &&
        share_of(counted.time, counted.time_due) < kNearlyAll) {
      shared += fmt::format("{}{} {:.0f} %", shared.empty() ? "" : ", ", event.name,
                            100 * share_of(counted.time, counted.time_due));
    }
    // A clock counts all modes, whichever it samples.
    if (is_clock(counting.type, counting.config) &&
        (counting.exclude_user || counting.exclude_kernel)) {
      continue;
    }
    // Few threads do not miss that much: a clock whose timer came late does.
    const std::uint64_t samples = counted.samples + losses_.of_event[i];
    const std::uint64_t due = event.count == 0 ? 0 : counted.events / event.count;
    if (may_be_short && due >= samples + kFew && share_of(samples, due) < kNearlyAll &&
        due - samples <= num_threads_ * cpus_.size()) {
      too_few +=
          fmt::format("{}{} was counted for {} samples and gave {}", too_few.empty() ? "" : ", ",
                      event.name, with_separators(due), with_separators(samples));
    }
  }
  if (!shared.empty()) {
    notes.push_back(fmt::format(
        "There were too few counters for all events, which had them in turns: {} of the time. "
        "Samples are of that part; fewer events at once, or no other user of the counters, help.",
        shared));
  }
  if (!too_few.empty()) {
    notes.push_back(
        fmt::format("{}: each thread begins with a whole count on each CPU, and has no samples "
                    "where it ends before. A smaller count shows more of them, and -a all.",
                    too_few));
  }
}

Result<Recorder> Recorder::open(const RecorderOptions& options) {
  std::optional<Tracepoint> tracepoint;
  if (options.layout.countings.empty() && !options.outside) {
    auto found = Tracepoint::find(options.tracepoint);
    if (!found) {
      return std::unexpected(found.error());
    }
    tracepoint = *found;
  }
  auto impl = std::make_unique<Impl>(options, tracepoint);
  if (auto done = impl->open(); !done) {
    return std::unexpected(done.error());
  }
  return Recorder(std::move(impl));
}

Recorder::Recorder(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Recorder::Recorder(Recorder&&) noexcept = default;
Recorder& Recorder::operator=(Recorder&&) noexcept = default;
Recorder::~Recorder() = default;

Result<void> Recorder::start(const Sink& sink) {
  return impl_->start(sink);
}

Result<void> Recorder::wait(std::chrono::milliseconds limit, int also) {
  std::vector<pollfd> polled = {{.fd = also, .events = POLLIN, .revents = 0}};
  for (const int descriptor : impl_->descriptors_) {
    polled.push_back({.fd = descriptor, .events = POLLIN, .revents = 0});
  }
  if (::poll(polled.data(), polled.size(), static_cast<int>(limit.count())) < 0) {
    return errno == EINTR ? Result<void>{}
                          : fail("cannot wait for perf events: {}", std::strerror(errno));
  }
  // An event whose CPU went away would end every wait at once.
  for (const pollfd& entry : polled) {
    if ((entry.revents & (POLLERR | POLLHUP)) != 0) {
      std::erase(impl_->descriptors_, entry.fd);
    }
  }
  return {};
}

void Recorder::drain(const Sink& sink) {
  const std::uint64_t horizon = impl_->settled();
  impl_->read(horizon, sink);
  impl_->remember_reading();
  impl_->follow_cpus();
}

void Recorder::stop(const Sink& sink) {
  impl_->finish();
  impl_->read(~std::uint64_t{0}, sink);
}

std::uint64_t Recorder::handed_out() const {
  return impl_->handed_out_;
}

RecorderLosses Recorder::losses() const {
  return impl_->losses_;
}

std::vector<std::string> Recorder::notes() const {
  return impl_->notes();
}

}  // namespace xenoprof::perf
