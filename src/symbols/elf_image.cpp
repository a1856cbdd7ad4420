// SPDX-License-Identifier: GPL-2.0-or-later
#include "symbols/elf_image.h"

#include <elf.h>
#include <gelf.h>
#include <libelf.h>

#include <algorithm>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace xenoprof {
namespace {

struct Section {
  bool code = false;
  std::uint64_t address = 0;
  std::uint64_t size = 0;
  std::uint64_t offset = 0;
};

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
    if (address >= segment.start && address - segment.start < segment.memory_size) {
      return address - segment.start + segment.offset;
    }
  }
  return address - section.address + section.offset;
}

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

void add_symbols(Elf* elf, Elf_Scn* section, const GElf_Shdr& header,
                 const std::vector<Section>& sections, std::span<const Segment> segments,
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
        symbol.st_shndx == SHN_UNDEF || symbol.st_shndx >= sections.size()) {
      continue;
    }
    const Section& in = sections[symbol.st_shndx];
    const char* name = elf_strptr(elf, header.sh_link, symbol.st_name);
    if (!in.code || name == nullptr || symbol.st_value < in.address ||
        symbol.st_value - in.address >= in.size) {
      continue;
    }
    const std::uint64_t start = offset_of(symbol.st_value, in, segments);
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
    if (name != nullptr) {  // empty where a function chooses what to jump to
      table.add(plt.stubs.sh_offset + stub * kStub, kStub, SymbolTable::Binding::kGlobal,
                std::string(name) + "@plt");
    }
  }
}

// All but the stubs; `segments` are those of the file that was run.
bool add_symbol_tables(Elf* elf, std::span<const Segment> segments, SymbolTable& table) {
  const std::vector<Section> sections = sections_of(elf);
  GElf_Shdr header;
  for (const std::uint32_t type : {SHT_SYMTAB, SHT_DYNSYM}) {
    for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf, section)) != nullptr;) {
      if (gelf_getshdr(section, &header) != nullptr && header.sh_type == type) {
        add_symbols(elf, section, header, sections, segments, table);
      }
    }
  }
  return table.size() != 0;
}

void read_symbols(ElfImage& image) {
  const std::span<const Segment> segments = image.file.segments();
  // Honest ones take less than the file itself.
  constexpr std::size_t kLeast = std::size_t{1} << 20;
  const std::uint64_t size = image.file.size() + (image.debug ? image.debug->size() : 0);
  image.symbols.limit_names(kLeast + 4 * size);
  if (!image.debug || !add_symbol_tables(image.debug->elf(), segments, image.symbols)) {
    add_symbol_tables(image.file.elf(), segments, image.symbols);
    if (const auto more = read_mini_debug_info(image.file)) {
      add_symbol_tables(more->elf(), segments, image.symbols);
    }
  }
  add_plt(image.file.elf(), image.symbols);
  image.symbols.finish();
}

}  // namespace

Result<ElfImage> read_elf(const std::filesystem::path& path, DebugSearch& search) {
  auto file = ElfFile::open(path);
  if (!file) {
    return std::unexpected(file.error());
  }
  ElfImage image{*std::move(file), std::nullopt, {}};
  image.debug = find_debug_file(image.file, path, search);
  read_symbols(image);
  return image;
}

ElfImage whole_image(ElfFile file) {
  ElfImage image{std::move(file), std::nullopt, {}};
  read_symbols(image);
  return image;
}

Result<ElfImage> read_vdso() {
  auto file = ElfFile::vdso();
  return file ? Result<ElfImage>(whole_image(*std::move(file))) : std::unexpected(file.error());
}

}  // namespace xenoprof
