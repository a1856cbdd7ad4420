// SPDX-License-Identifier: GPL-2.0-or-later
#include "perf/unwind.h"

#include <asm/perf_regs.h>
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <utility>

#include "symbols/elf_file.h"

namespace xenoprof::perf {
namespace {

// Each keeps its file open. More, which few machines run at once, are read again.
constexpr std::size_t kMostFiles = 256;
constexpr std::size_t kMostKnownPlaces = std::size_t{1} << 16;  // of a file

// The largest stack that is believed in: a caller beyond makes no sense.
constexpr std::uint64_t kLargestStack = std::uint64_t{1} << 30;

// The number of the only thread that libdwfl gets to see.
constexpr pid_t kThread = 1;

// DWARF's numbers of registers (System V ABI for AMD64, figure "DWARF Register Number Mapping").
enum : unsigned { kStackPointer = 7, kReturnAddress = 16 };
constexpr std::size_t kRegisters = 17;
// By these, perf's.
constexpr std::array<unsigned, kRegisters> kPerfRegisters = {
    PERF_REG_X86_AX,  PERF_REG_X86_DX,  PERF_REG_X86_CX,  PERF_REG_X86_BX,  PERF_REG_X86_SI,
    PERF_REG_X86_DI,  PERF_REG_X86_BP,  PERF_REG_X86_SP,  PERF_REG_X86_R8,  PERF_REG_X86_R9,
    PERF_REG_X86_R10, PERF_REG_X86_R11, PERF_REG_X86_R12, PERF_REG_X86_R13, PERF_REG_X86_R14,
    PERF_REG_X86_R15, PERF_REG_X86_IP};

struct EndDwfl {
  void operator()(Dwfl* dwfl) const { dwfl_end(dwfl); }
};

}  // namespace

// One with what libdwfl knows of it. There it is alone, where it was linked to be: the addresses of
// all processes that mapped it become those of the file, a frame at a time.
class Unwinder::File {
 public:
  static std::unique_ptr<File> open(const std::string& path, const std::string& build_id);
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  std::uint64_t last_turn = 0;

  // From the registers of a frame, whose code lies at this offset in the file, to its caller's.
  ChainEnd step(std::uint64_t offset, const UserStack& user, std::uint64_t stack_pointer,
                Registers& registers, bool& interrupted);

 private:
  // Whether the file tells how to find the caller of the code there.
  enum class Rules : std::uint8_t { kNone, kOrdinary, kOfSignal };
  // What libdwfl's callbacks work on during a step.
  struct Work {
    const UserStack* user = nullptr;
    std::uint64_t stack_pointer = 0;  // the address of its stack
    Registers registers;              // of the frame, then of its caller
    unsigned frames = 0;
    // Where the caller's registers are is known, but not what is there: where the chain ends then.
    std::optional<ChainEnd> missed;
  };

  File() = default;
  bool prepare(const std::string& path);
  Rules rules_at(std::uint64_t address);

  static int find_elf(Dwfl_Module*, void** userdata, const char* name, Dwarf_Addr, char** file_name,
                      Elf** elf);
  static int find_debuginfo(Dwfl_Module*, void**, const char*, Dwarf_Addr, const char*, const char*,
                            GElf_Word, char**) {
    return -1;  // what tells of stacks is in the file itself
  }
  static pid_t next_thread(Dwfl*, void* file, void** thread);
  static bool get_thread(Dwfl*, pid_t, void* file, void** thread);
  static bool read_memory(Dwfl*, Dwarf_Addr address, Dwarf_Word* result, void* file);
  static bool set_registers(Dwfl_Thread* thread, void* file);
  static int on_frame(Dwfl_Frame* frame, void* file);

  // In this order: libdwfl reads the file.
  std::optional<ElfFile> elf_;
  std::unique_ptr<Dwfl, EndDwfl> dwfl_;  // null: it cannot be used
  ChainEnd unusable_ = ChainEnd::kNoFile;
  Dwarf_CFI* eh_frame_ = nullptr;
  Dwarf_CFI* debug_frame_ = nullptr;
  std::uint64_t bias_ = 0;                          // from the file's addresses to libdwfl's
  std::unordered_map<std::uint64_t, Rules> known_;  // by address
  Work work_;
};

int Unwinder::File::find_elf(Dwfl_Module*, void** userdata, const char* name, Dwarf_Addr,
                             char** file_name, Elf** elf) {
  // One more owner of it.
  *elf = elf_begin(-1, ELF_C_READ, static_cast<File*>(*userdata)->elf_->elf());
  *file_name = ::strdup(name);  // libdwfl frees it
  return -1;
}

pid_t Unwinder::File::next_thread(Dwfl*, void* file, void** thread) {
  const bool first = *thread == nullptr;
  *thread = file;
  return first ? kThread : 0;
}

bool Unwinder::File::get_thread(Dwfl*, pid_t, void* file, void** thread) {
  *thread = file;
  return true;
}

bool Unwinder::File::read_memory(Dwfl*, Dwarf_Addr address, Dwarf_Word* result, void* file) {
  Work& work = static_cast<File*>(file)->work_;
  const Bytes stack = work.user->stack;
  const std::uint64_t offset = address - work.stack_pointer;
  if (stack.size() >= sizeof *result && offset <= stack.size() - sizeof *result) {
    *result = value_at<Dwarf_Word>(stack, offset);
    return true;
  }
  work.missed =
      work.user->more_stack && offset < kLargestStack ? ChainEnd::kShortStack : ChainEnd::kBroken;
  return false;
}

bool Unwinder::File::set_registers(Dwfl_Thread* thread, void* file) {
  const Registers& registers = static_cast<File*>(file)->work_.registers;
  for (unsigned i = 0; i < kRegisters; ++i) {
    if ((registers.known >> i & 1) != 0 &&
        !dwfl_thread_state_registers(thread, static_cast<int>(i), 1, &registers.values[i])) {
      return false;
    }
  }
  return true;
}

// Of the frame itself, then of its caller, which is as far as the file serves.
int Unwinder::File::on_frame(Dwfl_Frame* frame, void* file) {
  Work& work = static_cast<File*>(file)->work_;
  if (work.frames++ == 0) {
    return DWARF_CB_OK;
  }
  Registers& registers = work.registers;
  registers.known = 0;
  for (unsigned i = 0; i < kRegisters; ++i) {
    const bool known = dwfl_frame_reg(frame, i, &registers.values[i]) == 0;
    registers.known |= known ? 1u << i : 0;
  }
  const bool known = dwfl_frame_pc(frame, &registers.values[kReturnAddress], nullptr);
  registers.known |= known ? 1u << kReturnAddress : 0;
  return DWARF_CB_ABORT;
}

std::unique_ptr<Unwinder::File> Unwinder::File::open(const std::string& path,
                                                     const std::string& build_id) {
  std::unique_ptr<File> file(new File);
  auto opened = path == "[vdso]" ? ElfFile::vdso() : ElfFile::open(path);
  if (!opened ||
      (!build_id.empty() && !opened->build_id().empty() && opened->build_id() != build_id)) {
    return file;
  }
  file->elf_ = *std::move(opened);
  if (!file->prepare(path)) {
    file->dwfl_.reset();
    file->unusable_ = ChainEnd::kNoRules;
  }
  return file;
}

bool Unwinder::File::prepare(const std::string& path) {
  static const Dwfl_Callbacks files = {.find_elf = find_elf,
                                       .find_debuginfo = find_debuginfo,
                                       .section_address = nullptr,
                                       .debuginfo_path = nullptr};
  static const Dwfl_Thread_Callbacks threads = {.next_thread = next_thread,
                                                .get_thread = get_thread,
                                                .memory_read = read_memory,
                                                .set_initial_registers = set_registers,
                                                .detach = nullptr,
                                                .thread_detach = nullptr};
  GElf_Ehdr header;
  if (gelf_getehdr(elf_->elf(), &header) == nullptr || header.e_machine != EM_X86_64 ||
      header.e_ident[EI_CLASS] != ELFCLASS64 || elf_->segments().empty()) {
    return false;
  }
  std::uint64_t start = ~std::uint64_t{0};
  std::uint64_t end = 0;
  for (const Segment& segment : elf_->segments()) {
    start = std::min(start, segment.start);
    end = std::max(end, segment.start + std::min(segment.memory_size, ~segment.start));
  }
  dwfl_.reset(dwfl_begin(&files));
  if (dwfl_ == nullptr || start >= end) {
    return false;
  }
  dwfl_report_begin(dwfl_.get());
  Dwfl_Module* const module = dwfl_report_module(dwfl_.get(), path.c_str(), start, end);
  void** userdata = nullptr;
  if (module == nullptr || dwfl_report_end(dwfl_.get(), nullptr, nullptr) != 0 ||
      dwfl_module_info(module, &userdata, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr) ==
          nullptr) {
    return false;
  }
  *userdata = this;
  if (dwfl_module_getelf(module, &bias_) == nullptr) {
    return false;
  }
  Dwarf_Addr unused = 0;
  eh_frame_ = dwfl_module_eh_cfi(module, &unused);
  if (elf_->has_data(".debug_frame")) {
    debug_frame_ = dwfl_module_dwarf_cfi(module, &unused);
  }
  return (eh_frame_ != nullptr || debug_frame_ != nullptr) &&
         dwfl_attach_state(dwfl_.get(), elf_->elf(), kThread, &threads, this);
}

// libdwfl would guess where there are none.
Unwinder::File::Rules Unwinder::File::rules_at(std::uint64_t address) {
  if (const auto known = known_.find(address); known != known_.end()) {
    return known->second;
  }
  Rules rules = Rules::kNone;
  for (Dwarf_CFI* const table : {eh_frame_, debug_frame_}) {
    Dwarf_Frame* frame = nullptr;
    if (table == nullptr || dwarf_cfi_addrframe(table, address, &frame) != 0) {
      continue;
    }
    Dwarf_Addr start = 0;
    Dwarf_Addr end = 0;
    bool of_signal = false;
    dwarf_frame_info(frame, &start, &end, &of_signal);
    std::free(frame);
    rules = of_signal ? Rules::kOfSignal : Rules::kOrdinary;
    break;
  }
  if (known_.size() >= kMostKnownPlaces) {
    known_.clear();
  }
  known_.emplace(address, rules);
  return rules;
}

ChainEnd Unwinder::File::step(std::uint64_t offset, const UserStack& user,
                              std::uint64_t stack_pointer, Registers& registers,
                              bool& interrupted) {
  if (dwfl_ == nullptr) {
    return unusable_;
  }
  const auto address = elf_->address_of(offset);
  const Rules rules = address ? rules_at(*address) : Rules::kNone;
  if (rules == Rules::kNone) {
    return ChainEnd::kNoRules;
  }
  work_ = {.user = &user, .stack_pointer = stack_pointer, .registers = registers};
  work_.registers.values[kReturnAddress] = *address + bias_;
  const int status = dwfl_getthread_frames(dwfl_.get(), kThread, on_frame, this);
  if (work_.frames < 2) {
    // libdwfl takes a return address that it could not read for none.
    return work_.missed.value_or(status == 0 ? ChainEnd::kOutermost : ChainEnd::kBroken);
  }
  constexpr std::uint32_t kNeeded = 1u << kStackPointer | 1u << kReturnAddress;
  interrupted = rules == Rules::kOfSignal;
  const std::uint64_t before = registers.values[kStackPointer];
  registers = work_.registers;
  // Stacks grow downwards; a signal's may be another one.
  if ((registers.known & kNeeded) != kNeeded ||
      (!interrupted && registers.values[kStackPointer] <= before)) {
    return ChainEnd::kBroken;
  }
  return ChainEnd::kMore;
}

Unwinder::Unwinder() = default;
Unwinder::Unwinder(Unwinder&&) noexcept = default;
Unwinder& Unwinder::operator=(Unwinder&&) noexcept = default;
Unwinder::~Unwinder() = default;

Unwinder::File& Unwinder::file_of(const CodeMapping& mapping) {
  const std::string key = mapping.path + '\0' + mapping.build_id;
  auto file = files_.find(key);
  if (file == files_.end()) {
    if (files_.size() >= kMostFiles) {
      files_.erase(std::ranges::min_element(
          files_, {}, [](const auto& entry) { return entry.second->last_turn; }));
    }
    file = files_.emplace(key, File::open(mapping.path, mapping.build_id)).first;
  }
  file->second->last_turn = ++turn_;
  return *file->second;
}

Unwinder::Chain Unwinder::unwind(const UserStack& user, std::span<const CodeMapping> mappings) {
  if (user.narrow) {
    return {.pcs = {}, .end = ChainEnd::kNarrow};
  }
  if (user.registers.empty()) {
    return {};
  }
  Registers registers;
  for (unsigned i = 0; i < kRegisters; ++i) {
    const std::uint64_t bit = std::uint64_t{1} << kPerfRegisters[i];
    if ((user.mask & bit) != 0) {
      const auto place = static_cast<std::size_t>(std::popcount(user.mask & (bit - 1)));
      registers.values[i] = value_at<std::uint64_t>(user.registers, place * sizeof(std::uint64_t));
      registers.known |= 1u << i;
    }
  }
  std::uint64_t& pc = registers.values[kReturnAddress];
  const std::uint64_t stack_pointer = registers.values[kStackPointer];
  constexpr std::uint32_t kNeeded = 1u << kStackPointer | 1u << kReturnAddress;
  std::size_t frames = 0;
  ChainEnd end = (registers.known & kNeeded) == kNeeded ? ChainEnd::kMore : ChainEnd::kBroken;
  while (end == ChainEnd::kMore) {
    const auto next = std::ranges::upper_bound(mappings, pc, {}, &CodeMapping::start);
    const CodeMapping* const mapping =
        next != mappings.begin() && pc < std::prev(next)->end ? &*std::prev(next) : nullptr;
    if (mapping == nullptr && frames != 0) {
      end = ChainEnd::kBroken;  // no code is there
      break;
    }
    if (frames == kMostFrames) {
      end = ChainEnd::kTooDeep;
      break;
    }
    pcs_[frames++] = pc;
    if (mapping == nullptr || mapping->path.empty()) {
      end = ChainEnd::kNoFile;
      break;
    }
    bool interrupted = false;
    end = file_of(*mapping).step(pc - mapping->start + mapping->page_offset, user, stack_pointer,
                                 registers, interrupted);
    pc -= interrupted ? 0 : 1;
  }
  return {.pcs = std::span(pcs_).first(frames), .end = end};
}

}  // namespace xenoprof::perf
