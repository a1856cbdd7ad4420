// SPDX-License-Identifier: GPL-2.0-or-later
#include "models.h"

#include <array>
#include <bit>
#include <memory>
#include <mutex>
#include <utility>

namespace xenoprof::pmu {
namespace {

constexpr uint64_t kCr0Paging = uint64_t{1} << 31;
// Of CR4: PSE, PAE and PGE, a change of which flushes everything.
constexpr uint64_t kCr4Translation = 1 << 4 | 1 << 5 | 1 << 7;

constexpr size_t kCacheLine = 128;  // of the host, two for its prefetcher

// Ours to find under an address that translated code and QEMU's threads know: by vCPU number.
class alignas(kCacheLine) Model final : Processor::Machine, Processor::Listener {
 public:
  Model(unsigned vcpu, const Geometry& geometry, SecondLevel& second_level, const QemuPrivate& qemu)
      : processor(geometry, second_level, *this, *this),
        program_counter(qemu.program_counter(vcpu)),
        vcpu_(vcpu),
        qemu_(qemu) {}

  Processor processor;
  const QemuPrivate::ProgramCounter program_counter;
  uint64_t block_start = 0;  // address of the block that began last

 private:
  AddressSpace address_space() override { return qemu_.address_space(vcpu_); }
  uint64_t read(uint64_t address) override { return qemu_.read_physical(address); }
  bool is_device(uint64_t address) override { return qemu_.is_device(address); }
  void happened(Source source, Mode mode, uint64_t times) override {
    count(vcpu_, source, mode, times);
  }

  const unsigned vcpu_;
  const QemuPrivate& qemu_;
};

const QemuPrivate* qemu;
Geometry geometry;
std::array<std::unique_ptr<Model>, QemuPrivate::kMaxVcpus> models;
std::mutex second_levels_mutex;
std::vector<std::unique_ptr<SecondLevel>> second_levels;  // one, or one for each vCPU

class Listener final : public QemuPrivate::Listener {
  void wrote_control_register(unsigned vcpu, int number, uint64_t before, uint64_t after) override {
    Processor& processor = *forget_code(vcpu);
    const uint64_t changed = before ^ after;
    if ((number == 0 && (changed & kCr0Paging)) || (number == 4 && (changed & kCr4Translation))) {
      processor.forget_address_space();
      processor.flush();
    } else if (number == 3) {
      processor.forget_address_space();
      processor.flush_non_global();
    }
  }

  void invalidated_page(unsigned vcpu, uint64_t address) override {
    forget_code(vcpu)->flush_page(address);
  }

  void entered_guest(unsigned vcpu) override {
    Processor& processor = *forget_code(vcpu);
    processor.forget_address_space();
    // AMD64 APM volume 2, 15.16 "TLB Control".
    switch (qemu->tlb_control(vcpu)) {
      case 0:
        break;
      case 3:
        processor.flush();
        break;
      case 7:
        processor.flush_non_global();
        break;
      default:
        processor.flush_everything();
        break;
    }
    state_of(vcpu).pending_branch = 0;
  }

  void left_guest(unsigned vcpu) override {
    forget_code(vcpu)->forget_address_space();
    state_of(vcpu).pending_branch = 0;
  }

  void took_exception(unsigned vcpu) override {
    // It may be the one that a hypervisor began its guest with.
    if (qemu->in_guest(vcpu) != models[vcpu]->processor.in_guest()) {
      entered_guest(vcpu);
    }
    state_of(vcpu).pending_branch = 0;
  }

  void took_interrupt(unsigned vcpu, bool user, bool guest) override {
    state_of(vcpu).pending_branch = 0;
    if (counted_sources() & bits(kInterrupts)) {
      count(vcpu, kInterrupts,
            guest  ? user ? kGuestUser : kGuestKernel
            : user ? kUser
                   : kKernel,
            1);
    }
  }

  static Processor* forget_code(unsigned vcpu) {
    state_of(vcpu).fetched = 0;
    return &models[vcpu]->processor;
  }
};
Listener listener;

struct ModelCallbacks {
  qemu_plugin_vcpu_udata_cb_t code;
  qemu_plugin_vcpu_udata_cb_t code_with_branches;
  qemu_plugin_vcpu_mem_cb_t data;
};

}  // namespace

void start_models(const Geometry& wanted, const QemuPrivate& found) {
  geometry = wanted;
  qemu = &found;
}

QemuPrivate::Listener& processor_listener() {
  return listener;
}

void add_vcpu_model(unsigned vcpu) {
  const std::lock_guard lock(second_levels_mutex);
  if (models[vcpu] != nullptr) {
    return;
  }
  if (second_levels.empty() || !geometry.l2_shared) {
    second_levels.push_back(std::make_unique<SecondLevel>(geometry));
  }
  models[vcpu] = std::make_unique<Model>(vcpu, geometry, *second_levels.back(), *qemu);
}

Processor::Flushed flushed_walks(unsigned vcpu) {
  return models[vcpu]->processor.flushed();
}

void forget_what_models_found_last() {
  for (const auto& model : models) {
    if (model != nullptr) {
      model->processor.forget_recent();
    }
  }
}

namespace {

void resolve_branch(Model& model, uint64_t pending, uint64_t start) {
  const auto block = std::bit_cast<Block>(pending);
  const uint64_t next = model.block_start + block.bytes;
  model.processor.branch(static_cast<InstructionKind>(block.last_kind), next - block.last_bytes,
                         next, start, static_cast<Mode>(block.mode));
}

// Of the block before, whose last instruction was predicted.
void resolve_pending_branch(unsigned vcpu, Model& model, uint64_t start) {
  uint64_t& pending = state_of(vcpu).pending_branch;
  if (pending != 0) {
    resolve_branch(model, std::exchange(pending, 0), start);
  }
  model.block_start = start;
}

[[gnu::noinline, gnu::cold]] void complain_of_program_counter() {
  log_once(
      "this QEMU (vCPU %u) keeps its program counter elsewhere: what the instruction caches "
      "count is wrong",
      0);
}

// For any block.
void on_block(unsigned vcpu, void* packed_block) {
  const auto block = std::bit_cast<Block>(packed_block);
  Model& model = *models[vcpu];
  if (model.processor.parts() != block.parts) [[unlikely]] {
    model.processor.set_parts(block.parts);
  }
  uint64_t start = *model.program_counter.offset;
  if (!block.code64) [[unlikely]] {
    start = static_cast<uint32_t>(start + *model.program_counter.segment_base);
  }
  if ((start & 0xfff) != block.page_offset) [[unlikely]] {
    complain_of_program_counter();
  }
  if (block.parts & kPredictorPart) {
    resolve_pending_branch(vcpu, model, start);
  }
  if (block.parts & (kCodeTlbPart | kCodeCachePart)) {
    model.processor.fetch(start, block.bytes, static_cast<Mode>(block.mode));
  }
}

[[gnu::noinline]] void fetch_rest(Model& model, Block block, uint64_t address, uint64_t bytes) {
  if (model.processor.parts() != block.parts) {
    model.processor.set_parts(block.parts);
  }
  if ((*model.program_counter.offset & 0xfff) != block.page_offset) [[unlikely]] {
    complain_of_program_counter();
  }
  model.processor.fetch(address, bytes, static_cast<Mode>(block.mode));
}

// For a block of 64-bit code kept by units of 1 << shift bytes: most are in units that were fetched
// lately.
template <unsigned shift, bool predicted>
void on_fetch(unsigned vcpu, void* packed_block) {
  constexpr uint64_t kUnit = uint64_t{1} << shift;
  const auto block = std::bit_cast<Block>(packed_block);
  Model& model = *models[vcpu];
  const uint64_t start = *model.program_counter.offset;
  if (predicted) {
    resolve_pending_branch(vcpu, model, start);
  }
  uint64_t at = start & ~(kUnit - 1);
  for (uint64_t units = block.units; units > 0; --units, at += kUnit) {
    if (!model.processor.use_recent_code(at, shift)) [[unlikely]] {
      return fetch_rest(model, block, at, units * kUnit);
    }
  }
}

// Called more often than anything else: most accesses end with a comparison of the line's or the
// page's number. An access of up to 16 bytes may go on in the next one.
constexpr uint64_t kLongestAccess = 16;

template <unsigned shift>
[[gnu::noinline]] void go_on(Processor& processor, qemu_plugin_meminfo_t info, uint64_t address,
                             Mode mode) {
  constexpr uint64_t kUnit = uint64_t{1} << shift;
  const uint64_t left = kUnit - (address & (kUnit - 1));
  if (left < uint64_t{1} << qemu_plugin_mem_size_shift(info)) {
    processor.access(address + left, mode);
  }
}

template <unsigned shift>
bool may_go_on(uint64_t address) {
  constexpr uint64_t kUnit = uint64_t{1} << shift;
  return (address & (kUnit - 1)) > kUnit - kLongestAccess;
}

template <unsigned shift>
[[gnu::noinline]] void look_up(Processor& processor, qemu_plugin_meminfo_t info, uint64_t address,
                               AccessSite site) {
  const auto mode = static_cast<Mode>(site.mode);
  if (processor.parts() != site.parts) {
    processor.set_parts(site.parts);
  }
  processor.look_up_data(address, mode);
  if (may_go_on<shift>(address)) {
    go_on<shift>(processor, info, address, mode);
  }
}

template <unsigned shift>
void on_access(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t address, void* packed_site) {
  const auto site = std::bit_cast<AccessSite>(packed_site);
  Processor& processor = models[vcpu]->processor;
  if (!processor.use_recent_data(address, shift)) [[unlikely]] {
    look_up<shift>(processor, info, address, site);
  } else if (may_go_on<shift>(address)) [[unlikely]] {
    go_on<shift>(processor, info, address, static_cast<Mode>(site.mode));
  }
}

template <unsigned shift>
constexpr ModelCallbacks kCallbacks{on_fetch<shift, false>, on_fetch<shift, true>,
                                    on_access<shift>};

// By the shift of a unit. Lines are of 16 bytes at least; pages have 4096.
constexpr unsigned kLeastShift = 4;
constexpr ModelCallbacks kCallbacksOfShift[] = {kCallbacks<4>,  kCallbacks<5>,  kCallbacks<6>,
                                                kCallbacks<7>,  kCallbacks<8>,  kCallbacks<9>,
                                                kCallbacks<10>, kCallbacks<11>, kCallbacks<12>};

}  // namespace

qemu_plugin_vcpu_udata_cb_t code_callback(const Block& block, uint64_t unit) {
  if (!block.code64 || !(block.parts & (kCodeTlbPart | kCodeCachePart))) {
    return on_block;
  }
  const ModelCallbacks& callbacks = kCallbacksOfShift[std::countr_zero(unit) - kLeastShift];
  return block.parts & kPredictorPart ? callbacks.code_with_branches : callbacks.code;
}

qemu_plugin_vcpu_mem_cb_t data_callback(uint64_t unit) {
  return kCallbacksOfShift[std::countr_zero(unit) - kLeastShift].data;
}

}  // namespace xenoprof::pmu
