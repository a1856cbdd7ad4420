// SPDX-License-Identifier: GPL-2.0-or-later
// From records to a profile: whose sample it is, and which image its addresses lie in.
#pragma once

#include <array>
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
#include "perf/data_file.h"
#include "perf/records.h"
#include "perf/stack_counter.h"
#include "perf/unwinding_child.h"

namespace xenoprof::perf {

// Feed records in the order in which they were recorded. The profile can be looked at, and its
// symbols set, whenever profile() gives it: until the next add().
//
// A sample's process is the name of its thread at that moment, as in perf's `comm`; the idle
// threads (pid 0) are "swapper".
// A stack begins with the sampled PC. The addresses after it are those of the call: the return
// address less one, so that whoever resolves an address need not know its place in the stack. Where
// the stack passes from kernel to user space stands the interrupted PC, as it is. Samples that
// bring a copy of the user's stack have their callers in user code from there.
class Interpreter {
 public:
  enum class Kind {
    kOwn,      // of a domain that recorded itself
    kPassive,  // samples from outside: only the kernel's addresses mean something
  };

  // What is kept of a sample beside its process's name and its place in the code.
  struct Detail {
    bool chains = true;
    bool threads = true;  // numbers of processes, threads and CPUs, else 0
  };

  explicit Interpreter(const Layout& layout, Kind kind = Kind::kOwn)
      : Interpreter(layout, kind, Detail()) {}
  Interpreter(const Layout& layout, Kind kind, Detail detail,
              StackCounter::Where counted = StackCounter::Where::kHere);

  // Before the first add(), with a host's records: by a process's number the virtual machine that
  // it serves, every other sample being of `host`. What such a process does is the machine's, as
  // its hypervisor's work. Samples of its guest's code are left out: see guest_samples_only().
  void set_machines(std::string_view host,
                    const std::unordered_map<std::int32_t, std::string>& by_process);
  // Before the first add(), with a host's records: nothing but the samples of that process's guest,
  // seen from outside as of a passive domain.
  void guest_samples_only(std::int32_t process) { guest_of_ = process; }

  void add(const Record& record);
  // For images whose mappings told none. At the end; before the samples, too, where they are known
  // by then, so that no stack is unwound by another file than the one that ran.
  void set_build_ids(const std::vector<BuildId>& build_ids);
  // Whether callers are missing, and why: a sentence each.
  std::vector<std::string> notes() const;
  // Where the kernel's symbol _text and the beginnings of its modules were, by the image's name, as
  // far as records tell. Another boot puts them elsewhere.
  const std::map<std::string, std::uint64_t>& loaded_at() const { return loaded_at_; }

  Profile& profile() { return counter_.profile(); }

 private:
  struct Mapping {
    std::uint64_t end = 0;
    std::uint64_t page_offset = 0;
    std::uint32_t image = 0;  // index into images_
    StringId symbol = 0;      // of all of it, where its mapping tells
  };
  struct MappedImage {
    std::string name;
    std::string build_id;
    bool file = false;          // its addresses are file offsets
    std::optional<ImageId> id;  // in the profile once a sample lies in it
  };
  // An address space at a time: whenever its mappings change, so does its number.
  struct AddressSpace {
    std::uint32_t number = 0;
    std::map<std::uint64_t, Mapping> mappings;  // by start; they never overlap
  };
  struct Process {
    // Shared between parent and child until one of them maps something.
    std::shared_ptr<AddressSpace> space;
    bool ended = false;
  };
  // An address of a call chain.
  struct ChainEntry {
    std::uint64_t pc = 0;
    std::uint32_t space = 0;  // AddressSpace::number

    friend bool operator==(const ChainEntry&, const ChainEntry&) = default;
  };
  // What was known of the thread that a CPU ran last.
  struct LastTask {
    std::uint64_t changes = 0;  // changes_ at that time; 0: none yet
    std::int32_t pid = 0;
    std::int32_t tid = 0;
    const AddressSpace* space = nullptr;  // null: nothing is known of it
    StringId process = 0;
  };
  // Where an address was found last.
  struct KnownPlace {
    std::uint64_t pc = 0;
    std::uint32_t space = 0;  // 0: none yet
    LocationId location = 0;
  };

  void on(const SampleRecord& sample);
  void on(const MmapRecord& mmap);
  void on(const CommRecord& comm);
  void on(const ForkRecord& fork);
  void on(const ExitRecord& exit);
  void on(const KsymbolRecord& symbol);

  void map(AddressSpace& space, std::uint64_t start, const Mapping& mapping);
  void map_kernel(const MmapRecord& mmap, Mapping mapping);
  void clear(std::int32_t pid);
  std::uint32_t image(std::string_view name, Bytes build_id, bool file);
  const LastTask& task_of(const SampleRecord& sample);
  LocationId find(const AddressSpace& space, std::uint64_t pc);
  LocationId find_slowly(const AddressSpace& space, std::uint64_t pc);
  LocationId location(std::uint32_t image, std::uint64_t address, StringId symbol = 0);
  void count_stack(const SampleRecord& sample, const AddressSpace& user_space, const SampleKey& key,
                   LocationId leaf);
  void add_user_callers(const SampleRecord& sample, const AddressSpace& user_space);
  std::optional<std::string> cut_chains() const;
  std::vector<CodeMapping> code_of(const AddressSpace& space) const;
  StringId process_name(std::int32_t tid);

  Kind kind_;
  Detail detail_;
  StringId host_ = 0;                                    // 0: no virtual machines are known
  std::unordered_map<std::int32_t, StringId> machines_;  // by process
  std::optional<std::int32_t> guest_of_;
  StackCounter counter_;
  std::vector<MappedImage> images_;
  std::unordered_map<std::string, std::uint32_t> image_ids_;  // by name and build-id
  std::uint32_t last_number_ = 0;                             // of an address space
  AddressSpace kernel_;
  // Of processes that nothing is known of, and of virtual machines.
  AddressSpace no_space_;
  AddressSpace guest_kernel_;
  AddressSpace guest_user_;
  AddressSpace hypervisor_;
  std::unordered_map<std::int32_t, Process> processes_;  // by pid
  // Processes that ended, oldest first: late samples may still ask for their mappings.
  std::deque<std::int32_t> ended_;
  std::unordered_map<std::int32_t, StringId> names_;  // by tid
  std::size_t num_mappings_ = 0;
  std::map<std::string, std::uint64_t> loaded_at_;
  StringId swapper_;
  std::vector<KnownPlace> places_;    // by a hash of both; a newcomer takes its predecessor's room
  std::uint64_t changes_ = 1;         // records other than samples, which may change tasks
  std::vector<LastTask> last_tasks_;  // by CPU
  // The call chain of each CPU's last sample, leaf first: the next one most often begins alike.
  std::vector<std::vector<ChainEntry>> last_chains_;
  std::vector<ChainEntry> chain_;                           // of the sample at hand
  std::vector<LocationId> callers_;                         // those of it that the last one had not
  std::unordered_map<std::string, std::string> build_ids_;  // that were set, by the image's name
  UnwindingChild unwinder_;
  std::array<std::uint64_t, kChainEnds> chain_ends_{};  // of the user stacks that were unwound
  // What samples by frequency stand for.
  struct Periods {
    std::string event;
    std::uint64_t most = 0;
    // Those of about as many events each: four bits below the highest, which is bit i / 16.
    struct Alike {
      double samples = 0;
      double events = 0;
    };
    std::array<Alike, 64 * 16> alike{};
  };
  std::vector<Periods> periods_;  // by event; no name: it has a count
};

}  // namespace xenoprof::perf
