// SPDX-License-Identifier: GPL-2.0-or-later
#include "processor.h"

#include <algorithm>
#include <bit>

namespace xenoprof::pmu {

Parts parts_for(SourceSet sources) {
  const auto any = [&](SourceSet of) { return (sources & of) != 0; };
  constexpr SourceSet kL2Sources = bits(kL2RequestsCode, 3) | bits(kL2MissesCode, 3);
  constexpr Parts kCode = kCodeTlbPart | kCodeCachePart;
  constexpr Parts kData = kDataTlbPart | kDataCachePart;
  Parts parts = 0;
  if (any(bits(kItlbSecondHits) | bits(kItlbWalks, kPageSizes))) {
    parts |= kCodeTlbPart;
  }
  if (any(bits(kFetchMisses))) {
    parts |= kCode;
  }
  if (any(bits(kDtlbSecondHits, kPageSizes) | bits(kDtlbWalks, kPageSizes))) {
    parts |= kDataTlbPart;
  }
  if (any(bits(kDataMisses))) {
    parts |= kData;
  }
  if (any(kL2Sources)) {
    parts |= kL2Part | kCode | kData;
  }
  if (any(bits(kMispredicts))) {
    parts |= kPredictorPart;
  }
  if (any(bits(kWaitCycles))) {
    parts |= kCode | kData | kL2Part | kPredictorPart | kCyclesPart;
  }
  return parts;
}

Processor::Processor(const Geometry& geometry, SecondLevel& second_level, Machine& machine,
                     Listener& listener)
    : penalties_(geometry.penalties),
      line_shift_(static_cast<unsigned>(std::countr_zero(geometry.line_bytes))),
      data_{.recent = {},
            .tlb = Tlb(geometry.dtlb, generations_),
            .cache = Cache(geometry.l1d, geometry.line_bytes),
            .cached = false,
            .second_tlb_hits = kDtlbSecondHits,
            .second_tlb_hits_by_size = true,
            .walks = kDtlbWalks,
            .misses = kDataMisses,
            .l2_requests = kL2RequestsData,
            .l2_misses = kL2MissesData,
            .flushed = &Flushed::data_walks},
      code_{.recent = {},
            .tlb = Tlb(geometry.itlb, generations_),
            .cache = Cache(geometry.l1i, geometry.line_bytes),
            .cached = false,
            .second_tlb_hits = kItlbSecondHits,
            .second_tlb_hits_by_size = false,
            .walks = kItlbWalks,
            .misses = kFetchMisses,
            .l2_requests = kL2RequestsCode,
            .l2_misses = kL2MissesCode,
            .flushed = &Flushed::fetch_walks},
      predictor_(geometry),
      geometry_(geometry),
      second_level_(second_level),
      machine_(machine),
      listener_(listener) {}

void Processor::set_parts(Parts parts) {
  const Parts begun = parts & ~parts_;
  parts_ = parts;
  set_side(data_, parts & kDataCachePart, begun & kDataTlbPart, begun & kDataCachePart);
  set_side(code_, parts & kCodeCachePart, begun & kCodeTlbPart, begun & kCodeCachePart);
  if (begun & kL2Part) {
    second_level_.clear_own();
  }
  if (begun & kPredictorPart) {
    predictor_ = BranchPredictor(geometry_);
  }
  forget_address_space();
}

void Processor::set_side(Side& side, bool cached, bool tlb_begins, bool cache_begins) {
  side.cached = cached;
  if (cached) {
    side.recent.reset(line_shift_, side.cache.sets());
  } else {
    side.recent.reset(kPageShift, kRecentPages);
  }
  if (tlb_begins) {
    side.tlb.clear();
  }
  if (cache_begins) {
    side.cache.clear();
  }
}

void Processor::look_up(Side& side, uint64_t address, Mode mode) {
  if (!space_.paging()) {
    notice_change();  // with paging, a miss will
  }
  uint64_t physical = address;
  if (space_.paging()) {
    Tlb::Entry* entry = side.tlb.find_first(address, space_.asid);
    if (entry == nullptr) {
      entry = translate_slowly(side, address, mode);
    }
    if (entry == nullptr || !entry->memory) {
      return;  // a device's registers are not cached
    }
    physical = entry->frame + (address & ((uint64_t{1} << (12 + 9 * entry->size)) - 1));
    side.recent.remember(address, *entry, side.tlb);
  } else if (machine_.is_device(address)) {
    return;
  }
  if (side.cached && !side.cache.access(address >> line_shift_, physical >> line_shift_)) {
    listener_.happened(side.misses, mode, 1);
    request(physical, side.l2_requests, side.l2_misses, mode);
  }
}

Tlb::Entry* Processor::translate_slowly(Side& side, uint64_t address, Mode mode) {
  notice_change();
  if (!space_.paging()) {
    return nullptr;
  }
  if (Tlb::Entry* entry = side.tlb.find_second(address, space_.asid)) {
    const unsigned by_size = side.second_tlb_hits_by_size ? entry->size : 0;
    listener_.happened(static_cast<Source>(side.second_tlb_hits + by_size), mode, 1);
    wait(penalties_.second_tlb, mode);
    return entry;
  }
  const auto found = walk(space_, address, machine_);
  if (!found) {
    return nullptr;  // the tables have changed since the access
  }
  // Where it is accessed, as a page may be held in pieces.
  const uint64_t inside = address & ((uint64_t{1} << (12 + 9 * found->page.size)) - 1);
  const bool memory = !machine_.is_device(found->page.frame + inside);
  const auto [entry, flushed] = side.tlb.fill(address, space_.asid, found->page, memory);
  listener_.happened(static_cast<Source>(side.walks + unsigned{entry->size}), mode, 1);
  flushed_.*side.flushed += flushed;
  wait(penalties_.walk, mode);
  // Of the tables only the last entry's line is waited for: what leads to it is kept by processors
  // in a cache of its own.
  request(found->leaf, kL2RequestsWalk, kL2MissesWalk, mode);
  if (found->nested_leaf) {
    request(*found->nested_leaf, kL2RequestsWalk, kL2MissesWalk, mode);
  }
  return entry;
}

void Processor::request(uint64_t physical_address, Source requests, Source misses, Mode mode) {
  if (!(parts_ & kL2Part)) {
    return;
  }
  listener_.happened(requests, mode, 1);
  if (second_level_.access(physical_address >> line_shift_)) {
    wait(penalties_.l2, mode);
  } else {
    listener_.happened(misses, mode, 1);
    wait(penalties_.memory, mode);
  }
}

void Processor::mispredicted(Mode mode) {
  listener_.happened(kMispredicts, mode, 1);
  wait(penalties_.mispredict, mode);
}

void Processor::notice_change() {
  if (const AddressSpace now = machine_.address_space(); now != space_) {
    space_ = now;
    flush();
  }
}

void Processor::forget_address_space() {
  forget_recent();
  space_ = machine_.address_space();
}

void Processor::flush_non_global() {
  generations_.flush_non_global(space_.asid);
  forget_recent();
}

void Processor::flush() {
  generations_.flush(space_.asid);
  forget_recent();
}

void Processor::flush_everything() {
  generations_.flush_everything();
  forget_recent();
}

void Processor::flush_page(uint64_t address) {
  data_.tlb.drop(address, space_.asid);
  code_.tlb.drop(address, space_.asid);
}

}  // namespace xenoprof::pmu
