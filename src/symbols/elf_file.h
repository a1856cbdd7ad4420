// SPDX-License-Identifier: GPL-2.0-or-later
// An ELF file open for reading. The files are any user's: nothing in them is believed, and opening
// one has no effect but reading.
#pragma once

#include <gelf.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/result.h"

namespace xenoprof {

// One PT_LOAD program header: where a part of the file is in memory.
struct Segment {
  std::uint64_t start = 0;        // virtual address
  std::uint64_t memory_size = 0;  // bytes, as the next
  std::uint64_t file_size = 0;
  std::uint64_t offset = 0;
};

class ElfFile {
 public:
  // Only regular files: a process can run code it mapped from a device, whose open() may do
  // something.
  static Result<ElfFile> open(const std::filesystem::path& path);
  // `bytes` of the ELF image that begin at `base` and outlive the ElfFile.
  static Result<ElfFile> in_memory(char* base, std::size_t bytes);
  static Result<ElfFile> in_memory(std::string bytes);
  // What the kernel maps into every 64-bit process.
  static Result<ElfFile> vdso();

  Elf* elf() const { return elf_.get(); }
  const std::string& build_id() const { return build_id_; }  // lower-case hex, "" if it has none
  const std::vector<Segment>& segments() const { return segments_; }
  std::optional<std::uint64_t> address_of(std::uint64_t offset) const;
  std::optional<std::uint64_t> offset_of(std::uint64_t address) const;

  // Null where there is none. Its data may be missing all the same: see data_of().
  Elf_Scn* section(std::string_view name) const;
  bool has_data(std::string_view name) const;

  std::uint64_t size() const;  // bytes
  // Bytes of the file, fewer where it ends.
  std::string read(std::uint64_t offset, std::size_t size) const;

 private:
  struct CloseFile {
    void operator()(const int* file) const;
  };
  struct EndElf {
    void operator()(Elf* elf) const { elf_end(elf); }
  };

  Result<void> look();

  // In this order: the Elf goes before what it reads.
  std::unique_ptr<int, CloseFile> file_;
  std::unique_ptr<std::string> bytes_;
  std::unique_ptr<Elf, EndElf> elf_;
  std::string build_id_;
  std::vector<Segment> segments_;
};

// A section's content as it is in the file. Null when it is not in the file, or of an absurd size.
Elf_Data* data_of(Elf_Scn* section, const GElf_Shdr& header);

// The build-id in ELF notes, as /sys/kernel/notes has them; empty if there is none.
std::string build_id_of_notes(std::string_view notes, std::size_t alignment = 4);

}  // namespace xenoprof
