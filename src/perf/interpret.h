// SPDX-License-Identifier: GPL-2.0-or-later
// From records to a profile: whose sample it is, and which image its addresses lie in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "model/profile.h"
#include "perf/records.h"

namespace xenoprof::perf {

// Feed records in the order in which they were recorded. The profile can be looked at, and its
// symbols set, at any time in between.
//
// A sample's process is the name of its thread at that moment, as in perf's `comm`; the idle
// threads (pid 0) are "swapper".
// A stack begins with the sampled PC. The addresses after it are those of the call: the return
// address less one, so that whoever resolves an address need not know its place in the stack. Where
// the stack passes from kernel to user space stands the interrupted PC, as it is.
class Interpreter {
 public:
  enum class Kind {
    kOwn,      // of a domain that recorded itself
    kPassive,  // samples from outside: only the kernel's addresses mean something
  };

  explicit Interpreter(const Layout& layout, Kind kind = Kind::kOwn);

  void add(const Record& record);

  Profile& profile() { return profile_; }
  const Profile& profile() const { return profile_; }

 private:
  struct Mapping {
    std::uint64_t end = 0;
    std::uint64_t page_offset = 0;
    std::uint32_t image = 0;  // index into images_
  };
  struct MappedImage {
    std::string name;
    std::string build_id;
    bool file = false;          // its addresses are file offsets
    std::optional<ImageId> id;  // in the profile once a sample lies in it
  };
  using Mappings = std::map<std::uint64_t, Mapping>;  // by start; they never overlap

  void on(const SampleRecord& sample);
  void on(const MmapRecord& mmap);
  void on(const CommRecord& comm);
  void on(const ForkRecord& fork);
  void on(const ExitRecord& exit);

  void map(Mappings& mappings, std::uint64_t start, const Mapping& mapping);
  void clear(std::int32_t pid);
  std::uint32_t image(std::string_view name, Bytes build_id, bool file);
  static const Mapping* find(const Mappings& mappings, std::uint64_t pc, std::uint64_t& start);
  LocationId kernel_location(std::uint64_t pc);
  LocationId user_location(std::int32_t pid, std::uint64_t pc);
  LocationId location(std::uint32_t image, std::uint64_t address);
  StringId process_name(std::int32_t tid);

  Kind kind_;
  Profile profile_;
  std::vector<MappedImage> images_;
  std::unordered_map<std::string, std::uint32_t> image_ids_;  // by name and build-id
  Mappings kernel_;
  struct Process {
    // Shared between parent and child until one of them maps something.
    std::shared_ptr<Mappings> mappings;
    bool ended = false;
  };
  std::unordered_map<std::int32_t, Process> processes_;  // by pid
  // Processes that ended, oldest first: late samples may still ask for their mappings.
  std::deque<std::int32_t> ended_;
  std::unordered_map<std::int32_t, StringId> names_;  // by tid
  std::size_t num_mappings_ = 0;
  std::vector<LocationId> stack_;  // of the sample at hand
};

}  // namespace xenoprof::perf
