// SPDX-License-Identifier: GPL-2.0-or-later
#include "symbols/source_lines.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "symbols/child_process.h"
#include "symbols/dwarf_reader.h"

namespace xenoprof {
namespace {

constexpr std::size_t kMaxOutput = std::size_t{256} << 20;
constexpr std::size_t kMaxMemory = std::size_t{4} << 30;
constexpr std::size_t kMaxInlined = 64;  // of inlined functions
constexpr std::size_t kMaxText = 4096;

// What the child says of each place: a number of functions, then for each the line and the two
// texts, all numbers as this machine has them, texts after their size.
void put(std::string& out, std::uint32_t number) {
  out.append(reinterpret_cast<const char*>(&number), sizeof number);
}

void put(std::string& out, std::string_view text) {
  put(out, static_cast<std::uint32_t>(std::min(text.size(), kMaxText)));
  out += text.substr(0, kMaxText);
}

bool take(std::string_view& from, std::uint32_t& number) {
  if (from.size() < sizeof number) {
    return false;
  }
  std::memcpy(&number, from.data(), sizeof number);
  from.remove_prefix(sizeof number);
  return true;
}

bool take(std::string_view& from, std::string& text) {
  std::uint32_t size = 0;
  if (!take(from, size) || size > kMaxText || size > from.size()) {
    return false;
  }
  text = from.substr(0, size);
  from.remove_prefix(size);
  return true;
}

bool take(std::string_view& from, std::vector<SourceLine>& lines) {
  std::uint32_t depth = 0;
  if (!take(from, depth) || depth > kMaxInlined) {
    return false;
  }
  lines.resize(depth);
  return std::all_of(lines.begin(), lines.end(), [&](SourceLine& line) {
    return take(from, line.line) && take(from, line.function) && take(from, line.file);
  });
}

void tell(const ElfFile& file, const ElfFile& with_dwarf, std::span<const std::uint64_t> offsets,
          const Write& write) {
  DwarfReader dwarf(with_dwarf.elf());
  std::string out;
  for (const std::uint64_t offset : offsets) {
    const auto address = file.address_of(offset);
    std::vector<SourceLine> lines = address ? dwarf.find(*address) : std::vector<SourceLine>();
    lines.resize(std::min(lines.size(), kMaxInlined));
    out.clear();
    put(out, static_cast<std::uint32_t>(lines.size()));
    for (const SourceLine& line : lines) {
      put(out, line.line);
      put(out, line.function);
      put(out, line.file);
    }
    write(out);
  }
}

}  // namespace

SourceLines read_source_lines(const ElfImage& image, std::span<const std::uint64_t> offsets,
                              std::chrono::milliseconds time) {
  SourceLines result;
  result.of.resize(offsets.size());
  const ElfFile* with_dwarf = nullptr;
  for (const ElfFile* file : {image.debug ? &*image.debug : nullptr, &image.file}) {
    if (with_dwarf == nullptr && file != nullptr && file->has_data(".debug_info")) {
      with_dwarf = file;
    }
  }
  if (with_dwarf == nullptr || offsets.empty()) {
    return result;
  }
  if (time.count() <= 0) {
    result.late = true;
    return result;
  }
  const ChildResult child =
      run_in_child([&](const Write& write) { tell(image.file, *with_dwarf, offsets, write); },
                   {.time = time, .output = kMaxOutput, .memory = kMaxMemory});
  result.late = child.end == ChildEnd::kLate;
  std::string_view output = child.output;
  for (std::vector<SourceLine>& lines : result.of) {
    if (!take(output, lines)) {
      lines.clear();
      result.failed = !result.late;
      break;
    }
  }
  return result;
}

}  // namespace xenoprof
