// SPDX-License-Identifier: GPL-2.0-or-later
#include "session/task_timeline.h"

#include <linux/perf_event.h>

#include <algorithm>

#include "perf/record_fields.h"

namespace xenoprof {
namespace {

// Where a record of the recorder's that is no sample tells its task, time and CPU, from its end
// (perf/records.cpp, Trailer).
constexpr std::size_t kTrailer = 32;
constexpr std::size_t kTime = 24;
constexpr std::size_t kCpu = 16;

// A CPU number beyond these is none.
constexpr std::uint32_t kMostCpus = 4096;

std::uint64_t time_of(perf::Bytes record) {
  if (perf::value_at<perf_event_header>(record, 0).type == PERF_RECORD_SAMPLE) {
    return perf::value_at<perf::SampleFields>(record, sizeof(perf_event_header)).time;
  }
  return perf::value_at<std::uint64_t>(record, record.size() - kTime);
}

}  // namespace

void TaskTimeline::add(perf::Bytes record) {
  perf::put_bytes(bytes_, record);
}

void TaskTimeline::add(const OutsideSample& sample) {
  samples_.push_back(sample);
  late_ += sample.time < handed_out_ ? 1 : 0;
}

void TaskTimeline::switched(perf::Bytes record) {
  const auto header = perf::value_at<perf_event_header>(record, 0);
  if (record.size() < sizeof header + sizeof(perf::SwitchFields) + kTrailer) {
    return;
  }
  const auto cpu = perf::value_at<std::uint32_t>(record, record.size() - kCpu);
  if (cpu >= kMostCpus) {
    return;
  }
  if (cpu >= running_.size()) {
    running_.resize(cpu + 1);
  }
  // Switched out: the next task is told. Switched in: the record is of the task itself.
  const bool out = (header.misc & PERF_RECORD_MISC_SWITCH_OUT) != 0;
  const auto task =
      perf::value_at<perf::SwitchFields>(record, out ? sizeof header : record.size() - kTrailer);
  running_[cpu] = {.pid = task.pid, .tid = task.tid};
}

void TaskTimeline::hand_out(const OutsideSample& sample, const perf::Sink& sink) {
  const Task task = sample.cpu < running_.size() ? running_[sample.cpu] : Task();
  if (task.pid < 0 && unknown_++ == 0) {
    sink(perf::kOwnDomain, builder_.comm(sample.time, task.pid, task.tid, "[unknown]", false));
  }
  const Mode mode = (sample.ip >> 63) != 0 ? Mode::kKernel : Mode::kUser;
  sink(perf::kOwnDomain, builder_.sample(sample.time, sample.event, mode, sample.ip, task.pid,
                                         task.tid, sample.cpu, {}));
}

void TaskTimeline::hand_out(std::uint64_t time, const perf::Sink& sink) {
  // The vCPUs' samples come in the order in which the host took them, but each vCPU's clock may
  // have been set apart.
  std::ranges::stable_sort(samples_, {}, &OutsideSample::time);
  auto sample = samples_.begin();
  const auto samples_before = [&](std::uint64_t limit) {
    for (; sample != samples_.end() && sample->time < limit; ++sample) {
      hand_out(*sample, sink);
    }
  };
  std::size_t at = 0;
  while (at < bytes_.size()) {
    const perf::Bytes rest = perf::Bytes(bytes_).subspan(at);
    const auto header = perf::value_at<perf_event_header>(rest, 0);
    const perf::Bytes record = rest.first(header.size);
    if (time_of(record) > time) {
      break;
    }
    samples_before(time_of(record));
    if (header.type == PERF_RECORD_SWITCH_CPU_WIDE) {
      switched(record);
    } else {
      sink(perf::kOwnDomain, record);
    }
    at += header.size;
  }
  bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(at));
  if (time != ~std::uint64_t{0}) {
    samples_before(time + 1);
  } else {
    samples_before(time);
  }
  samples_.erase(samples_.begin(), sample);
  handed_out_ = std::max(handed_out_, time);
}

}  // namespace xenoprof
