// SPDX-License-Identifier: GPL-2.0-or-later
#include "symbols/kernel_offset.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

namespace xenoprof {
namespace {

// x86-64: the kernel lies in this gibibyte (Documentation/arch/x86/x86_64/mm.rst), at a multiple of
// CONFIG_PHYSICAL_ALIGN, which is this or more (arch/x86/Kconfig; find_random_virt_addr() in
// arch/x86/boot/compressed/kaslr.c).
constexpr std::uint64_t kImageStart = 0xffffffff80000000;
constexpr std::uint64_t kImageEnd = 0xffffffffc0000000;
constexpr std::uint64_t kStep = std::uint64_t{2} << 20;

// Of the sampled addresses, how many must be the kernel's text: the rest may be what it made while
// running.
constexpr double kMostOfThem = 0.95;
constexpr std::size_t kLeastFit = 5;
// How many times chance's deviation the best must be ahead of the next.
constexpr double kDeviations = 5;

}  // namespace

std::optional<KernelOffset> find_kernel_offset(const SymbolTable& table, const KernelText& text,
                                               std::span<const std::uint64_t> sampled) {
  std::unordered_multimap<std::uint64_t, std::uint64_t> starts;  // by place in their step
  for (const std::uint64_t start : table.starts()) {
    if (start >= text.start && start < text.end) {
      starts.emplace(start % kStep, start);
    }
  }
  std::unordered_map<std::uint64_t, std::size_t> fits;  // by offset
  std::size_t looked_at = 0;
  for (const std::uint64_t address : sampled) {
    if (address < kImageStart || address >= kImageEnd) {
      continue;
    }
    ++looked_at;
    const auto [first, last] = starts.equal_range(address % kStep);
    for (auto start = first; start != last; ++start) {
      ++fits[address - start->second];
    }
  }
  const auto is_text = [&](std::uint64_t offset) {
    const auto inside = std::ranges::count_if(sampled, [&](std::uint64_t address) {
      return address - offset >= text.start && address - offset < text.end;
    });
    return static_cast<double>(inside) >= kMostOfThem * static_cast<double>(looked_at);
  };
  KernelOffset best;
  for (const auto& [offset, fit] : fits) {
    if (fit > best.fit && is_text(offset)) {
      best = {static_cast<std::int64_t>(offset), fit, 0};
    }
  }
  for (const auto& [offset, fit] : fits) {
    if (static_cast<std::int64_t>(offset) != best.bytes) {
      best.next_fit = std::max(best.next_fit, fit);
    }
  }
  const double deviation = std::sqrt(static_cast<double>(best.next_fit) + 1);
  const bool sure =
      best.fit >= kLeastFit &&
      static_cast<double>(best.fit) >= static_cast<double>(best.next_fit) + kDeviations * deviation;
  return sure ? std::optional(best) : std::nullopt;
}

}  // namespace xenoprof
