// SPDX-License-Identifier: GPL-2.0-or-later
// Predicts branches: conditional ones by a two-bit counter for each address, returns by a stack of
// return addresses, indirect ones by where they went last. Direct jumps and calls are always right,
// and system calls, interrupts and their returns are not predicted at all.
#pragma once

#include <cstdint>
#include <vector>

#include "geometry.h"
#include "instruction.h"

namespace xenoprof::pmu {

class BranchPredictor {
 public:
  explicit BranchPredictor(const Geometry& geometry)
      : taken_(geometry.branch_counters, kWeaklyNotTaken),
        targets_(geometry.branch_targets),
        returns_(geometry.return_stack) {}

  // What the branch at `address` of this kind did: it went to `target`; without a jump it would
  // have gone to `next`. True if that had been predicted.
  bool resolve(InstructionKind kind, uint64_t address, uint64_t next, uint64_t target) {
    switch (kind) {
      case InstructionKind::kConditional: {
        uint8_t& counter = taken_[address & (taken_.size() - 1)];
        const bool predicted = counter >= kWeaklyTaken;
        const bool taken = target != next;
        if (taken && counter < kStronglyTaken) {
          ++counter;
        } else if (!taken && counter > 0) {
          --counter;
        }
        return predicted == taken;
      }
      case InstructionKind::kCall:
        push(next);
        return true;
      case InstructionKind::kIndirectCall:
        push(next);
        return goes_where_it_went(address, target);
      case InstructionKind::kIndirectJump:
        return goes_where_it_went(address, target);
      case InstructionKind::kReturn:
        return pop() == target;
      default:
        return true;
    }
  }

 private:
  static constexpr uint8_t kWeaklyNotTaken = 1;
  static constexpr uint8_t kWeaklyTaken = 2;
  static constexpr uint8_t kStronglyTaken = 3;

  bool goes_where_it_went(uint64_t address, uint64_t target) {
    uint64_t& last = targets_[address & (targets_.size() - 1)];
    const bool same = last == target;
    last = target;
    return same;
  }

  // A full stack forgets its oldest address.
  void push(uint64_t address) {
    if (!returns_.empty()) {
      top_ = top_ + 1 == returns_.size() ? 0 : top_ + 1;
      returns_[top_] = address;
    }
  }
  uint64_t pop() {
    if (returns_.empty()) {
      return 0;
    }
    const uint64_t address = returns_[top_];
    returns_[top_] = 0;
    top_ = (top_ == 0 ? returns_.size() : top_) - 1;
    return address;
  }

  std::vector<uint8_t> taken_;
  std::vector<uint64_t> targets_;
  std::vector<uint64_t> returns_;
  size_t top_ = 0;
};

}  // namespace xenoprof::pmu
