// SPDX-License-Identifier: GPL-2.0-or-later
#include "session/task_timeline.h"

#include <linux/perf_event.h>

#include <algorithm>

#include "perf/record_fields.h"

namespace xenoprof {
namespace {

// A CPU number beyond these is none.
constexpr std::uint32_t kMostCpus = 4096;

// Of a record of the recorder's that is no sample.
perf::SampleIdFields sample_id_of(perf::Bytes record) {
  return perf::value_at<perf::SampleIdFields>(record, record.size() - sizeof(perf::SampleIdFields));
}

std::uint64_t time_of(perf::Bytes record) {
  if (perf::value_at<perf_event_header>(record, 0).type == PERF_RECORD_SAMPLE) {
    return perf::value_at<perf::SampleFields>(record, sizeof(perf_event_header)).time;
  }
  return sample_id_of(record).time;
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
  if (record.size() < sizeof header + sizeof(perf::SwitchFields) + sizeof(perf::SampleIdFields)) {
    return;
  }
  const auto own = sample_id_of(record);
  // Switched out: the next task is told. Switched in: the record is of the task itself.
  if ((header.misc & PERF_RECORD_MISC_SWITCH_OUT) != 0) {
    const auto next = perf::value_at<perf::SwitchFields>(record, sizeof header);
    runs(own.cpu, {.pid = next.pid, .tid = next.tid});
  } else {
    runs(own.cpu, {.pid = own.pid, .tid = own.tid});
  }
}

void TaskTimeline::lost(perf::Bytes record) {
  if (record.size() <
      sizeof(perf_event_header) + sizeof(perf::LostFields) + sizeof(perf::SampleIdFields)) {
    return;
  }
  // Switches may be among them: who runs is not known until the next one.
  if (perf::value_at<perf::LostFields>(record, sizeof(perf_event_header)).id == perf::kSidebandId) {
    runs(sample_id_of(record).cpu, Task());
  }
}

void TaskTimeline::runs(std::uint32_t cpu, const Task& task) {
  if (cpu >= kMostCpus) {
    return;
  }
  if (cpu >= running_.size()) {
    running_.resize(cpu + 1);
  }
  running_[cpu] = task;
}

void TaskTimeline::hand_out(const OutsideSample& sample, const perf::Sink& sink) {
  const Task task =
      sample.known_cpu && sample.cpu < running_.size() ? running_[sample.cpu] : Task();
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
      if (header.type == PERF_RECORD_LOST) {
        lost(record);
      }
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
