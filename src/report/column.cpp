// SPDX-License-Identifier: GPL-2.0-or-later
#include "report/column.h"

#include <fmt/format.h>

#include <bit>
#include <unordered_map>

#include "symbols/jit_symbols.h"

namespace xenoprof {
namespace {

constexpr std::uint32_t kAddress = std::uint32_t{1} << 31;

// Code that the kernel makes while running is an image of its own, as perf has it, by the names
// that it gives in PERF_RECORD_KSYMBOL (kernel/bpf/core.c and trampoline.c, kernel/kprobes.c,
// kernel/trace/ftrace.c). Files of processes have a path.
bool is_made_by_kernel(std::string_view name) {
  return name.starts_with("bpf_prog_") || name.starts_with("bpf_trampoline_") ||
         name.starts_with("bpf_dispatcher_") || name == "kprobe_insn_page" ||
         name == "kprobe_optinsn_page" || name == "ftrace_trampoline";
}

// Modules are "[name]", and so are a few things that a process maps.
Mode mode_of_image(std::string_view name) {
  if (name == kXenImage) {
    return Mode::kHypervisor;
  }
  const bool user = (!name.starts_with('[') && !is_made_by_kernel(name)) || name == kUnknownImage ||
                    name == kPassiveUserImage || name == kGuestUserImage || name == "[vdso]" ||
                    name == "[vsyscall]" || name == "[heap]" || name == "[stack]";
  return user ? Mode::kUser : Mode::kKernel;
}

}  // namespace

std::string_view to_string(Column column) {
  switch (column) {
    case Column::kDomain:
      return "domain";
    case Column::kProcess:
      return "process";
    case Column::kPid:
      return "pid";
    case Column::kTid:
      return "tid";
    case Column::kImage:
      return "image";
    case Column::kSymbol:
      return "symbol";
    case Column::kLine:
      return "line";
    case Column::kMode:
      return "mode";
    case Column::kVcpu:
      return "vcpu";
  }
  return {};
}

std::optional<Column> column_from_string(std::string_view name) {
  for (const Column column : kColumns) {
    if (name == to_string(column)) {
      return column;
    }
  }
  return std::nullopt;
}

Cells::Cells(const Profile& profile) : profile_(profile), line_texts_{"?"} {
  std::vector<bool> without_addresses;
  for (const Image& image : profile.images()) {
    const std::string_view name = profile.text(image.name);
    modes_.push_back(mode_of_image(name));
    without_addresses.push_back(name == kPassiveUserImage || name == kUnknownImage ||
                                jit_process(name));
  }
  std::unordered_map<std::uint64_t, std::uint32_t> ids;
  symbols_.reserve(profile.locations().size());
  for (const Location& location : profile.locations()) {
    // What is known of a program point: its function, or else its address. An address says nothing
    // where the image is unknown: those samples stay together.
    if (location.symbol != 0) {
      symbols_.push_back(location.symbol);
    } else if (without_addresses[location.image]) {
      symbols_.push_back(profile.images()[location.image].name);
    } else {
      const auto [entry, added] = ids.try_emplace(
          location.address, kAddress | static_cast<std::uint32_t>(addresses_.size()));
      if (added) {
        addresses_.push_back(location.address);
      }
      symbols_.push_back(entry->second);
    }
  }
  // Few places share a line, and lists of lines are few: each list is looked at once.
  std::unordered_map<LinesId, std::uint32_t> line_of;
  std::unordered_map<std::string, std::uint32_t> line_ids = {{line_texts_[0], 0}};
  for (const Location& location : profile.locations()) {
    const auto [known, added] = line_of.try_emplace(location.lines, 0);
    const auto& lines = profile.lines(location);
    if (added && !lines.empty() && lines.front().line != 0) {
      std::string text = fmt::format("{}:{}", profile.text(lines.front().file), lines.front().line);
      const auto [id, is_new] =
          line_ids.try_emplace(text, static_cast<std::uint32_t>(line_texts_.size()));
      if (is_new) {
        line_texts_.push_back(std::move(text));
      }
      known->second = id->second;
    }
    lines_.push_back(known->second);
  }
}

std::uint32_t Cells::of(Column column, const SampleKey& key, LocationId location) const {
  switch (column) {
    case Column::kDomain:
      return key.domain;
    case Column::kProcess:
      return key.process;
    case Column::kPid:
      return std::bit_cast<std::uint32_t>(key.pid);
    case Column::kTid:
      return std::bit_cast<std::uint32_t>(key.tid);
    case Column::kImage:
      return profile_.images()[profile_.locations()[location].image].name;
    case Column::kSymbol:
      return symbols_[location];
    case Column::kLine:
      return lines_[location];
    case Column::kMode:
      return static_cast<std::uint32_t>(key.mode);
    case Column::kVcpu:
      return key.vcpu;
  }
  return 0;
}

bool Cells::is_address(std::uint32_t cell) {
  return (cell & kAddress) != 0;
}

std::string Cells::text(Column column, std::uint32_t cell) const {
  switch (column) {
    case Column::kDomain:
    case Column::kProcess:
    case Column::kImage:
      return std::string(name(cell));
    case Column::kSymbol:
      return is_address(cell) ? fmt::format("{:#x}", addresses_[cell & ~kAddress])
                              : std::string(name(cell));
    case Column::kLine:
      return line_texts_[cell];
    case Column::kMode:
      return std::string(to_string(static_cast<Mode>(cell)));
    case Column::kPid:
    case Column::kTid:
      return std::to_string(std::bit_cast<std::int32_t>(cell));
    case Column::kVcpu:
      return std::to_string(cell);
  }
  return {};
}

bool Cells::less(Column column, std::uint32_t one, std::uint32_t other) const {
  switch (column) {
    case Column::kDomain:
    case Column::kProcess:
    case Column::kImage:
      return name(one) < name(other);
    case Column::kSymbol:
      if (((one | other) & kAddress) == 0) {
        return name(one) < name(other);
      }
      return (one & other & kAddress) != 0
                 ? addresses_[one & ~kAddress] < addresses_[other & ~kAddress]
                 : one < other;
    case Column::kLine:
      return line_texts_[one] < line_texts_[other];
    case Column::kPid:
    case Column::kTid:
      return std::bit_cast<std::int32_t>(one) < std::bit_cast<std::int32_t>(other);
    case Column::kMode:
    case Column::kVcpu:
      return one < other;
  }
  return false;
}

}  // namespace xenoprof
