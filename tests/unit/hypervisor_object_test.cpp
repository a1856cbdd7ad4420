// SPDX-License-Identifier: GPL-2.0-or-later
// The live patch as it is built: only what Xen's loader of live patches takes.
#include <elf.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "hypervisor/layout.h"
#include "symbols/elf_file.h"

namespace xenoprof {
namespace {

ElfFile payload() {
  auto file = ElfFile::open(XENOPROF_PAYLOAD);
  EXPECT_TRUE(file) << file.error().message;
  return *std::move(file);
}

template <class Visit>
void for_each_section(const ElfFile& file, std::uint32_t type, const Visit& visit) {
  GElf_Shdr header;
  for (Elf_Scn* section = nullptr; (section = elf_nextscn(file.elf(), section)) != nullptr;) {
    if (gelf_getshdr(section, &header) != nullptr && header.sh_type == type) {
      visit(header, data_of(section, header));
    }
  }
}

// xen/arch/x86/livepatch.c, arch_livepatch_perform_rela().
TEST(HypervisorObject, HasOnlyRelocationsThatXenKnows) {
  const ElfFile file = payload();
  int relocations = 0;
  for_each_section(file, SHT_RELA, [&](const GElf_Shdr& header, Elf_Data* data) {
    GElf_Rela relocation;
    for (std::uint64_t i = 0; i < header.sh_size / header.sh_entsize; ++i, ++relocations) {
      ASSERT_NE(gelf_getrela(data, static_cast<int>(i), &relocation), nullptr);
      const auto type = GELF_R_TYPE(relocation.r_info);
      EXPECT_TRUE(type == R_X86_64_64 || type == R_X86_64_PC32 || type == R_X86_64_PLT32) << type;
    }
  });
  EXPECT_GT(relocations, 100);
}

TEST(HypervisorObject, NeedsOnlyTheSymbolsOnTheList) {
  const std::set<std::string> strong = {
#define XEN_SYMBOL(name) #name,
#define XEN_LOCAL(name, full) #name,
#define XEN_OPTIONAL(name)
#include "hypervisor/symbols.def"
#undef XEN_OPTIONAL
  };
  const std::set<std::string> weak = {
#undef XEN_SYMBOL
#undef XEN_LOCAL
#define XEN_SYMBOL(name)
#define XEN_LOCAL(name, full)
#define XEN_OPTIONAL(name) #name,
#include "hypervisor/symbols.def"
  };
  const ElfFile file = payload();
  int undefined = 0;
  for_each_section(file, SHT_SYMTAB, [&](const GElf_Shdr& header, Elf_Data* data) {
    GElf_Sym symbol;
    for (std::uint64_t i = 1; i < header.sh_size / header.sh_entsize; ++i) {
      ASSERT_NE(gelf_getsym(data, static_cast<int>(i), &symbol), nullptr);
      if (symbol.st_shndx != SHN_UNDEF) {
        EXPECT_NE(symbol.st_shndx, SHN_COMMON);
        continue;
      }
      const std::string name = elf_strptr(file.elf(), header.sh_link, symbol.st_name);
      const bool is_weak = GELF_ST_BIND(symbol.st_info) == STB_WEAK;
      EXPECT_TRUE((is_weak ? weak : strong).contains(name)) << name;
      ++undefined;
    }
  });
  EXPECT_GT(undefined, 20);
}

// A missing one is the number 0, which only a 64-bit word can hold.
TEST(HypervisorObject, ReachesOptionalSymbolsByFullAddressesOnly) {
  const ElfFile file = payload();
  for_each_section(file, SHT_RELA, [&](const GElf_Shdr& header, Elf_Data* data) {
    Elf_Scn* const symbols = elf_getscn(file.elf(), header.sh_link);
    GElf_Shdr symbols_header;
    ASSERT_NE(gelf_getshdr(symbols, &symbols_header), nullptr);
    GElf_Rela relocation;
    GElf_Sym symbol;
    for (std::uint64_t i = 0; i < header.sh_size / header.sh_entsize; ++i) {
      gelf_getrela(data, static_cast<int>(i), &relocation);
      ASSERT_NE(gelf_getsym(data_of(symbols, symbols_header),
                            static_cast<int>(GELF_R_SYM(relocation.r_info)), &symbol),
                nullptr);
      if (GELF_ST_BIND(symbol.st_info) == STB_WEAK) {
        EXPECT_EQ(GELF_R_TYPE(relocation.r_info), R_X86_64_64);
      }
    }
  });
}

TEST(HypervisorObject, LeavesTheLoaderItsPlaces) {
  const ElfFile file = payload();
  EXPECT_FALSE(file.section(".note.gnu.build-id") == nullptr);
  const auto size = [&](const char* name) -> std::uint64_t {
    GElf_Shdr header;
    Elf_Scn* const section = file.section(name);
    return section != nullptr && gelf_getshdr(section, &header) != nullptr ? header.sh_size : 0;
  };
  EXPECT_EQ(size(".xenoprof.layout"), sizeof(layout));
  EXPECT_EQ(size(".livepatch.funcs"), 104u);
  EXPECT_EQ(size(".livepatch.depends"), 36u);
  EXPECT_EQ(size(".livepatch.xen_depends"), 36u);
  for (const char* hook : {"preapply", "prerevert", "revert"}) {
    EXPECT_EQ(size((std::string(".livepatch.hooks.") + hook).c_str()), 8u);
  }
  EXPECT_EQ(size(".ex_table") % 8, 0u);
  EXPECT_NE(size(".ex_table"), 0u);
}

}  // namespace
}  // namespace xenoprof
