// SPDX-License-Identifier: GPL-2.0-or-later
#include "perf/ring_reader.h"

#include <linux/perf_event.h>
#include <signal.h>

#include <algorithm>
#include <utility>

#include "perf/bytes.h"

namespace xenoprof::perf {
namespace {

using namespace std::chrono_literals;

// The rings are looked at so often at least, which bounds how long the end of the thread takes.
constexpr auto kTick = 50ms;
constexpr std::size_t kMuch = std::size_t{1} << 20;
// One is filled while another is handed out.
constexpr std::size_t kMostSpare = 2;

}  // namespace

Result<void> RingReader::start(const Sink& sink) {
  if (auto started = recorder_.start(sink); !started) {
    return started;
  }
  // Signals are for the owner.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::jthread([this](const std::stop_token& ended) { read(ended); });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return {};
}

void RingReader::read(const std::stop_token& ended) {
  const Sink sink = [this](std::uint16_t, Bytes record) { keep(record); };
  while (!ended.stop_requested()) {
    const auto waited = recorder_.wait(kTick);
    std::unique_lock lock(mutex_);
    if (!waited) {
      problem_ = waited.error();
      changed_.notify_all();
      return;
    }
    changed_.wait(lock, ended, [this] { return kept_size() < most_kept_; });
    recorder_.drain(sink);
    filling_.handed_out = recorder_.handed_out();
    if (kept_size() >= kMuch) {
      changed_.notify_all();
    }
  }
}

std::size_t RingReader::kept_size() const {
  return full_size_ + filling_.records.size();
}

void RingReader::keep(Bytes record) {
  if (filling_.records.size() >= kMuch) {
    full_size_ += filling_.records.size();
    full_.push_back(take_filling());
  }
  put_bytes(filling_.records, record);
}

RingReader::Kept RingReader::take_filling() {
  Kept taken = std::exchange(filling_, {});
  if (!spare_.empty()) {
    filling_.records = std::move(spare_.back());
    spare_.pop_back();
  }
  return taken;
}

Result<void> RingReader::wait(std::chrono::milliseconds limit) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, limit, [this] { return kept_size() >= kMuch || problem_; });
  return problem_ ? Result<void>(std::unexpected(*problem_)) : Result<void>();
}

bool RingReader::drain(const Sink& sink) {
  Kept taken;
  {
    const std::lock_guard lock(mutex_);
    if (full_.empty()) {
      taken = take_filling();
    } else {
      taken = std::move(full_.front());
      full_.pop_front();
      full_size_ -= taken.records.size();
    }
  }
  changed_.notify_all();
  for (std::size_t at = 0; at < taken.records.size();) {
    const auto header = value_at<perf_event_header>(taken.records, at);
    sink(kOwnDomain, Bytes(taken.records).subspan(at, header.size));
    at += header.size;
  }
  handed_out_ = std::max(handed_out_, taken.handed_out);
  taken.records.clear();
  const std::lock_guard lock(mutex_);
  if (spare_.size() < kMostSpare) {
    spare_.push_back(std::move(taken.records));
  }
  return kept_size() != 0;
}

// The counters go off before anything else is done, so that what follows is not in the profile.
void RingReader::stop() {
  if (thread_.joinable()) {
    thread_.request_stop();
    thread_.join();
  }
  recorder_.stop([this](std::uint16_t, Bytes record) { keep(record); });
  filling_.handed_out = recorder_.handed_out();
}

RecorderLosses RingReader::losses() const {
  const std::lock_guard lock(mutex_);
  return recorder_.losses();
}

std::vector<std::string> RingReader::notes() const {
  const std::lock_guard lock(mutex_);
  return recorder_.notes();
}

}  // namespace xenoprof::perf
