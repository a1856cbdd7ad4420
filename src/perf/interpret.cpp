// SPDX-License-Identifier: GPL-2.0-or-later
#include "perf/interpret.h"

#include <linux/perf_event.h>

#include <algorithm>
#include <iterator>
#include <utility>

namespace xenoprof::perf {
namespace {

// Over all processes; more, which only hostile records ask for, are not kept. Linux allows a
// process 65,530 mappings of any kind by default, and has few executable ones.
constexpr std::size_t kMaxMappings = 1'000'000;

// How many ended processes keep their mappings.
constexpr std::size_t kMaxEnded = 4096;

// The kernel's own text is this and the symbol that stands for its relocation.
constexpr std::string_view kKernelText = "[kernel.kallsyms]";

// The images that every interpreter has, in this order.
enum : std::uint32_t { kKernel, kUnknown, kXen, kPassiveUser };

std::string hex(Bytes bytes) {
  std::string text;
  for (const std::byte byte : bytes) {
    text += fmt::format("{:02x}", std::to_integer<unsigned>(byte));
  }
  return text;
}

// "[name]" of "/lib/modules/.../some-name.ko.xz": the kernel itself writes '-' as '_'.
std::string module_name(std::string_view path) {
  if (path.starts_with('[')) {
    return std::string(path);
  }
  std::string name(path.substr(path.rfind('/') + 1));
  name.resize(std::min(name.size(), name.find(".ko")));
  std::replace(name.begin(), name.end(), '-', '_');
  return "[" + name + "]";
}

// Names that the kernel gives to memory that is no file (kernel/events/core.c,
// perf_event_mmap_event; ipc/shm.c; mm/memfd.c; mm/shmem.c).
bool is_anonymous(std::string_view path) {
  return !path.starts_with('/') || path.starts_with("//") || path.starts_with("/memfd:") ||
         path.starts_with("/SYSV") || path.starts_with("/dev/zero") ||
         path.starts_with("/anon_hugepage");
}

}  // namespace

Interpreter::Interpreter(const Layout& layout, Kind kind) : kind_(kind), profile_(layout.events) {
  for (const std::string_view name : {kKernelImage, kUnknownImage, kXenImage, kPassiveUserImage}) {
    image(name, {}, false);
  }
}

void Interpreter::add(const Record& record) {
  std::visit(
      [this](const auto& body) {
        if constexpr (requires { on(body); }) {
          on(body);
        }
      },
      record.body);
}

std::uint32_t Interpreter::image(std::string_view name, Bytes build_id, bool file) {
  MappedImage image{std::string(name), hex(build_id), file, {}};
  const auto [entry, added] = image_ids_.try_emplace(image.name + '\0' + image.build_id,
                                                     static_cast<std::uint32_t>(images_.size()));
  if (added) {
    images_.push_back(std::move(image));
  }
  return entry->second;
}

LocationId Interpreter::location(std::uint32_t image, std::uint64_t address) {
  MappedImage& mapped = images_[image];
  if (!mapped.id) {
    mapped.id = profile_.add_image(mapped.name, mapped.build_id);
  }
  return profile_.add_location(*mapped.id, address);
}

const Interpreter::Mapping* Interpreter::find(const Mappings& mappings, std::uint64_t pc,
                                              std::uint64_t& start) {
  auto next = mappings.upper_bound(pc);
  if (next == mappings.begin()) {
    return nullptr;
  }
  --next;
  start = next->first;
  return pc < next->second.end ? &next->second : nullptr;
}

LocationId Interpreter::kernel_location(std::uint64_t pc) {
  std::uint64_t start = 0;
  const Mapping* mapping = find(kernel_, pc, start);
  return location(mapping != nullptr ? mapping->image : std::uint32_t{kKernel}, pc);
}

LocationId Interpreter::user_location(std::int32_t pid, std::uint64_t pc) {
  if (kind_ == Kind::kPassive) {
    return location(kPassiveUser, 0);
  }
  const auto process = processes_.find(pid);
  if (process == processes_.end()) {
    return location(kUnknown, pc);
  }
  std::uint64_t start = 0;
  const Mapping* mapping = find(*process->second.mappings, pc, start);
  if (mapping == nullptr || !images_[mapping->image].file) {
    return location(kUnknown, pc);
  }
  return location(mapping->image, pc - start + mapping->page_offset);
}

StringId Interpreter::process_name(std::int32_t tid) {
  if (const auto name = names_.find(tid); name != names_.end()) {
    return name->second;
  }
  return profile_.intern(tid == 0 ? "swapper" : fmt::format(":{}", tid));
}

void Interpreter::on(const SampleRecord& sample) {
  std::uint64_t start = 0;
  const Mapping* mapping = sample.user ? nullptr : find(kernel_, sample.ip, start);
  const bool in_xen = sample.hypervisor || (mapping != nullptr && mapping->image == kXen);
  SampleKey key;
  key.mode = sample.user ? Mode::kUser : in_xen ? Mode::kHypervisor : Mode::kKernel;
  key.pid = sample.pid;
  key.tid = sample.tid;
  key.vcpu = sample.cpu;
  key.process = kind_ == Kind::kPassive ? profile_.intern(fmt::format("[{}]", to_string(key.mode)))
                : sample.pid == 0       ? profile_.intern("swapper")
                                        : process_name(sample.tid);

  stack_.clear();
  stack_.push_back(sample.user         ? user_location(sample.pid, sample.ip)
                   : sample.hypervisor ? location(kXen, sample.ip)
                                       : kernel_location(sample.ip));
  bool user = sample.user;
  bool interrupted = true;  // the next address is a PC and no return address
  bool leaf = true;         // the next address is the sampled PC, which the stack has already
  for (const std::uint64_t entry : sample.call_chain) {
    if (entry >= static_cast<std::uint64_t>(PERF_CONTEXT_MAX)) {
      if (entry != static_cast<std::uint64_t>(PERF_CONTEXT_KERNEL) &&
          entry != static_cast<std::uint64_t>(PERF_CONTEXT_USER)) {
        break;
      }
      user = entry == static_cast<std::uint64_t>(PERF_CONTEXT_USER);
      interrupted = true;
      continue;
    }
    if (std::exchange(leaf, false) && entry == sample.ip) {
      interrupted = false;
      continue;
    }
    const std::uint64_t pc = std::exchange(interrupted, false) || entry == 0 ? entry : entry - 1;
    stack_.push_back(user ? user_location(sample.pid, pc) : kernel_location(pc));
  }
  key.stack = profile_.add_stack(stack_);
  profile_.add(key, sample.event);
}

void Interpreter::map(Mappings& mappings, std::uint64_t start, const Mapping& mapping) {
  if (start >= mapping.end) {
    return;
  }
  if (num_mappings_ >= kMaxMappings) {
    return;
  }
  const std::size_t before = mappings.size();
  // Cut away what the new one covers.
  auto old = mappings.lower_bound(start);
  if (old != mappings.begin() && std::prev(old)->second.end > start) {
    --old;
  }
  while (old != mappings.end() && old->first < mapping.end) {
    const auto [old_start, covered] = *old;
    old = mappings.erase(old);
    if (old_start < start) {
      Mapping head = covered;
      head.end = start;
      mappings.emplace_hint(old, old_start, head);
    }
    if (covered.end > mapping.end) {
      Mapping tail = covered;
      tail.page_offset += mapping.end - old_start;
      mappings.emplace_hint(old, mapping.end, tail);
      break;
    }
  }
  mappings.emplace(start, mapping);
  num_mappings_ += mappings.size() - before;  // may wrap around and back: the sum is right
}

void Interpreter::on(const MmapRecord& mmap) {
  const std::uint64_t room = ~mmap.start;
  Mapping mapping{.end = mmap.start + std::min(mmap.length, room),
                  .page_offset = mmap.page_offset,
                  .image = kUnknown};
  if (mmap.kernel) {
    const bool kernel = mmap.path.starts_with(kKernelText);
    mapping.image =
        kernel ? std::uint32_t{kKernel} : image(module_name(mmap.path), mmap.build_id, false);
    map(kernel_, mmap.start, mapping);
    return;
  }
  if (mmap.path == "[vdso]") {
    mapping.page_offset = 0;
    mapping.image = image(mmap.path, mmap.build_id, true);
  } else if (!is_anonymous(mmap.path)) {
    mapping.image = image(mmap.path, mmap.build_id, true);
  }
  auto& mappings = processes_[mmap.pid].mappings;
  if (mappings == nullptr) {
    mappings = std::make_shared<Mappings>();
  } else if (mappings.use_count() > 1) {
    if (num_mappings_ + mappings->size() > kMaxMappings) {
      return;
    }
    num_mappings_ += mappings->size();
    mappings = std::make_shared<Mappings>(*mappings);
  }
  map(*mappings, mmap.start, mapping);
}

void Interpreter::clear(std::int32_t pid) {
  const auto process = processes_.find(pid);
  if (process == processes_.end()) {
    return;
  }
  if (process->second.mappings.use_count() == 1) {
    num_mappings_ -= process->second.mappings->size();
  }
  processes_.erase(process);
}

void Interpreter::on(const CommRecord& comm) {
  names_[comm.tid] = profile_.intern(comm.name);
  if (comm.exec) {
    clear(comm.pid);
  }
}

void Interpreter::on(const ForkRecord& fork) {
  if (const auto name = names_.find(fork.parent_tid); name != names_.end()) {
    names_[fork.tid] = name->second;
  }
  if (fork.pid == fork.parent_pid) {
    return;  // a thread
  }
  clear(fork.pid);
  if (const auto parent = processes_.find(fork.parent_pid); parent != processes_.end()) {
    const auto shared = parent->second.mappings;
    processes_[fork.pid].mappings = shared;
  }
}

void Interpreter::on(const ExitRecord& exit) {
  const auto process = processes_.find(exit.pid);
  if (exit.tid != exit.pid || process == processes_.end()) {
    return;
  }
  process->second.ended = true;
  ended_.push_back(exit.pid);
  if (ended_.size() > kMaxEnded) {
    const std::int32_t oldest = ended_.front();
    ended_.pop_front();
    // A later process may have the same number.
    const auto old = processes_.find(oldest);
    if (old != processes_.end() && old->second.ended) {
      clear(oldest);
    }
  }
}

}  // namespace xenoprof::perf
