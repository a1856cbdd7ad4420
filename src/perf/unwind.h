// SPDX-License-Identifier: GPL-2.0-or-later
// The callers of user code without frame pointers, from a copy of its stack and what its files say
// of how their functions lay out theirs (.eh_frame, .debug_frame).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "perf/records.h"

namespace xenoprof::perf {

// Where the search for callers ended.
enum class ChainEnd : std::uint8_t {
  kMore,        // not yet
  kOutermost,   // no more callers: the chain is whole
  kNoFile,      // code that lies in no file, or in one that is not there or not the one that ran
  kNoRules,     // the file says nothing of this code
  kShortStack,  // the caller lies beyond what was copied
  kTooDeep,     // more callers than are looked for
  kBroken,      // registers, stack and file do not fit together
  kNarrow,      // 32-bit code
  kFailed,      // the files made libdw fail
};
inline constexpr std::size_t kChainEnds = 9;

// One piece of a process's address space in which code lies.
struct CodeMapping {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  std::uint64_t page_offset = 0;  // bytes
  std::string path;               // empty: no file
  std::string build_id;           // lower-case hex; empty: not known
};

class Unwinder {
 public:
  static constexpr std::size_t kMostFrames = 128;

  Unwinder();
  Unwinder(Unwinder&&) noexcept;
  Unwinder& operator=(Unwinder&&) noexcept;
  ~Unwinder();

  struct Chain {
    // Innermost first. The first is the interrupted PC; a caller's is that of its call, a byte
    // before where it goes on, unless a signal interrupted it there.
    std::span<const std::uint64_t> pcs;  // until the next call
    ChainEnd end = ChainEnd::kOutermost;
  };
  // `mappings` do not overlap and are sorted by start.
  Chain unwind(const UserStack& user, std::span<const CodeMapping> mappings);

 private:
  class File;
  // As DWARF numbers them.
  struct Registers {
    std::array<std::uint64_t, 17> values{};
    std::uint32_t known = 0;  // a bit each
  };

  File& file_of(const CodeMapping& mapping);

  // By path and build-id. Those of all processes that ran the same share one.
  std::unordered_map<std::string, std::unique_ptr<File>> files_;
  std::uint64_t turn_ = 0;
  std::array<std::uint64_t, kMostFrames> pcs_{};
};

}  // namespace xenoprof::perf
