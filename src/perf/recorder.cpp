// SPDX-License-Identifier: GPL-2.0-or-later
#include "perf/recorder.h"

#include <linux/perf_event.h>
#include <poll.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <deque>
#include <fstream>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "perf/bytes.h"
#include "perf/call_chain.h"
#include "perf/clock_relation.h"
#include "perf/record_fields.h"
#include "perf/ring.h"
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

// Where the time stands in what sample_id_all appends to the other records, from the end: time, cpu
// and reserved, identifier.
constexpr std::size_t kTimeFromEnd = 24;
constexpr std::size_t kTrailer = 32;

// "0-3,5" -> 0 1 2 3 5
Result<std::vector<int>> online_cpus() {
  constexpr const char* kPath = "/sys/devices/system/cpu/online";
  std::ifstream file(kPath);
  std::vector<int> cpus;
  for (std::string range; std::getline(file, range, ',');) {
    int first = 0;
    int last = 0;
    const char* const end = range.data() + range.size();
    auto parsed = std::from_chars(range.data(), end, first);
    if (parsed.ec != std::errc()) {
      break;
    }
    last = first;
    if (parsed.ptr != end && *parsed.ptr == '-') {
      std::from_chars(parsed.ptr + 1, end, last);
    }
    for (int cpu = first; cpu <= last; ++cpu) {
      cpus.push_back(cpu);
    }
  }
  if (cpus.empty()) {
    return fail("cannot read the online CPUs from {}: is sysfs mounted on /sys?", kPath);
  }
  return cpus;
}

perf_event_attr common_attr(const RecorderOptions& options) {
  perf_event_attr attr = {};
  attr.use_clockid = options.raw_clock;
  attr.clockid = options.raw_clock ? CLOCK_MONOTONIC_RAW : 0;
  attr.sample_type = PERF_SAMPLE_IDENTIFIER | PERF_SAMPLE_TID | PERF_SAMPLE_TIME | PERF_SAMPLE_CPU;
  attr.sample_id_all = 1;
  attr.sample_period = 1;
  return attr;
}

// Mappings come with their inode and not with their build-id: the kernel knows the latter only
// while the page with the note is in memory.
perf_event_attr sideband_attr(const RecorderOptions& options) {
  perf_event_attr attr = common_attr(options);
  attr.type = PERF_TYPE_SOFTWARE;
  attr.config = PERF_COUNT_SW_DUMMY;
  attr.mmap = 1;
  attr.mmap2 = 1;
  attr.mmap_data = options.layout.stack_bytes != 0;  // see synthesize_processes()
  attr.comm = 1;
  attr.comm_exec = 1;
  attr.task = 1;
  attr.context_switch = options.outside;
  return attr;
}

perf_event_attr sample_attr(const Tracepoint& tracepoint, const RecorderOptions& options) {
  perf_event_attr attr = common_attr(options);
  attr.type = PERF_TYPE_TRACEPOINT;
  attr.config = tracepoint.id();
  attr.sample_type |= PERF_SAMPLE_RAW;
  if (options.layout.call_chains) {
    attr.sample_type |= PERF_SAMPLE_CALLCHAIN;
  }
  return attr;
}

perf_event_attr own_attr(const RecorderOptions& options, std::size_t event) {
  perf_event_attr attr = common_attr(options);
  apply(options.layout, attr);
  apply(options.layout.countings[event], options.layout.events[event].count, attr);
  attr.enable_on_exec = options.from_exec;
  return attr;
}

}  // namespace

class Recorder::Impl {
 public:
  Impl(const RecorderOptions& options, std::optional<Tracepoint> tracepoint)
      : options_(options),
        tracepoint_(std::move(tracepoint)),
        sample_time_(tracepoint_ ? offsetof(SampleHead, time) : kOwnTime),
        builder_(options_.layout) {
    losses_.of_event.resize(options_.layout.countings.size());
  }

  Result<void> open();
  Result<void> start(const Sink& sink);
  void follow_cpus();
  void read(std::uint64_t horizon, const Sink& sink);
  // For the end: stops every CPU for a moment.
  void count_losses();
  // What was lost after the last PERF_RECORD_LOST.
  void tell_losses(const Sink& sink);

  void remember_reading();
  // Whatever is as old as this has been read.
  std::uint64_t settled();

  std::vector<int> descriptors_;
  std::vector<Ring> sideband_;
  std::vector<Ring> samples_;
  RecorderLosses losses_;
  std::uint64_t handed_out_ = 0;
  std::vector<std::string> notes_;

 private:
  enum class Origin : std::uint8_t { kSideband, kSamples };
  struct Pending {
    std::uint64_t time;
    std::size_t offset;  // into bytes_
    std::uint16_t size;
    Origin origin;
  };

  Result<void> open_cpu(int cpu);
  Result<Ring> open_samples(int cpu);
  Result<void> enable(std::vector<Ring>& rings, std::size_t from);
  void collect(Ring& ring, Origin origin);
  void merge();
  void emit(const Pending& pending, const Sink& sink);
  void emit_lost(Origin origin, std::uint64_t time, std::uint64_t count, const Sink& sink);
  void emit_sample(Bytes record, const Sink& sink);
  void emit_own_sample(std::span<std::byte> record, const Sink& sink);

  const RecorderOptions options_;
  std::optional<Tracepoint> tracepoint_;  // none: perf's own events, or no samples
  std::size_t sample_time_;               // where a sample tells its time
  std::vector<int> cpus_;                 // online and recorded
  std::vector<int> first_cpus_;           // those at the beginning
  std::chrono::steady_clock::time_point followed_;
  std::unordered_map<std::uint64_t, std::size_t> events_;  // by the kernel's identifier
  RecordBuilder builder_;
  std::vector<Pending> pending_;
  std::vector<std::size_t> runs_ = {0};  // of pending_: where each that is in order begins
  std::vector<std::byte> bytes_;
  std::vector<std::byte> kept_;  // of bytes_, while read() puts them in order
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
  // What PERF_RECORD_LOST told so far.
  RecorderLosses told_;
};

Result<void> Recorder::Impl::open() {
  const auto cpus = online_cpus();
  if (!cpus) {
    return std::unexpected(cpus.error());
  }
  for (const int cpu : *cpus) {
    if (auto opened = open_cpu(cpu); !opened) {
      return opened;
    }
  }
  cpus_ = *cpus;
  first_cpus_ = *cpus;
  followed_ = std::chrono::steady_clock::now();
  return {};
}

Result<void> Recorder::Impl::open_cpu(int cpu) {
  // The kernel holds mappings, too, against what the user may see.
  const bool inherited = !options_.threads.empty();
  const std::vector<std::int32_t> threads =
      inherited ? options_.threads : std::vector<std::int32_t>{-1};
  perf_event_attr attr = sideband_attr(options_);
  attr.inherit = inherited;
  attr.exclude_kernel = std::ranges::any_of(options_.layout.countings, &Counting::exclude_kernel);
  auto sideband = Ring::open(attr, threads[0], cpu, options_.sideband_ring_bytes);
  if (!sideband) {
    return std::unexpected(sideband.error());
  }
  for (std::size_t thread = 1; thread < threads.size(); ++thread) {
    if (auto added = sideband->add(attr, threads[thread]); !added) {
      return added;
    }
  }
  if (tracepoint_ || !options_.layout.countings.empty()) {
    auto samples = tracepoint_ ? Ring::open(sample_attr(*tracepoint_, options_), -1, cpu,
                                            options_.sample_ring_bytes)
                               : open_samples(cpu);
    if (!samples) {
      return std::unexpected(samples.error());
    }
    descriptors_.push_back(samples->descriptor());
    samples_.push_back(std::move(*samples));
  }
  descriptors_.push_back(sideband->descriptor());
  sideband_.push_back(std::move(*sideband));
  return {};
}

// How often it is looked for CPUs that came online.
constexpr auto kFollowEvery = std::chrono::seconds(1);

// A CPU that goes offline takes its events along, so one that comes back is a new one. Those of
// threads are left: their children would not be recorded there.
void Recorder::Impl::follow_cpus() {
  const auto now = std::chrono::steady_clock::now();
  if (now - followed_ < kFollowEvery) {
    return;
  }
  followed_ = now;
  const auto online = online_cpus();
  if (!online || *online == cpus_) {
    return;
  }
  for (const int cpu : *online) {
    const auto is_in = [cpu](const std::vector<int>& cpus) {
      return std::ranges::find(cpus, cpu) != cpus.end();
    };
    if (is_in(cpus_) || (!options_.threads.empty() && is_in(first_cpus_))) {
      continue;  // threads keep their events
    }
    Result<void> done = fail("one program's events do not follow it there; -a does");
    if (options_.threads.empty()) {
      const std::size_t sideband = sideband_.size();
      const std::size_t samples = samples_.size();
      done = open_cpu(cpu);
      done = done ? enable(sideband_, sideband) : done;
      done = done ? enable(samples_, samples) : done;
    }
    notes_.push_back(done ? fmt::format("CPU {} came online meanwhile: its first second may be "
                                        "missing.",
                                        cpu)
                          : fmt::format("CPU {} came online meanwhile and was not recorded: {}.",
                                        cpu, done.error().message));
  }
  cpus_ = *online;
}

// All events of all threads in one ring.
Result<Ring> Recorder::Impl::open_samples(int cpu) {
  const Layout& layout = options_.layout;
  const bool inherited = !options_.threads.empty();
  const std::vector<std::int32_t> threads =
      inherited ? options_.threads : std::vector<std::int32_t>{-1};
  std::optional<Ring> ring;
  std::vector<std::size_t> opened;
  for (const std::int32_t thread : threads) {
    for (std::size_t event = 0; event < layout.countings.size(); ++event) {
      perf_event_attr attr = own_attr(options_, event);
      attr.inherit = inherited;
      if (!ring) {
        auto first = Ring::open(attr, thread, cpu, options_.sample_ring_bytes);
        if (!first) {
          return fail("{}: {}", layout.events[event].name, first.error().message);
        }
        ring = std::move(*first);
      } else if (auto added = ring->add(attr, thread); !added) {
        return fail("{}: {}", layout.events[event].name, added.error().message);
      }
      opened.push_back(event);
    }
  }
  const std::vector<std::uint64_t> ids = ring->ids();
  for (std::size_t i = 0; i < ids.size(); ++i) {
    events_.emplace(ids[i], opened[i]);
  }
  return std::move(*ring);
}

Result<void> Recorder::Impl::start(const Sink& sink) {
  // What changes while /proc is read is recorded, and comes after it in time. Samples begin when
  // every process is known: one that ends before its turn in /proc would have samples but no name.
  if (auto done = enable(sideband_, 0); !done) {
    return done;
  }
  const auto take = [&](Bytes record) { sink(kOwnDomain, record); };
  synthesize_kernel(builder_, take);
  synthesize_processes(builder_, options_.layout.stack_bytes != 0, take);
  return options_.from_exec ? Result<void>() : enable(samples_, 0);
}

Result<void> Recorder::Impl::enable(std::vector<Ring>& rings, std::size_t from) {
  for (std::size_t i = from; i < rings.size(); ++i) {
    if (auto done = rings[i].enable(); !done) {
      return done;
    }
  }
  return {};
}

void Recorder::Impl::collect(Ring& ring, Origin origin) {
  if (pending_.size() != runs_.back()) {
    runs_.push_back(pending_.size());
  }
  std::size_t offset = bytes_.size();
  ring.read(bytes_);
  std::uint64_t latest = 0;
  std::size_t size = 0;
  for (; bytes_.size() - offset >= sizeof(perf_event_header); offset += size) {
    const auto header = value_at<perf_event_header>(bytes_, offset);
    size = header.size;
    if (size < sizeof header || size > bytes_.size() - offset) {
      return;  // cannot happen; starting afresh beats going astray
    }
    const bool sample = header.type == PERF_RECORD_SAMPLE;
    if (size < (sample ? sizeof(SampleHead) : sizeof header + kTrailer)) {
      continue;
    }
    const std::size_t time = sample ? sample_time_ : size - kTimeFromEnd;
    const Pending pending{.time = value_at<std::uint64_t>(bytes_, offset + time),
                          .offset = offset,
                          .size = header.size,
                          .origin = origin};
    // Seldom: an interrupt came between the time of a record and its place.
    if (pending.time < latest && pending_.size() != runs_.back()) {
      runs_.push_back(pending_.size());
    }
    latest = pending.time;
    pending_.push_back(pending);
  }
  if (!options_.raw_clock) {
    latest_ = std::max(latest_, latest);
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
  for (Ring& ring : samples_) {
    collect(ring, Origin::kSamples);
  }
  for (Ring& ring : sideband_) {
    collect(ring, Origin::kSideband);
  }
  merge();
  const auto young = std::find_if(pending_.begin(), pending_.end(),
                                  [&](const Pending& it) { return it.time > horizon; });
  std::for_each(pending_.begin(), young, [&](const Pending& it) { emit(it, sink); });

  kept_.clear();
  for (auto it = young; it != pending_.end(); ++it) {
    const Bytes record = Bytes(bytes_).subspan(it->offset, it->size);
    it->offset = kept_.size();
    put_bytes(kept_, record);
  }
  pending_.erase(pending_.begin(), young);
  bytes_.swap(kept_);
  handed_out_ = horizon;
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

void Recorder::Impl::count_losses() {
  RecorderLosses counted;
  counted.of_event.resize(losses_.of_event.size());
  for (const Ring& ring : samples_) {
    counted.samples += ring.lost();
    for (std::size_t i = 0; i < ring.size() && !counted.of_event.empty(); ++i) {
      counted.of_event[i % counted.of_event.size()] += ring.lost(i);
    }
  }
  for (const Ring& ring : sideband_) {
    counted.sideband += ring.lost();
  }
  losses_.samples = std::max(losses_.samples, counted.samples);
  losses_.sideband = std::max(losses_.sideband, counted.sideband);
  for (std::size_t i = 0; i < losses_.of_event.size(); ++i) {
    losses_.of_event[i] = std::max(losses_.of_event[i], counted.of_event[i]);
  }
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
    case PERF_RECORD_LOST: {
      std::uint64_t count = 0;
      if (record.size() >= sizeof header + 2 * sizeof count + kTrailer) {
        std::memcpy(&count, record.data() + sizeof header + sizeof count, sizeof count);
      }
      emit_lost(pending.origin, pending.time, count, sink);
      return;
    }
    case PERF_RECORD_MMAP:
    case PERF_RECORD_MMAP2:
    case PERF_RECORD_COMM:
    case PERF_RECORD_FORK:
    case PERF_RECORD_EXIT:
    case PERF_RECORD_SWITCH_CPU_WIDE:
      sink(kOwnDomain, builder_.sideband(record));
      return;
    default:
      return;
  }
}

void Recorder::Impl::emit_lost(Origin origin, std::uint64_t time, std::uint64_t count,
                               const Sink& sink) {
  const bool sideband = origin == Origin::kSideband;
  std::uint64_t& told = sideband ? told_.sideband : told_.samples;
  std::uint64_t& lost = sideband ? losses_.sideband : losses_.samples;
  told += count;
  lost = std::max(lost, told);
  sink(kOwnDomain, builder_.lost(time, sideband ? kSidebandId : event_id(0), count));
}

void Recorder::Impl::tell_losses(const Sink& sink) {
  if (losses_.samples > told_.samples) {
    emit_lost(Origin::kSamples, latest_, losses_.samples - told_.samples, sink);
  }
  if (losses_.sideband > told_.sideband) {
    emit_lost(Origin::kSideband, latest_, losses_.sideband - told_.sideband, sink);
  }
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
    const std::uint64_t id = event_id(event->second);
    std::memcpy(record.data() + kOwnId, &id, sizeof id);
    sink(kOwnDomain, record);
  }
}

Result<Recorder> Recorder::open(const RecorderOptions& options) {
  std::optional<Tracepoint> tracepoint;
  if (options.layout.countings.empty() && !options.outside) {
    auto found = Tracepoint::find(options.tracepoint);
    if (!found) {
      return std::unexpected(found.error());
    }
    tracepoint = std::move(*found);
  }
  auto impl = std::make_unique<Impl>(options, std::move(tracepoint));
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
  for (auto* rings : {&impl_->samples_, &impl_->sideband_}) {
    for (Ring& ring : *rings) {
      ring.disable();
    }
  }
  impl_->read(~std::uint64_t{0}, sink);
  impl_->count_losses();
  impl_->tell_losses(sink);
}

std::uint64_t Recorder::handed_out() const {
  return impl_->handed_out_;
}

RecorderLosses Recorder::losses() const {
  return impl_->losses_;
}

std::vector<std::string> Recorder::notes() const {
  std::vector<std::string> notes = impl_->notes_;
  if (const auto lost = losses().sideband; lost != 0) {
    notes.push_back(
        fmt::format("{} records of mappings and names were lost: some samples of new processes "
                    "have no image.",
                    lost));
  }
  if (const auto throttled = losses().throttled; throttled != 0) {
    notes.push_back(fmt::format(
        "The kernel paused sampling {} times, as it took too much time: fewer samples were taken "
        "than asked for. A larger count or a lower frequency helps.",
        throttled));
  }
  return notes;
}

}  // namespace xenoprof::perf
