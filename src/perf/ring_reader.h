// SPDX-License-Identifier: GPL-2.0-or-later
// Empties a recorder's rings on a thread of its own, so that they do not overflow while their owner
// does something that takes its time: looks up names, writes to a slow disk.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "model/result.h"
#include "perf/recorder.h"

namespace xenoprof::perf {

// For the owner's thread, all of it; the recorder is of this system alone (kOwnDomain).
class RingReader {
 public:
  // Once so much is kept for the owner, more stays in the rings: they lose samples then, and count
  // them, and have room apart for mappings and names. What the rings hold comes on top.
  static constexpr std::size_t kMostKept = std::size_t{256} << 20;

  explicit RingReader(Recorder recorder, std::size_t most_kept = kMostKept)
      : recorder_(std::move(recorder)), most_kept_(most_kept) {}

  // As the recorder's; from then on the thread reads.
  Result<void> start(const Sink& sink);
  // Sleeps until much is kept or the time is over.
  Result<void> wait(std::chrono::milliseconds limit);
  // Hands out some of what is kept, about a megabyte: the owner has other things to do in between.
  // False if nothing is left.
  bool drain(const Sink& sink);
  // Ends the recording and the thread, at once; the rest is kept.
  void stop();

  // Of the records handed out by this.
  std::uint64_t handed_out() const { return handed_out_; }
  // So far, also if what came after it has not been handed out.
  RecorderLosses losses() const;
  std::vector<std::string> notes() const;

 private:
  // Whole records, and what Recorder::handed_out() was when the last of them had been read.
  struct Kept {
    std::vector<std::byte> records;
    std::uint64_t handed_out = 0;
  };

  void read(const std::stop_token& ended);
  std::size_t kept_size() const;
  void keep(Bytes record);
  Kept take_filling();

  Recorder recorder_;  // once the thread runs, with the mutex held; only wait() is without
  const std::size_t most_kept_;
  mutable std::mutex mutex_;
  std::condition_variable_any changed_;        // much has been read, or has been taken
  std::deque<Kept> full_;                      // the oldest first
  std::size_t full_size_ = 0;                  // of all records in it
  Kept filling_;                               // younger than all of those
  std::vector<std::vector<std::byte>> spare_;  // empty ones, for their room
  std::optional<Error> problem_;               // why the thread does not go on
  std::uint64_t handed_out_ = 0;
  std::jthread thread_;
};

}  // namespace xenoprof::perf
