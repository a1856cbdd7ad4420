// SPDX-License-Identifier: GPL-2.0-or-later
#include "symbols/elf_file.h"

#include <elf.h>
#include <fcntl.h>
#include <libelf.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace xenoprof {
namespace {

// More than the largest browsers' debug files have. A sparse file could claim any size.
constexpr std::uint64_t kMaxTable = std::uint64_t{1} << 30;
constexpr std::uint64_t kMaxElfNotes = std::uint64_t{1} << 20;
constexpr std::size_t kMaxBuildId = 64;  // bytes

Result<int> open_regular_file(const std::filesystem::path& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) {
    return fail("{}", std::strerror(errno));
  }
  if (!S_ISREG(status.st_mode)) {
    return fail("it is not a regular file");
  }
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  if (file < 0) {
    return fail("{}", std::strerror(errno));
  }
  return file;
}

std::vector<Segment> segments_of(Elf* elf) {
  std::vector<Segment> segments;
  std::size_t count = 0;
  if (elf_getphdrnum(elf, &count) != 0) {
    return segments;
  }
  GElf_Phdr header;
  for (std::size_t i = 0; i < count; ++i) {
    if (gelf_getphdr(elf, static_cast<int>(i), &header) != nullptr && header.p_type == PT_LOAD) {
      segments.push_back({header.p_vaddr, header.p_memsz, header.p_filesz, header.p_offset});
    }
  }
  return segments;
}

std::string build_id_of(Elf* elf) {
  std::size_t count = 0;
  if (elf_getphdrnum(elf, &count) != 0) {
    return {};
  }
  GElf_Phdr header;
  for (std::size_t i = 0; i < count; ++i) {
    if (gelf_getphdr(elf, static_cast<int>(i), &header) == nullptr || header.p_type != PT_NOTE ||
        header.p_filesz > kMaxElfNotes || header.p_offset > kMaxTable * 1024) {
      continue;
    }
    const Elf_Data* data = elf_getdata_rawchunk(elf, static_cast<std::int64_t>(header.p_offset),
                                                header.p_filesz, ELF_T_BYTE);
    if (data == nullptr) {
      continue;
    }
    const std::string id = build_id_of_notes({static_cast<const char*>(data->d_buf), data->d_size},
                                             header.p_align == 8 ? 8 : 4);
    if (!id.empty()) {
      return id;
    }
  }
  return {};
}

}  // namespace

void ElfFile::CloseFile::operator()(const int* file) const {
  ::close(*file);
  delete file;
}

Result<void> ElfFile::look() {
  GElf_Ehdr header;
  if (elf_ == nullptr || elf_kind(elf_.get()) != ELF_K_ELF ||
      gelf_getehdr(elf_.get(), &header) == nullptr) {
    return fail("it is not an ELF file, or damaged");
  }
  build_id_ = build_id_of(elf_.get());
  segments_ = segments_of(elf_.get());
  return {};
}

Result<ElfFile> ElfFile::open(const std::filesystem::path& path) {
  const auto opened = open_regular_file(path);
  if (!opened) {
    return fail("{} cannot be read: {}.", path.string(), opened.error().message);
  }
  ElfFile file;
  file.file_.reset(new int(*opened));
  elf_version(EV_CURRENT);
  // Not ELF_C_READ_MMAP: whoever cuts the file short meanwhile would kill us.
  file.elf_.reset(elf_begin(*file.file_, ELF_C_READ, nullptr));
  if (auto looked = file.look(); !looked) {
    return fail("{} cannot be read: {}.", path.string(), looked.error().message);
  }
  return file;
}

Result<ElfFile> ElfFile::in_memory(char* base, std::size_t bytes) {
  ElfFile file;
  elf_version(EV_CURRENT);
  file.elf_.reset(elf_memory(base, bytes));
  if (auto looked = file.look(); !looked) {
    return std::unexpected(looked.error());
  }
  return file;
}

Result<ElfFile> ElfFile::in_memory(std::string bytes) {
  auto kept = std::make_unique<std::string>(std::move(bytes));
  auto file = in_memory(kept->data(), kept->size());
  if (file) {
    file->bytes_ = std::move(kept);
  }
  return file;
}

Result<ElfFile> ElfFile::vdso() {
  auto* const base = reinterpret_cast<char*>(getauxval(AT_SYSINFO_EHDR));
  if (base == nullptr) {
    return fail("This kernel has no vDSO.");
  }
  Elf64_Ehdr header;
  std::memcpy(&header, base, sizeof header);
  // The kernel made it: its section headers come last.
  const std::size_t size = header.e_shoff + std::size_t{header.e_shnum} * header.e_shentsize;
  auto file = in_memory(base, size);
  if (!file) {
    return fail("The vDSO of this kernel cannot be read: {}.", file.error().message);
  }
  return file;
}

std::optional<std::uint64_t> ElfFile::address_of(std::uint64_t offset) const {
  for (const Segment& segment : segments_) {
    if (offset >= segment.offset && offset - segment.offset < segment.file_size) {
      return offset - segment.offset + segment.start;
    }
  }
  return std::nullopt;
}

std::optional<std::uint64_t> ElfFile::offset_of(std::uint64_t address) const {
  for (const Segment& segment : segments_) {
    if (address >= segment.start && address - segment.start < segment.file_size) {
      return address - segment.start + segment.offset;
    }
  }
  return std::nullopt;
}

Elf_Scn* ElfFile::section(std::string_view name) const {
  std::size_t names = 0;
  if (elf_getshdrstrndx(elf(), &names) != 0) {
    return nullptr;
  }
  GElf_Shdr header;
  for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf(), section)) != nullptr;) {
    const char* text = gelf_getshdr(section, &header) == nullptr
                           ? nullptr
                           : elf_strptr(elf(), names, header.sh_name);
    if (text != nullptr && text == name) {
      return section;
    }
  }
  return nullptr;
}

bool ElfFile::has_data(std::string_view name) const {
  GElf_Shdr header;
  Elf_Scn* found = section(name);
  return found != nullptr && gelf_getshdr(found, &header) != nullptr &&
         header.sh_type != SHT_NOBITS && header.sh_size != 0;
}

std::uint64_t ElfFile::size() const {
  if (file_ == nullptr) {
    std::size_t held = 0;
    return elf_rawfile(elf(), &held) != nullptr ? held : 0;
  }
  struct stat status{};
  return ::fstat(*file_, &status) == 0 ? static_cast<std::uint64_t>(status.st_size) : 0;
}

std::string ElfFile::read(std::uint64_t offset, std::size_t size) const {
  std::string bytes(size, '\0');
  if (file_ == nullptr) {
    std::size_t held = 0;
    const char* all = elf_rawfile(elf(), &held);
    return all == nullptr || offset >= held
               ? ""
               : std::string(all + offset, std::min<std::size_t>(size, held - offset));
  }
  const ssize_t done = ::pread(*file_, bytes.data(), size, static_cast<off_t>(offset));
  bytes.resize(done < 0 ? 0 : static_cast<std::size_t>(done));
  return bytes;
}

Elf_Data* data_of(Elf_Scn* section, const GElf_Shdr& header) {
  return header.sh_type == SHT_NOBITS || header.sh_size > kMaxTable ? nullptr
                                                                    : elf_getdata(section, nullptr);
}

std::string build_id_of_notes(std::string_view notes, std::size_t alignment) {
  const auto take = [&](std::size_t size) {
    const std::string_view taken = notes.substr(0, size);
    const std::size_t padded = (size + alignment - 1) / alignment * alignment;
    notes.remove_prefix(std::min(padded, notes.size()));
    return taken;
  };
  while (notes.size() >= sizeof(Elf64_Nhdr)) {
    Elf64_Nhdr header;  // a 32-bit file's is the same
    std::memcpy(&header, notes.data(), sizeof header);
    notes.remove_prefix(sizeof header);
    if (header.n_namesz > notes.size() || header.n_descsz > notes.size()) {
      break;
    }
    const std::string_view name = take(header.n_namesz);
    const std::string_view content = take(header.n_descsz);
    if (header.n_type == NT_GNU_BUILD_ID && name == std::string_view("GNU\0", 4) &&
        content.size() == header.n_descsz && content.size() <= kMaxBuildId) {
      std::string id;
      for (const char byte : content) {
        id += fmt::format("{:02x}", static_cast<unsigned char>(byte));
      }
      return id;
    }
  }
  return {};
}

}  // namespace xenoprof
