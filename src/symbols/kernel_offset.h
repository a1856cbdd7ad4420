// SPDX-License-Identifier: GPL-2.0-or-later
// Where a kernel lies that was put elsewhere at its boot (KASLR) than a list of its symbols says.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "symbols/kernel_symbols.h"
#include "symbols/symbol_table.h"

namespace xenoprof {

struct KernelOffset {
  std::int64_t bytes = 0;  // to be added to the list's addresses
  // Sampled addresses that are a function's first then, and as many as the next best offset has.
  std::size_t fit = 0;
  std::size_t next_fit = 0;
};

// By sampled addresses, each once: functions' first instructions are among them far more often than
// chance would have it. None if that does not tell for sure.
std::optional<KernelOffset> find_kernel_offset(const SymbolTable& table, const KernelText& text,
                                               std::span<const std::uint64_t> sampled);

}  // namespace xenoprof
