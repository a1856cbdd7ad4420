// SPDX-License-Identifier: GPL-2.0-or-later
#include "symbols/elf_image.h"

#include <elf.h>
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace xenoprof {
namespace {

constexpr char kDebugFolder[] = "/usr/lib/debug/.build-id";
// More than the largest browsers' debug files have. A sparse file could claim any size.
constexpr std::uint64_t kMaxTable = std::uint64_t{1} << 30;
constexpr std::uint64_t kMaxNotes = std::uint64_t{1} << 20;
constexpr std::size_t kMaxBuildId = 64;  // bytes

struct EndElf {
  void operator()(Elf* elf) const { elf_end(elf); }
};
using ElfHandle = std::unique_ptr<Elf, EndElf>;

class FileDescriptor {
 public:
  explicit FileDescriptor(int number) : number_(number) {}
  ~FileDescriptor() {
    if (number_ >= 0) {
      ::close(number_);
    }
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const { return number_; }

 private:
  int number_;
};

// One PT_LOAD program header: where a part of the file is in memory.
struct Segment {
  std::uint64_t start;
  std::uint64_t size;
  std::uint64_t offset;
};

struct Section {
  bool code = false;
  std::uint64_t address = 0;
  std::uint64_t size = 0;
  std::uint64_t offset = 0;
};

std::vector<Segment> segments_of(Elf* elf) {
  std::vector<Segment> segments;
  std::size_t count = 0;
  if (elf_getphdrnum(elf, &count) != 0) {
    return segments;
  }
  GElf_Phdr header;
  for (std::size_t i = 0; i < count; ++i) {
    if (gelf_getphdr(elf, static_cast<int>(i), &header) != nullptr && header.p_type == PT_LOAD) {
      segments.push_back({header.p_vaddr, header.p_memsz, header.p_offset});
    }
  }
  return segments;
}

std::vector<Section> sections_of(Elf* elf) {
  std::vector<Section> sections(1);  // number 0 is no section
  GElf_Shdr header;
  for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf, section)) != nullptr;) {
    Section& added = sections.emplace_back();
    if (gelf_getshdr(section, &header) != nullptr) {
      added = {(header.sh_flags & SHF_EXECINSTR) != 0, header.sh_addr, header.sh_size,
               header.sh_offset};
    }
  }
  return sections;
}

// Virtual addresses to file offsets. Program headers come first, as perf has it; sections serve
// the files that have none.
std::uint64_t offset_of(std::uint64_t address, const Section& section,
                        std::span<const Segment> segments) {
  for (const Segment& segment : segments) {
    if (address >= segment.start && address - segment.start < segment.size) {
      return address - segment.start + segment.offset;
    }
  }
  return address - section.address + section.offset;
}

// The file whose layout counts, and the section of another (or the same) that names it.
struct Layout {
  std::vector<Segment> segments;
  std::vector<Section> sections;
};

SymbolTable::Binding binding_of(const GElf_Sym& symbol) {
  switch (GELF_ST_BIND(symbol.st_info)) {
    case STB_GLOBAL:
      return SymbolTable::Binding::kGlobal;
    case STB_WEAK:
      return SymbolTable::Binding::kWeak;
    default:
      return SymbolTable::Binding::kLocal;
  }
}

// Functions, and assembly's labels unless they are hidden.
bool names_code(const GElf_Sym& symbol) {
  switch (GELF_ST_TYPE(symbol.st_info)) {
    case STT_FUNC:
    case STT_GNU_IFUNC:
    case STT_OBJECT:
      return true;
    case STT_NOTYPE:
      return GELF_ST_VISIBILITY(symbol.st_other) != STV_HIDDEN &&
             GELF_ST_VISIBILITY(symbol.st_other) != STV_INTERNAL;
    default:
      return false;
  }
}

// Null when the section's data is not in the file, or of an absurd size.
Elf_Data* data_of(Elf_Scn* section, const GElf_Shdr& header) {
  return header.sh_type == SHT_NOBITS || header.sh_size > kMaxTable ? nullptr
                                                                    : elf_getdata(section, nullptr);
}

void add_symbols(Elf* elf, Elf_Scn* section, const GElf_Shdr& header, const Layout& layout,
                 SymbolTable& table) {
  Elf_Data* data = data_of(section, header);
  if (data == nullptr || header.sh_entsize == 0) {
    return;
  }
  const auto count = static_cast<int>(
      std::min<std::uint64_t>(data->d_size / gelf_fsize(elf, ELF_T_SYM, 1, EV_CURRENT), 1 << 30));
  GElf_Sym symbol;
  for (int i = 0; i < count; ++i) {
    if (gelf_getsym(data, i, &symbol) == nullptr || !names_code(symbol) ||
        symbol.st_shndx == SHN_UNDEF || symbol.st_shndx >= layout.sections.size()) {
      continue;
    }
    const Section& in = layout.sections[symbol.st_shndx];
    const char* name = elf_strptr(elf, header.sh_link, symbol.st_name);
    if (!in.code || name == nullptr || symbol.st_value < in.address ||
        symbol.st_value - in.address >= in.size) {
      continue;
    }
    const std::uint64_t start = offset_of(symbol.st_value, in, layout.segments);
    const std::uint64_t room = in.size - (symbol.st_value - in.address);
    if (start > ~room) {
      continue;
    }
    table.add(start, symbol.st_size, binding_of(symbol), name, {.id = 0, .end = start + room});
  }
}

// Stubs that jump into other libraries have no symbols of their own: "name@plt", as perf calls
// them. Entry i of the table belongs to the i-th relocation of .rela.plt; a .plt begins with an
// entry that is no stub, a .plt.sec (x86 with branch tracking) does not.
struct PltSections {
  Elf_Scn* relocations = nullptr;
  GElf_Shdr relocations_header{};
  GElf_Shdr stubs{};
  bool separate = false;
};

PltSections find_plt(Elf* elf) {
  PltSections found;
  std::size_t names = 0;
  if (elf_getshdrstrndx(elf, &names) != 0) {
    return found;
  }
  GElf_Shdr header;
  for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf, section)) != nullptr;) {
    const char* text = gelf_getshdr(section, &header) == nullptr
                           ? nullptr
                           : elf_strptr(elf, names, header.sh_name);
    const std::string_view name = text == nullptr ? "" : text;
    if (name == ".rela.plt" && header.sh_type == SHT_RELA) {
      found.relocations = section;
      found.relocations_header = header;
    } else if (name == ".plt.sec" || (name == ".plt" && !found.separate)) {
      found.stubs = header;
      found.separate = name == ".plt.sec";
    }
  }
  return found;
}

void add_plt(Elf* elf, SymbolTable& table) {
  constexpr std::uint64_t kStub = 16;  // bytes, on x86-64
  const PltSections plt = find_plt(elf);
  if (plt.relocations == nullptr || plt.stubs.sh_size == 0) {
    return;
  }
  Elf_Scn* symbols = elf_getscn(elf, plt.relocations_header.sh_link);
  GElf_Shdr symbols_header;
  if (symbols == nullptr || gelf_getshdr(symbols, &symbols_header) == nullptr) {
    return;
  }
  Elf_Data* symbol_data = data_of(symbols, symbols_header);
  Elf_Data* data = data_of(plt.relocations, plt.relocations_header);
  if (symbol_data == nullptr || data == nullptr) {
    return;
  }
  const std::uint64_t stubs = plt.stubs.sh_size / kStub;
  GElf_Rela relocation;
  GElf_Sym symbol;
  for (std::uint64_t i = 0; i < stubs; ++i) {
    const std::uint64_t stub = i + (plt.separate ? 0 : 1);
    if (stub >= stubs || gelf_getrela(data, static_cast<int>(i), &relocation) == nullptr) {
      break;
    }
    if (gelf_getsym(symbol_data, static_cast<int>(GELF_R_SYM(relocation.r_info)), &symbol) ==
        nullptr) {
      continue;
    }
    const char* name = elf_strptr(elf, symbols_header.sh_link, symbol.st_name);
    if (name != nullptr && *name != '\0') {
      table.add(plt.stubs.sh_offset + stub * kStub, kStub, SymbolTable::Binding::kGlobal,
                std::string(name) + "@plt");
    }
  }
}

std::string build_id_of(Elf* elf) {
  std::size_t count = 0;
  if (elf_getphdrnum(elf, &count) != 0) {
    return {};
  }
  GElf_Phdr header;
  for (std::size_t i = 0; i < count; ++i) {
    if (gelf_getphdr(elf, static_cast<int>(i), &header) == nullptr || header.p_type != PT_NOTE ||
        header.p_filesz > kMaxNotes || header.p_offset > kMaxTable * 1024) {
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

// All but the stubs; `layout` is that of the file that was run.
bool add_symbol_tables(Elf* elf, const Layout& layout, SymbolTable& table) {
  GElf_Shdr header;
  for (const std::uint32_t type : {SHT_SYMTAB, SHT_DYNSYM}) {
    for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf, section)) != nullptr;) {
      if (gelf_getshdr(section, &header) != nullptr && header.sh_type == type) {
        add_symbols(elf, section, header, layout, table);
      }
    }
  }
  return table.size() != 0;
}

bool is_elf(Elf* elf) {
  GElf_Ehdr header;
  return elf != nullptr && elf_kind(elf) == ELF_K_ELF && gelf_getehdr(elf, &header) != nullptr;
}

Result<int> open_regular_file(const std::filesystem::path& path) {
  // A process can run code it mapped from a device, whose open() may do something.
  struct stat status {};
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

// Not ELF_C_READ_MMAP: whoever cuts the file short meanwhile would kill us.
ElfHandle open_elf(const FileDescriptor& file) {
  elf_version(EV_CURRENT);
  ElfHandle elf(elf_begin(file.get(), ELF_C_READ, nullptr));
  return is_elf(elf.get()) ? std::move(elf) : nullptr;
}

// False when there is no debug file for this build-id.
bool add_debug_file(const std::string& build_id, const Layout& layout, SymbolTable& table) {
  if (build_id.size() < 4) {
    return false;
  }
  const auto path =
      std::filesystem::path(kDebugFolder) / build_id.substr(0, 2) / (build_id.substr(2) + ".debug");
  const auto opened = open_regular_file(path);
  if (!opened) {
    return false;
  }
  const FileDescriptor file(*opened);
  const ElfHandle elf = open_elf(file);
  return elf && build_id_of(elf.get()) == build_id && add_symbol_tables(elf.get(), layout, table);
}

ElfImage read_image(Elf* elf) {
  ElfImage image;
  image.build_id = build_id_of(elf);
  const Layout layout{segments_of(elf), sections_of(elf)};
  if (!add_debug_file(image.build_id, layout, image.symbols)) {
    add_symbol_tables(elf, layout, image.symbols);
  }
  add_plt(elf, image.symbols);
  image.symbols.finish();
  return image;
}

}  // namespace

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

Result<ElfImage> read_elf(const std::filesystem::path& path) {
  const auto opened = open_regular_file(path);
  if (!opened) {
    return fail("{} cannot be read: {}.", path.string(), opened.error().message);
  }
  const FileDescriptor file(*opened);
  const ElfHandle elf = open_elf(file);
  if (!elf) {
    return fail("{} is not an ELF file, or damaged.", path.string());
  }
  return read_image(elf.get());
}

Result<ElfImage> read_vdso() {
  auto* const base = reinterpret_cast<char*>(getauxval(AT_SYSINFO_EHDR));
  if (base == nullptr) {
    return fail("This kernel has no vDSO.");
  }
  Elf64_Ehdr header;
  std::memcpy(&header, base, sizeof header);
  // The kernel made it: its section headers come last.
  const std::size_t size = header.e_shoff + std::size_t{header.e_shnum} * header.e_shentsize;
  elf_version(EV_CURRENT);
  const ElfHandle elf(elf_memory(base, size));
  if (!is_elf(elf.get())) {
    return fail("The vDSO of this kernel is not an ELF image.");
  }
  return read_image(elf.get());
}

}  // namespace xenoprof
