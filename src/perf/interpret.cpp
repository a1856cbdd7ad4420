// SPDX-License-Identifier: GPL-2.0-or-later
#include "perf/interpret.h"

#include <fmt/ranges.h>
#include <linux/perf_event.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <iterator>
#include <numeric>
#include <utility>

#include "model/text.h"

namespace xenoprof::perf {
namespace {

// Over all processes; more, which only hostile records ask for, are not kept. Linux allows a
// process 65,530 mappings of any kind by default, and has few executable ones.
constexpr std::size_t kMaxMappings = 1'000'000;

// How many ended processes keep their mappings.
constexpr std::size_t kMaxEnded = 4096;

constexpr std::size_t kKnownPlaces = std::size_t{1} << 15;
constexpr std::size_t kCpus = StackCounter::kCpus;  // those with equal remainders share

// No code is at the highest address.
constexpr std::uint64_t kTop = ~std::uint64_t{0};

// The kernel's own text is this and the symbol that stands for its relocation.
constexpr std::string_view kKernelText = "[kernel.kallsyms]";
// perf takes the first of these that there is (tools/perf/util/machine.c, ref_reloc_sym_names,
// 6.1); on x86-64 both are the kernel's first byte. The mapping's offset is the symbol's address
// then.
constexpr std::string_view kKernelTextSymbols[] = {"[kernel.kallsyms]_text",
                                                   "[kernel.kallsyms]_stext"};

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

// Where processes put code that they made (tools/perf/util/map.c, is_anon_memory, 6.1).
bool is_made_by_process(std::string_view path) {
  return path.starts_with("//anon") || path.starts_with("/dev/zero") ||
         path.starts_with("/anon_hugepage");
}

// Names that the kernel gives to memory that is no file (kernel/events/core.c,
// perf_event_mmap_event; ipc/shm.c; mm/memfd.c; mm/shmem.c).
bool is_anonymous(std::string_view path) {
  return !path.starts_with('/') || path.starts_with("//") || path.starts_with("/memfd:") ||
         path.starts_with("/SYSV") || path.starts_with("/dev/zero") ||
         path.starts_with("/anon_hugepage");
}

// Whether one of these pieces, by start, which never overlap each other, has a part in it.
bool overlaps(const auto& pieces, std::uint64_t start, std::uint64_t end) {
  const auto next = pieces.lower_bound(end);
  return next != pieces.begin() && std::prev(next)->second.end > start;
}

}  // namespace

Interpreter::Interpreter(const Layout& layout, Kind kind, Detail detail,
                         StackCounter::Where counted)
    : kind_(kind),
      detail_(detail),
      counter_(layout.events, counted),
      swapper_(counter_.places().intern("swapper")),
      places_(kKnownPlaces),
      last_tasks_(kCpus),
      last_chains_(kCpus) {
  for (const std::string_view name : {kKernelImage, kUnknownImage, kXenImage, kPassiveUserImage}) {
    image(name, {}, false);
  }
  for (const Event& event : layout.events) {
    periods_.push_back({.event = event.count == 0 ? event.name : ""});
  }
  const auto whole = [&](AddressSpace& space, std::uint32_t image) {
    space.number = ++last_number_;
    space.mappings[0] = {.end = kTop, .image = image};
  };
  whole(kernel_, kKernel);
  whole(no_space_, kUnknown);
  whole(hypervisor_, kXen);
  whole(guest_kernel_, image(kGuestKernelImage, {}, false));
  whole(guest_user_, image(kGuestUserImage, {}, false));
}

void Interpreter::set_machines(std::string_view host,
                               const std::unordered_map<std::int32_t, std::string>& by_process) {
  host_ = counter_.places().intern(host);
  for (const auto& [process, name] : by_process) {
    machines_[process] = counter_.places().intern(name);
  }
}

void Interpreter::add(const Record& record) {
  if (guest_of_) {
    const auto* sample = std::get_if<SampleRecord>(&record.body);
    if (sample != nullptr && sample->guest && sample->pid == *guest_of_) {
      SampleRecord own = *sample;
      own.guest = false;
      own.call_chain = {};  // of the host's, as is the stack
      own.user_stack.reset();
      on(own);
    }
    return;
  }
  std::visit(
      [this](const auto& body) {
        if constexpr (requires { on(body); }) {
          changes_ += std::is_same_v<decltype(body), const SampleRecord&> ? 0 : 1;
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

LocationId Interpreter::location(std::uint32_t image, std::uint64_t address, StringId symbol) {
  MappedImage& mapped = images_[image];
  if (!mapped.id) {
    mapped.id = counter_.places().add_image(mapped.name, mapped.build_id);
  }
  return counter_.places().add_location(*mapped.id, address, symbol);
}

const Interpreter::LastTask& Interpreter::task_of(const SampleRecord& sample) {
  LastTask& task = last_tasks_[sample.cpu % kCpus];
  if (task.changes != changes_ || task.tid != sample.tid || task.pid != sample.pid) {
    const auto process = processes_.find(sample.pid);
    task = {.changes = changes_,
            .pid = sample.pid,
            .tid = sample.tid,
            .space = process != processes_.end() ? process->second.space.get() : nullptr,
            .process = sample.pid == 0 ? swapper_ : process_name(sample.tid)};
  }
  return task;
}

LocationId Interpreter::find(const AddressSpace& space, std::uint64_t pc) {
  KnownPlace& place = places_[mix(pc, space.number) % kKnownPlaces];
  if (place.pc != pc || place.space != space.number) {
    place = {.pc = pc, .space = space.number, .location = find_slowly(space, pc)};
  }
  return place.location;
}

LocationId Interpreter::find_slowly(const AddressSpace& space, std::uint64_t pc) {
  auto next = space.mappings.upper_bound(pc);
  if (next != space.mappings.begin()) {
    const auto& [start, mapping] = *--next;
    if (pc < mapping.end) {
      const bool file = images_[mapping.image].file;
      return location(mapping.image, file ? pc - start + mapping.page_offset : pc, mapping.symbol);
    }
  }
  return location(&space == &kernel_ ? kKernel : kUnknown, pc);
}

StringId Interpreter::process_name(std::int32_t tid) {
  if (const auto name = names_.find(tid); name != names_.end()) {
    return name->second;
  }
  return tid == 0 ? swapper_ : counter_.places().intern(fmt::format(":{}", tid));
}

void Interpreter::on(const SampleRecord& sample) {
  if (sample.period != 0) {
    Periods& periods = periods_[sample.event];
    const int highest = std::bit_width(sample.period) - 1;
    const std::uint64_t next =
        highest >= 4 ? sample.period >> (highest - 4) : sample.period << (4 - highest);
    Periods::Alike& alike = periods.alike[static_cast<std::size_t>(highest) * 16 + (next & 15)];
    alike.samples += 1;
    alike.events += static_cast<double>(sample.period);
    periods.most = std::max(periods.most, sample.period);
  }
  const auto machine = machines_.find(sample.pid);
  const bool served = machine != machines_.end();
  if (served && sample.guest) {
    return;
  }
  const LastTask* const task = kind_ == Kind::kPassive ? nullptr : &task_of(sample);
  const AddressSpace& user_space =
      task == nullptr || task->space == nullptr ? no_space_ : *task->space;
  LocationId leaf = 0;
  if (sample.guest) {
    leaf = find(sample.user ? guest_user_ : guest_kernel_, sample.ip);
  } else if (sample.hypervisor) {
    leaf = find(hypervisor_, sample.ip);
  } else if (!sample.user) {
    leaf = find(kernel_, sample.ip);
  } else if (kind_ == Kind::kPassive) {
    leaf = location(kPassiveUser, 0);
  } else {
    leaf = find(user_space, sample.ip);
  }
  SampleKey key;
  key.domain = served ? machine->second : host_;
  const bool in_xen =
      images_[kXen].id && images_[kXen].id == counter_.places().locations()[leaf].image;
  key.mode = served || in_xen ? Mode::kHypervisor : sample.user ? Mode::kUser : Mode::kKernel;
  if (detail_.threads) {
    key.pid = sample.pid;
    key.tid = sample.tid;
    key.vcpu = sample.cpu;
  }
  key.process = task == nullptr ? counter_.places().intern(fmt::format("[{}]", to_string(key.mode)))
                                : task->process;
  if (detail_.chains && (!sample.call_chain.empty() || sample.user_stack)) {
    count_stack(sample, user_space, key, leaf);
  } else {
    counter_.add(key, sample.event, leaf);
  }
}

void Interpreter::count_stack(const SampleRecord& sample, const AddressSpace& user_space,
                              const SampleKey& key, LocationId leaf) {
  chain_.clear();
  bool user = sample.user;
  bool interrupted = true;  // the next address is a PC and no return address
  bool first = true;        // the next address is the sampled PC, which is the leaf already
  for (const std::uint64_t entry : sample.call_chain) {
    if (entry >= static_cast<std::uint64_t>(PERF_CONTEXT_MAX)) {
      if (sample.user_stack && entry == static_cast<std::uint64_t>(PERF_CONTEXT_USER)) {
        break;
      }
      if (entry != static_cast<std::uint64_t>(PERF_CONTEXT_KERNEL) &&
          entry != static_cast<std::uint64_t>(PERF_CONTEXT_USER)) {
        break;
      }
      user = entry == static_cast<std::uint64_t>(PERF_CONTEXT_USER);
      interrupted = true;
      continue;
    }
    if (std::exchange(first, false) && entry == sample.ip) {
      interrupted = false;
      continue;
    }
    const std::uint64_t pc = std::exchange(interrupted, false) || entry == 0 ? entry : entry - 1;
    chain_.push_back({.pc = pc, .space = user ? user_space.number : kernel_.number});
  }
  if (sample.user_stack && !sample.guest) {
    add_user_callers(sample, user_space);
  }
  const std::size_t cpu = sample.cpu % kCpus;
  std::vector<ChainEntry>& last = last_chains_[cpu];
  const auto [mine, theirs] =
      std::mismatch(chain_.rbegin(), chain_.rend(), last.rbegin(), last.rend());
  const auto kept = static_cast<std::size_t>(mine - chain_.rbegin());
  callers_.clear();
  for (std::size_t i = chain_.size() - kept; i-- > 0;) {
    const ChainEntry& entry = chain_[i];
    const bool passive_user = kind_ == Kind::kPassive && entry.space == no_space_.number;
    callers_.push_back(passive_user
                           ? location(kPassiveUser, 0)
                           : find(entry.space == kernel_.number ? kernel_ : user_space, entry.pc));
  }
  last.swap(chain_);
  counter_.add(key, sample.event, leaf, cpu, kept, callers_);
}

void Interpreter::add_user_callers(const SampleRecord& sample, const AddressSpace& user_space) {
  const UserStack& user = *sample.user_stack;
  if (user.registers.empty()) {
    return;  // a thread of the kernel
  }
  const Unwinder::Chain found =
      user.narrow ? Unwinder::Chain{.pcs = {}, .end = ChainEnd::kNarrow}
                  : unwinder_.unwind(user, user_space.number, [&] { return code_of(user_space); });
  ++chain_ends_[static_cast<std::size_t>(found.end)];
  for (const std::uint64_t pc : found.pcs.subspan(sample.user && !found.pcs.empty() ? 1 : 0)) {
    chain_.push_back({.pc = pc, .space = user_space.number});
  }
}

std::vector<CodeMapping> Interpreter::code_of(const AddressSpace& space) const {
  std::vector<CodeMapping> code;
  code.reserve(space.mappings.size());
  for (const auto& [start, mapping] : space.mappings) {
    CodeMapping& piece = code.emplace_back(start, mapping.end, mapping.page_offset);
    const MappedImage& image = images_[mapping.image];
    if (image.file) {
      piece.path = image.name;
      const auto set = build_ids_.find(image.name);
      piece.build_id =
          image.build_id.empty() && set != build_ids_.end() ? set->second : image.build_id;
    }
  }
  return code;
}

std::vector<std::string> Interpreter::notes() const {
  std::vector<std::string> notes;
  for (const Periods& periods : periods_) {
    Periods::Alike all;
    for (const Periods::Alike& alike : periods.alike) {
      all.samples += alike.samples;
      all.events += alike.events;
    }
    // By how much a share of the samples may be other than of the events: the samples that stand
    // for few have that much more of the ones than of the others.
    double apart = 0;
    for (const Periods::Alike& alike : periods.alike) {
      apart += std::max(0.0, alike.samples / all.samples - alike.events / all.events);
    }
    constexpr double kApart = 0.05;
    constexpr double kFew = 20;
    if (!periods.event.empty() && all.samples >= kFew && apart > kApart) {
      notes.push_back(fmt::format(
          "Samples of {0} came by frequency, and one stands for up to {1} of them: shares are of "
          "samples, and up to {2:.0f} points other than those of {0}. With a count (-e {0}:N) all "
          "stand for as many.",
          periods.event, with_separators(periods.most), std::ceil(100 * apart)));
    }
  }
  if (auto cut = cut_chains()) {
    notes.push_back(*std::move(cut));
  }
  return notes;
}

std::optional<std::string> Interpreter::cut_chains() const {
  const auto ended = [this](ChainEnd end) { return chain_ends_[static_cast<std::size_t>(end)]; };
  const std::uint64_t all = std::reduce(chain_ends_.begin(), chain_ends_.end());
  const std::uint64_t cut = all - ended(ChainEnd::kOutermost);
  if (cut == 0) {
    return std::nullopt;
  }
  constexpr std::pair<ChainEnd, std::string_view> kReasons[] = {
      {ChainEnd::kNoFile, "at code of no file, or of one that is gone or not the one that ran"},
      {ChainEnd::kNoRules, "at code whose file does not tell of its stack"},
      {ChainEnd::kShortStack, "where the copy of the stack ends (a larger one helps)"},
      {ChainEnd::kTooDeep, "after 128 callers"},
      {ChainEnd::kNarrow, "as they are of 32-bit code"},
      {ChainEnd::kBroken, "where stack and code do not fit together"},
      {ChainEnd::kFailed, "as unwinding failed on a damaged file"}};
  static_assert(Unwinder::kMostFrames == 128);
  std::vector<std::string> reasons;
  for (const auto& [end, reason] : kReasons) {
    if (ended(end) != 0) {
      reasons.push_back(fmt::format("{} {}", with_separators(ended(end)), reason));
    }
  }
  return fmt::format("Of {} call chains in user code {} are cut short: {}.", with_separators(all),
                     with_separators(cut), fmt::join(reasons, ", "));
}

void Interpreter::map(AddressSpace& space, std::uint64_t start, const Mapping& mapping) {
  if (start >= mapping.end) {
    return;
  }
  if (num_mappings_ >= kMaxMappings) {
    return;
  }
  space.number = ++last_number_;
  auto& mappings = space.mappings;
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

void Interpreter::map_kernel(const MmapRecord& mmap, Mapping mapping) {
  if (mmap.path.starts_with(kKernelText)) {
    mapping.image = kKernel;
    if (!mmap.build_id.empty()) {
      images_[kKernel].build_id = hex(mmap.build_id);  // the mapping precedes all samples
    }
    if (std::ranges::find(kKernelTextSymbols, mmap.path) != std::end(kKernelTextSymbols) &&
        mmap.page_offset != 0) {
      loaded_at_.emplace(kKernelImage, mmap.page_offset);
    }
  } else {
    const std::string name = module_name(mmap.path);
    mapping.image = image(name, mmap.build_id, false);
    if (name != kXenImage) {
      loaded_at_.emplace(name, mmap.start);
    }
  }
  map(kernel_, mmap.start, mapping);
}

void Interpreter::on(const MmapRecord& mmap) {
  const std::uint64_t room = ~mmap.start;
  Mapping mapping{.end = mmap.start + std::min(mmap.length, room),
                  .page_offset = mmap.page_offset,
                  .image = kUnknown};
  if (mmap.kernel) {
    map_kernel(mmap, mapping);
    return;
  }
  if (mmap.path == "[vdso]") {
    mapping.page_offset = 0;
    mapping.image = image(mmap.path, mmap.build_id, true);
  } else if (is_made_by_process(mmap.path)) {
    // Whoever resolves it finds the names that the process may have written there.
    mapping.image = image(fmt::format("/tmp/perf-{}.map", mmap.pid), {}, false);
  } else if (!is_anonymous(mmap.path)) {
    mapping.image = image(mmap.path, mmap.build_id, true);
  }
  auto& space = processes_[mmap.pid].space;
  if (mmap.data && (space == nullptr || !overlaps(space->mappings, mmap.start, mapping.end))) {
    return;  // no code is there, nor was
  }
  if (space == nullptr) {
    space = std::make_shared<AddressSpace>();
    space->number = ++last_number_;  // also where nothing comes to be mapped
  } else if (space.use_count() > 1) {
    if (num_mappings_ + space->mappings.size() > kMaxMappings) {
      return;
    }
    num_mappings_ += space->mappings.size();
    space = std::make_shared<AddressSpace>(*space);
  }
  map(*space, mmap.start, mapping);
}

// Code that the kernel made while running: BPF programs, trampolines. Xen's functions come in this
// form too.
void Interpreter::on(const KsymbolRecord& symbol) {
  const bool xen = symbol.address >= kXenStart && symbol.address < kXenEnd;
  const std::uint64_t room = kTop - symbol.address;
  Mapping mapping{.end = symbol.address + std::min<std::uint64_t>(symbol.length, room),
                  .image = xen ? std::uint32_t{kXen} : std::uint32_t{kKernel}};
  if (!symbol.removed) {
    mapping.symbol = counter_.places().intern(symbol.name);
    mapping.image = xen ? mapping.image : image(symbol.name, {}, false);
  }
  map(kernel_, symbol.address, mapping);
}

void Interpreter::clear(std::int32_t pid) {
  const auto process = processes_.find(pid);
  if (process == processes_.end()) {
    return;
  }
  if (process->second.space.use_count() == 1) {
    num_mappings_ -= process->second.space->mappings.size();
  }
  processes_.erase(process);
}

void Interpreter::on(const CommRecord& comm) {
  names_[comm.tid] = counter_.places().intern(comm.name);
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
    const auto shared = parent->second.space;
    processes_[fork.pid].space = shared;
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

void Interpreter::set_build_ids(const std::vector<BuildId>& build_ids) {
  for (const BuildId& build_id : build_ids) {
    const bool text = build_id.path.starts_with(kKernelText);
    build_ids_[text              ? std::string(kKernelImage)
               : build_id.kernel ? module_name(build_id.path)
                                 : build_id.path] = hex(build_id.id);
  }
  for (ImageId id = 0; id < counter_.places().images().size(); ++id) {
    const Image& image = counter_.places().images()[id];
    const auto found = build_ids_.find(std::string(counter_.places().text(image.name)));
    if (image.build_id == 0 && found != build_ids_.end()) {
      counter_.places().set_build_id(id, counter_.places().intern(found->second));
    }
  }
}

}  // namespace xenoprof::perf
