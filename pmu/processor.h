// SPDX-License-Identifier: GPL-2.0-or-later
// One vCPU's caches, TLBs and branch predictor: what an access finds in them and what it costs. No
// QEMU here. Used by the vCPU's own thread alone, but for a shared second-level cache.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "address_space.h"
#include "branch_predictor.h"
#include "cache.h"
#include "counters.h"
#include "geometry.h"
#include "recent.h"
#include "tlb.h"

namespace xenoprof::pmu {

// Parts of the model, a bit each: only those that the counted sources need are kept up.
using Parts = unsigned;
constexpr Parts kCodeTlbPart = 1;
constexpr Parts kCodeCachePart = 2;  // wants the TLB: its lines are physical
constexpr Parts kDataTlbPart = 4;
constexpr Parts kDataCachePart = 8;
constexpr Parts kL2Part = 16;  // wants all of the above
constexpr Parts kPredictorPart = 32;
constexpr Parts kCyclesPart = 64;  // penalties of all others
constexpr unsigned kPartBits = 7;
Parts parts_for(SourceSet sources);

// The second-level cache. Taken with a lock per set where vCPUs share it; they rarely meet.
class SecondLevel {
 public:
  explicit SecondLevel(const Geometry& geometry)
      : cache_(geometry.l2, geometry.line_bytes),
        locks_(geometry.l2_shared ? cache_.sets() : 0),
        mask_(cache_.sets() - 1) {}

  bool access(uint64_t line) {
    if (locks_.empty()) {
      return cache_.access(line, line);
    }
    std::atomic_flag& lock = locks_[line & mask_];
    while (lock.test_and_set(std::memory_order_acquire)) {
    }
    const bool found = cache_.access(line, line);
    lock.clear(std::memory_order_release);
    return found;
  }

  // A shared one keeps what the other vCPUs may still be using.
  void clear_own() {
    if (locks_.empty()) {
      cache_.clear();
    }
  }

 private:
  Cache cache_;
  std::vector<std::atomic_flag> locks_;  // none where it is one vCPU's own
  uint64_t mask_;
};

class Processor {
 public:
  // What happens is reported here.
  class Listener {
   public:
    virtual void happened(Source source, Mode mode, uint64_t times) = 0;

   protected:
    ~Listener() = default;
  };

  // The machine around the processor.
  class Machine : public PhysicalMemory {
   public:
    virtual AddressSpace address_space() = 0;
    virtual bool is_device(uint64_t physical_address) = 0;

   protected:
    ~Machine() = default;
  };

  Processor(const Geometry& geometry, SecondLevel& second_level, Machine& machine,
            Listener& listener);
  Processor(const Processor&) = delete;

  // Parts that were off begin empty, but for a shared second-level cache.
  Parts parts() const { return parts_; }
  void set_parts(Parts parts);

  // An access to data, within a line.
  void access(uint64_t address, Mode mode) {
    if (!data_.recent.use(address, data_.tlb)) {
      look_up_data(address, mode);
    }
  }
  // Code is fetched line by line, from `address` on.
  void fetch(uint64_t address, uint64_t bytes, Mode mode) {
    // Counted, not compared: code may end where the address space does.
    const uint64_t line = uint64_t{1} << line_shift_;
    uint64_t lines = ((address & (line - 1)) + bytes + line - 1) >> line_shift_;
    for (uint64_t at = address & ~(line - 1); lines > 0; --lines, at += line) {
      if (!code_.recent.use(at, code_.tlb)) {
        look_up(code_, at, mode);
      }
    }
  }

  // The same in two steps, for callers that know the size of a unit: of lines, or of pages where
  // lines are not kept. False if nothing was done and the unit has to be looked up.
  bool use_recent_data(uint64_t address, unsigned unit_shift) {
    return data_.recent.use(address, data_.tlb, unit_shift);
  }
  bool use_recent_code(uint64_t address, unsigned unit_shift) {
    return code_.recent.use(address, code_.tlb, unit_shift);
  }
  void look_up_data(uint64_t address, Mode mode) { look_up(data_, address, mode); }

  void branch(InstructionKind kind, uint64_t address, uint64_t next, uint64_t target, Mode mode) {
    if (!predictor_.resolve(kind, address, next, target)) {
      mispredicted(mode);
    }
  }

  // The next access to anything is looked up.
  void forget_recent() {
    data_.recent.forget();
    code_.recent.forget();
  }

  // The machine's address space has changed, by something else than the flushes below: it is looked
  // up again.
  void forget_address_space();
  bool in_guest() const { return space_.asid != 0; }
  void flush_non_global();
  void flush();             // of the current ASID
  void flush_everything();  // of every ASID
  void flush_page(uint64_t address);

  // Walks that a flush made necessary: the translation had been there.
  struct Flushed {
    uint64_t fetch_walks;
    uint64_t data_walks;
  };
  const Flushed& flushed() const { return flushed_; }

 private:
  static constexpr unsigned kPageShift = 12;
  static constexpr uint64_t kRecentPages = 256;

  struct Side {
    Recent recent;
    Tlb tlb;
    Cache cache;
    bool cached;             // is the cache's part on?
    Source second_tlb_hits;  // the first of one for each page size, or the only one
    bool second_tlb_hits_by_size;
    Source walks;  // the first of one for each page size
    Source misses;
    Source l2_requests;
    Source l2_misses;
    uint64_t Flushed::* flushed;
  };

  // A change that came without a flush: a reset, a restored machine, system management mode.
  void notice_change();
  void set_side(Side& side, bool cached, bool tlb_begins, bool cache_begins);
  void look_up(Side& side, uint64_t address, Mode mode);
  void mispredicted(Mode mode);
  Tlb::Entry* translate_slowly(Side& side, uint64_t address, Mode mode);
  void request(uint64_t physical_address, Source requests, Source misses, Mode mode);
  void wait(uint32_t cycles, Mode mode) {
    if (parts_ & kCyclesPart) {
      listener_.happened(kWaitCycles, mode, cycles);
    }
  }

  const Penalties penalties_;
  const unsigned line_shift_;
  Parts parts_ = 0;
  AddressSpace space_;
  Generations generations_;
  Side data_;
  Side code_;
  BranchPredictor predictor_;
  const Geometry geometry_;
  SecondLevel& second_level_;
  Machine& machine_;
  Listener& listener_;
  Flushed flushed_{};
};

}  // namespace xenoprof::pmu
