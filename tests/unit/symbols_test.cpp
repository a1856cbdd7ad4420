// SPDX-License-Identifier: GPL-2.0-or-later
#include <dlfcn.h>
#include <elf.h>
#include <gtest/gtest.h>
#include <link.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cinttypes>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>

#include "symbols/demangle.h"
#include "symbols/elf_image.h"
#include "symbols/jit_symbols.h"
#include "symbols/resolve.h"
#include "temporary_folder.h"

namespace xenoprof {

// Found again in this program's own symbols.
__attribute__((noinline, used)) int function_to_be_found(int x) {
  return x * 7 + 1;
}

namespace {

using Binding = SymbolTable::Binding;

__attribute__((noinline, used)) int local_to_be_found(int x) {
  asm volatile("");
  return x * 5 + 1;
}

std::string name_at(const SymbolTable& table, std::uint64_t address) {
  const auto symbol = table.find(address);
  return symbol ? std::string(symbol->name) : "nothing";
}

struct Place {
  std::string file;
  std::uint64_t offset = 0;
};

// Where in which file an address of this process lies.
Place place_of(const void* address) {
  std::ifstream maps("/proc/self/maps");
  const auto wanted = reinterpret_cast<std::uint64_t>(address);
  for (std::string line; std::getline(maps, line);) {
    std::uint64_t start = 0;
    std::uint64_t end = 0;
    std::uint64_t offset = 0;
    int name = 0;
    std::sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64 " %*s %" SCNx64 " %*s %*s %n", &start, &end,
                &offset, &name);
    if (wanted >= start && wanted < end) {
      return {line.substr(static_cast<std::size_t>(name)), wanted - start + offset};
    }
  }
  return {};
}

Result<ElfImage> read_elf(const std::filesystem::path& path) {
  DebugSearch search;
  return xenoprof::read_elf(path, search);
}

std::string vdso_bytes() {
  const auto* base = reinterpret_cast<const char*>(getauxval(AT_SYSINFO_EHDR));
  Elf64_Ehdr header;
  std::memcpy(&header, base, sizeof header);
  return {base, header.e_shoff + std::size_t{header.e_shnum} * header.e_shentsize};
}

TEST(SymbolTable, ALengthEndsASymbol) {
  SymbolTable table;
  table.add(0x100, 0x20, Binding::kGlobal, "first");
  table.add(0x130, 0x10, Binding::kLocal, "second");
  table.finish();
  EXPECT_EQ(name_at(table, 0xff), "nothing");
  EXPECT_EQ(name_at(table, 0x100), "first");
  EXPECT_EQ(name_at(table, 0x11f), "first");
  EXPECT_EQ(name_at(table, 0x120), "nothing") << "padding is nobody's, as perf has it";
  EXPECT_EQ(name_at(table, 0x13f), "second");
  EXPECT_EQ(name_at(table, 0x140), "nothing");
}

TEST(SymbolTable, NamesTakeNoMoreThanTheirRoom) {
  SymbolTable table;
  table.limit_names(10);
  table.add(0x100, 0x10, Binding::kGlobal, "sixsix");
  table.add(0x110, 0x10, Binding::kGlobal, "sixsix");
  table.add(0x120, 0x10, Binding::kGlobal, "four");
  table.finish();
  EXPECT_EQ(name_at(table, 0x100), "sixsix");
  EXPECT_EQ(name_at(table, 0x110), "nothing");
  EXPECT_EQ(name_at(table, 0x120), "four");
}

TEST(SymbolTable, WithoutALengthASymbolReachesToTheNextOne) {
  SymbolTable table;
  table.add(0x2000, 0, Binding::kGlobal, "second");
  table.add(0x1000, 0, Binding::kGlobal, "first");
  table.finish();
  EXPECT_EQ(name_at(table, 0x1fff), "first");
  EXPECT_EQ(name_at(table, 0x2000), "second");
  EXPECT_EQ(name_at(table, 0x3fff), "second") << "the last one: to the end of the next page";
  EXPECT_EQ(name_at(table, 0x4000), "nothing");
}

TEST(SymbolTable, NoSymbolLeavesItsPart) {
  SymbolTable table;
  table.add(0x1000, 0, Binding::kGlobal, "unsized", {.id = 0, .end = 0x1010});
  table.add(0x1800, 0x5000, Binding::kGlobal, "too long", {.id = 1, .end = 0x1900});
  table.add(0x1900, 1, Binding::kGlobal, "outside", {.id = 1, .end = 0x1900});
  table.add(0x1a00, ~std::uint64_t{0}, Binding::kGlobal, "endless");
  table.finish();
  EXPECT_EQ(name_at(table, 0x100f), "unsized");
  EXPECT_EQ(name_at(table, 0x1010), "nothing");
  EXPECT_EQ(name_at(table, 0x18ff), "too long");
  EXPECT_EQ(name_at(table, 0x1900), "nothing");
  EXPECT_EQ(name_at(table, ~std::uint64_t{0} - 1), "endless");
}

TEST(SymbolTable, AModuleLeavesTheGapBehindItAlone) {
  SymbolTable table;
  table.add(0x1010, 0, Binding::kGlobal, "last_of_one", {.id = 1});
  table.add(0x9000, 0, Binding::kGlobal, "first_of_two", {.id = 2});
  table.finish();
  EXPECT_EQ(name_at(table, 0x2fff), "last_of_one");
  EXPECT_EQ(name_at(table, 0x3000), "nothing");
}

TEST(SymbolTable, TheBestNameOfAnAddressWins) {
  const auto winner = [](std::uint64_t one_length, Binding one, const char* one_name,
                         std::uint64_t other_length, Binding other, const char* other_name) {
    SymbolTable table;
    table.add(0x10, one_length, one, one_name);
    table.add(0x10, other_length, other, other_name);
    table.add(0x20, 4, Binding::kGlobal, "behind");
    table.finish();
    return name_at(table, 0x10);
  };
  EXPECT_EQ(winner(8, Binding::kLocal, "local", 8, Binding::kGlobal, "global"), "global");
  EXPECT_EQ(winner(8, Binding::kLocal, "local", 8, Binding::kWeak, "weak"), "local");
  EXPECT_EQ(winner(8, Binding::kGlobal, "__read", 8, Binding::kGlobal, "read"), "read");
  EXPECT_EQ(winner(8, Binding::kGlobal, "short", 8, Binding::kGlobal, "longer"), "longer");
  EXPECT_EQ(winner(8, Binding::kGlobal, "same1", 8, Binding::kGlobal, "same2"), "same1");
  EXPECT_EQ(winner(0, Binding::kGlobal, "one", 0, Binding::kLocal, "the_last"), "the_last");
}

TEST(SymbolTable, WhatLiesWithinAnotherLeavesTheRestToIt) {
  SymbolTable table;
  table.add(0x100, 0x100, Binding::kGlobal, "outer");
  table.add(0x140, 0x10, Binding::kLocal, "inner");
  table.finish();
  EXPECT_EQ(name_at(table, 0x148), "inner");
  EXPECT_EQ(name_at(table, 0x150), "outer");
}

TEST(Kallsyms, NamesTheKernelAndItsModules) {
  const TemporaryFolder folder;
  const auto table =
      read_kallsyms(folder.file("kallsyms",
                                "ffffffff81000000 T _stext\n"
                                "ffffffff81000100 t tcp_recvmsg\n"
                                "ffffffff81000200 D jiffies\n"
                                "ffffffff81000300 W weak_one\n"
                                "ffffffffc0000000 t xenvif_rx_action\t[xen_netback]\n"
                                "ffffffffc0000800 t bpf_prog_1\t[bpf]\n"));
  ASSERT_TRUE(table) << table.error().message;
  EXPECT_EQ(name_at(*table, 0xffffffff810001ff), "tcp_recvmsg");
  EXPECT_EQ(name_at(*table, 0xffffffff81000300), "weak_one");
  EXPECT_EQ(name_at(*table, 0xffffffffc0000700), "xenvif_rx_action");
  EXPECT_EQ(name_at(*table, 0xffffffffb0000000), "nothing") << "between kernel and modules";
}

TEST(Kallsyms, ASystemMapWillDo) {
  const TemporaryFolder folder;
  const auto table = read_kallsyms(folder.file("System.map",
                                               "0000000000000000 D __per_cpu_start\n"
                                               "ffffffff81000000 T startup_64\n"));
  ASSERT_TRUE(table) << table.error().message;
  EXPECT_EQ(name_at(*table, 0xffffffff81000004), "startup_64");
}

TEST(Kallsyms, HiddenAddressesAreSaid) {
  const TemporaryFolder folder;
  const auto table = read_kallsyms(
      folder.file("kallsyms", "0000000000000000 T _stext\n0000000000000000 t tcp_recvmsg\n"));
  ASSERT_FALSE(table);
  EXPECT_NE(table.error().message.find("kptr_restrict"), std::string::npos);
}

TEST(Kallsyms, OtherFilesAreRefused) {
  const TemporaryFolder folder;
  for (const std::string& content :
       {std::string(), std::string("hello\n\n  \nffff\nffff T\nffff T \n"),
        std::string(100'000, 'a'), std::string(100'000, '\0')}) {
    EXPECT_FALSE(read_kallsyms(folder.file("other", content)));
  }
  EXPECT_FALSE(read_kallsyms(folder / "missing"));
}

TEST(Xensyms, DropsTheFileWhereTheNameIsUnique) {
  const TemporaryFolder folder;
  const auto table = read_xensyms(folder.file("xensyms",
                                              "ffff82d040200000 T do_mmu_update\n"
                                              "ffff82d040201000 t domain.c#idle_loop\n"
                                              "ffff82d040202000 t sched.c#init\n"
                                              "ffff82d040203000 t timer.c#init\n"
                                              "ffff82d040204000 D some_data\n"));
  ASSERT_TRUE(table) << table.error().message;
  EXPECT_EQ(name_at(*table, 0xffff82d040200fff), "do_mmu_update");
  EXPECT_EQ(name_at(*table, 0xffff82d040201000), "idle_loop");
  EXPECT_EQ(name_at(*table, 0xffff82d040202000), "sched.c#init");
  EXPECT_EQ(name_at(*table, 0xffff82d040203000), "timer.c#init");
}

TEST(Elf, FindsThisProgramsFunctions) {
  const Place global = place_of(reinterpret_cast<const void*>(&function_to_be_found));
  const Place local = place_of(reinterpret_cast<const void*>(&local_to_be_found));
  const auto image = read_elf(global.file);
  ASSERT_TRUE(image) << image.error().message;
  const auto symbol = image->symbols.find(global.offset);
  ASSERT_TRUE(symbol);
  EXPECT_EQ(demangle(symbol->name), "xenoprof::function_to_be_found");
  EXPECT_EQ(symbol->start, global.offset);
  EXPECT_EQ(name_at(image->symbols, symbol->end - 1), symbol->name);
  EXPECT_NE(name_at(image->symbols, symbol->end), symbol->name);
  EXPECT_EQ(demangle(name_at(image->symbols, local.offset)),
            "xenoprof::(anonymous namespace)::local_to_be_found");
}

TEST(Elf, FindsTheFunctionsThatALibraryExports) {
  for (const char* name : {"getpid", "qsort", "printf", "malloc", "fopen", "getenv"}) {
    const Place place = place_of(dlsym(RTLD_DEFAULT, name));
    if (place.file.find("libc.so") == std::string::npos) {
      continue;  // a sanitizer's
    }
    const auto image = read_elf(place.file);
    ASSERT_TRUE(image) << image.error().message;
    const auto symbol = image->symbols.find(place.offset + 1);
    ASSERT_TRUE(symbol) << name;
    EXPECT_EQ(symbol->start, place.offset) << name << " is called " << symbol->name;
  }
}

TEST(Elf, BuildIdIsTheOneInMemory) {
  std::string mine;
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* id) {
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const auto& header = info->dlpi_phdr[i];
          auto& found = *static_cast<std::string*>(id);
          if (header.p_type == PT_NOTE && found.empty()) {
            found = build_id_of_notes(
                {reinterpret_cast<const char*>(info->dlpi_addr + header.p_vaddr), header.p_memsz},
                header.p_align);
          }
        }
        return 1;  // the program comes first
      },
      &mine);
  const auto image = read_elf("/proc/self/exe");
  ASSERT_TRUE(image) << image.error().message;
  EXPECT_EQ(image->file.build_id(), mine);
  EXPECT_EQ(mine.size(), 40u) << mine;
}

TEST(Elf, NotesAreBoundsChecked) {
  const std::string other("\x04\0\0\0\x02\0\0\0\x07\0\0\0Lin\0ab\0\0", 20);
  const std::string id("\x04\0\0\0\x03\0\0\0\x03\0\0\0GNU\0\x12\xab\x0f\0", 20);
  EXPECT_EQ(build_id_of_notes(other + id), "12ab0f");
  for (std::size_t length = 0; length < 39; ++length) {
    EXPECT_EQ(build_id_of_notes((other + id).substr(0, length)), "") << length;
  }
  EXPECT_EQ(build_id_of_notes(std::string(64, '\xff')), "");
}

TEST(Elf, TheVdsoHasNames) {
  const auto image = read_vdso();
  ASSERT_TRUE(image) << image.error().message;
  bool found = false;
  for (std::uint64_t offset = 0; offset < 0x4000; ++offset) {
    found |= name_at(image->symbols, offset).find("clock_gettime") != std::string::npos;
  }
  EXPECT_TRUE(found);
}

TEST(Elf, WhatIsNoElfFileIsRefusedAtOnce) {
  const TemporaryFolder folder;
  ASSERT_EQ(mkfifo((folder / "fifo").c_str(), 0600), 0);
  EXPECT_FALSE(read_elf(folder / "fifo")) << "must not wait for a writer";
  EXPECT_FALSE(read_elf("/dev/zero"));
  EXPECT_FALSE(read_elf("/"));
  EXPECT_FALSE(read_elf(folder / "missing"));
  EXPECT_FALSE(read_elf(folder.file("empty", "")));
  EXPECT_FALSE(read_elf(folder.file("script", "#!/bin/sh\n")));
}

TEST(Elf, DamageNeverGetsThrough) {
  const TemporaryFolder folder;
  const std::string whole = vdso_bytes();
  const auto use = [&](const std::string& bytes) {
    if (const auto image = read_elf(folder.file("damaged", bytes))) {
      for (std::uint64_t offset = 0; offset < whole.size(); offset += 64) {
        name_at(image->symbols, offset);
      }
    }
  };
  std::minstd_rand random(1);
  for (int round = 0; round < 50; ++round) {
    std::string damaged = whole;
    // Headers first: that is where the offsets and sizes are.
    for (int bytes = 0; bytes < 8; ++bytes) {
      const std::size_t in_headers = bytes % 2 == 0 ? 0x200 : 0;
      const std::size_t place = random() % (in_headers != 0 ? in_headers : damaged.size());
      damaged[place < SELFMAG ? place + SELFMAG : place] = static_cast<char>(random());
    }
    use(damaged);
    use(whole.substr(0, random() % whole.size()));
  }
}

TEST(Demangle, ReadsLikeTheSource) {
  EXPECT_EQ(demangle("_ZN4deep5ThingIlE4spinEl"), "deep::Thing<long>::spin");
  EXPECT_EQ(demangle("_ZN4deep5ThingIlE4spinEl@plt"), "deep::Thing<long>::spin@plt");
  EXPECT_EQ(demangle("_ZN4core3fmt9Formatter3pad17h0123456789abcdefE"),
            "core::fmt::Formatter::pad");
  EXPECT_EQ(demangle("_RNvMs_NtCs1_7mycrate3fooNtB4_3Bar3baz"), "<mycrate::foo::Bar>::baz");
  EXPECT_EQ(demangle("_RINvCs6GmmlP4bgsG_1r4workyEB2_"), "r::work::<u64>");
  EXPECT_EQ(demangle("_Rest"), "_Rest");
  EXPECT_EQ(demangle("tcp_recvmsg"), "tcp_recvmsg");
  EXPECT_EQ(demangle("_Zebra"), "_Zebra");
  EXPECT_EQ(demangle(""), "");
}

TEST(Demangle, ANameThatDoublesItselfIsLeftAlone) {
  // f<A<int, int>, A<the last, the last>, ...>: each argument is twice as long as the one before.
  const auto doubling = [](std::string_view digits) {
    std::string name = "_Z1fI1AIiiE";
    std::string last = "S1_";
    for (const char digit : digits) {
      name += "S0_I" + last + last + "E";
      last = std::string("S") + digit + "_";
    }
    return name + "Evv";
  };
  EXPECT_EQ(demangle(doubling("23")),
            "f<A<int, int>, A<A<int, int>, A<int, int> >, A<A<A<int, int>, A<int, int> >, "
            "A<A<int, int>, A<int, int> > > >");
  const std::string terabyte = doubling("23456789ABCDEFGHIJKLMNOPQRSTUVWXYZ");
  EXPECT_EQ(demangle(terabyte), terabyte);
  EXPECT_EQ(demangle("_Z" + std::string(100'000, 'P')).size(), 4096u);
}

// Named as such files must be, after processes that there are not (pid_max is at most 2^22).
class JitSymbols : public testing::Test {
 protected:
  ~JitSymbols() override { std::filesystem::remove(name_); }
  Result<SymbolTable> read(std::string_view content) const {
    std::ofstream(name_, std::ios::binary) << content;
    return read_jit_symbols(name_);
  }

  std::string name_ = fmt::format("/tmp/perf-{}.map", (1 << 30) + getpid());
};

TEST_F(JitSymbols, AreThoseOfTheFile) {
  const auto table = read(
      "7f0000001000 20 Hello::world(int, char)\n"
      "0x7f0000002000 0x10 second\n"
      "7f0000003000 0 nothing\n"
      "rubbish\n\n7f\n7f 1\n"
      "7f0000004000 8 last");
  ASSERT_TRUE(table) << table.error().message;
  EXPECT_EQ(name_at(*table, 0x7f0000001000), "Hello::world(int, char)");
  EXPECT_EQ(name_at(*table, 0x7f000000101f), "Hello::world(int, char)");
  EXPECT_EQ(name_at(*table, 0x7f0000001020), "nothing");
  EXPECT_EQ(name_at(*table, 0x7f0000002000), "second");
  EXPECT_EQ(name_at(*table, 0x7f0000004007), "last");
  EXPECT_EQ(table->size(), 3u);
}

TEST_F(JitSymbols, OfSomebodyElseAreNotBelieved) {
  ASSERT_TRUE(read("7f0000001000 20 f\n"));
  if (chown(name_.c_str(), 12345, 12345) != 0) {
    GTEST_SKIP() << "only root can give a file away";
  }
  const auto table = read_jit_symbols(name_);
  ASSERT_FALSE(table);
  EXPECT_NE(table.error().message.find("neither root's, nor ours"), std::string::npos);
}

TEST_F(JitSymbols, OtherFilesAreRefused) {
  EXPECT_FALSE(read_jit_symbols(name_)) << "missing";
  ASSERT_EQ(symlink("/etc/passwd", name_.c_str()), 0);
  EXPECT_FALSE(read_jit_symbols(name_)) << "a link to a file that only we may read";
  std::filesystem::remove(name_);
  ASSERT_EQ(mkfifo(name_.c_str(), 0600), 0);
  EXPECT_FALSE(read_jit_symbols(name_)) << "must not wait for a writer";
}

TEST(JitProcess, IsInTheName) {
  EXPECT_EQ(jit_process("/tmp/perf-123.map"), 123);
  for (const char* other : {"/tmp/perf-.map", "/tmp/perf-12a.map", "/tmp/perf-12.map2",
                            "/var/tmp/perf-12.map", "/tmp/perf-99999999999.map"}) {
    EXPECT_EQ(jit_process(other), std::nullopt) << other;
  }
}

class ResolveTest : public testing::Test {
 protected:
  ResolveTest() {
    sources_.kallsyms = folder_.file("kallsyms", "ffffffff81000000 T tcp_recvmsg\n");
    sources_.xensyms = folder_.file("xensyms", "ffff82d040200000 T do_mmu_update\n");
  }

  LocationId add(std::string_view image, std::uint64_t address, std::string_view build_id = "") {
    return profile_.add_location(profile_.add_image(image, build_id), address);
  }
  std::string_view symbol(LocationId location) const {
    return profile_.text(profile_.locations()[location].symbol);
  }
  std::string_view build_id(LocationId location) const {
    return profile_.text(profile_.images()[profile_.locations()[location].image].build_id);
  }

  TemporaryFolder folder_;
  SymbolSources sources_;
  Profile profile_;
  Place own_ = place_of(reinterpret_cast<const void*>(&function_to_be_found));
};

TEST_F(ResolveTest, NamesEveryLayer) {
  const LocationId user = add(own_.file, own_.offset);
  const LocationId kernel = add("[kernel]", 0xffffffff81000010);
  const LocationId xen = add("[xen]", 0xffff82d040200010);
  EXPECT_TRUE(resolve(profile_, sources_).empty());
  EXPECT_EQ(symbol(user), "xenoprof::function_to_be_found");
  EXPECT_EQ(symbol(kernel), "tcp_recvmsg");
  EXPECT_EQ(symbol(xen), "do_mmu_update");
  EXPECT_EQ(build_id(user), ElfFile::open(own_.file)->build_id());
}

TEST_F(ResolveTest, GivesLinesOfWhichTheLastIsInTheSymbol) {
  const LocationId user = add(own_.file, own_.offset);
  resolve(profile_, sources_);
  const auto& lines = profile_.lines(profile_.locations()[user]);
  ASSERT_FALSE(lines.empty());
  EXPECT_EQ(lines.back().function, profile_.locations()[user].symbol);
  EXPECT_TRUE(profile_.text(lines.back().file).ends_with("symbols_test.cpp"));
  EXPECT_NE(lines.back().line, 0u);
}

TEST_F(ResolveTest, WithoutTimeForLinesThereAreNames) {
  const LocationId user = add(own_.file, own_.offset);
  sources_.lines_time = {};
  const auto notes = resolve(profile_, sources_);
  EXPECT_EQ(symbol(user), "xenoprof::function_to_be_found");
  EXPECT_TRUE(profile_.lines(profile_.locations()[user]).empty());
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_NE(notes[0].find("Source lines are missing"), std::string::npos);
}

TEST_F(ResolveTest, NamesInPassingKeepUpAndLeaveLinesForTheEnd) {
  NamesInPassing names(sources_);
  const LocationId user = add(own_.file, own_.offset);
  const LocationId kernel = add("[kernel]", 0xffffffff81000010);
  names.name(profile_);
  EXPECT_EQ(symbol(user), "xenoprof::function_to_be_found");
  EXPECT_EQ(symbol(kernel), "tcp_recvmsg");
  EXPECT_TRUE(profile_.lines(profile_.locations()[user]).empty());
  const LocationId later = add(own_.file, own_.offset + 1);
  names.name(profile_);
  EXPECT_EQ(symbol(later), "xenoprof::function_to_be_found");
  resolve(profile_, sources_);
  EXPECT_FALSE(profile_.lines(profile_.locations()[user]).empty());
  EXPECT_FALSE(profile_.lines(profile_.locations()[later]).empty());
}

// Modules may be loaded meanwhile, where nothing was before.
TEST_F(ResolveTest, NamesInPassingKnowANewModule) {
  sources_.modules = folder_ / "modules";
  NamesInPassing names(sources_);
  names.read_ahead();
  std::ofstream(sources_.kallsyms, std::ios::app) << "ffffffffc0700000 t brand_new\t[brand_new]\n";
  std::ofstream(sources_.modules) << "brand_new 16384 0 - Live 0xffffffffc0700000\n";
  const LocationId module = add("[brand_new]", 0xffffffffc0700004);
  names.name(profile_);
  EXPECT_EQ(symbol(module), "brand_new");
}

TEST_F(ResolveTest, AFileIsKnownByItsBuildIdUnderAnyOfItsNames) {
  const std::string build_id = ElfFile::open(own_.file)->build_id();
  const LocationId gone = add("/missing/name", own_.offset, build_id);
  const LocationId here = add(own_.file, own_.offset, build_id);
  EXPECT_TRUE(resolve(profile_, sources_).empty());
  EXPECT_EQ(symbol(gone), "xenoprof::function_to_be_found");
  EXPECT_EQ(symbol(here), "xenoprof::function_to_be_found");
}

TEST_F(ResolveTest, NamesCodeThatAProcessMade) {
  const std::string name = fmt::format("/tmp/perf-{}.map", (1 << 30) + getpid());
  std::ofstream(name) << "7f0000001000 20 compiled\n";
  const LocationId made = add(name, 0x7f0000001010);
  EXPECT_TRUE(resolve(profile_, sources_).empty());
  std::filesystem::remove(name);
  EXPECT_EQ(symbol(made), "compiled");
}

TEST_F(ResolveTest, AnotherKernelsNamesAreNotUsed) {
  if (running_build_id(kKernelImage).empty()) {
    GTEST_SKIP() << "this kernel does not tell its build-id";
  }
  const LocationId kernel = add("[kernel]", 0xffffffff81000010, "0123456789");
  const auto notes = resolve(profile_, sources_);
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_EQ(symbol(kernel), "");
}

// With addresses chosen anew at each boot.
TEST_F(ResolveTest, TheSameKernelIsFoundWhereAnotherBootPutIt) {
  const std::string runs = running_build_id(kKernelImage);
  if (runs.empty()) {
    GTEST_SKIP() << "this kernel does not tell its build-id";
  }
  sources_.kallsyms = folder_.file("moved",
                                   "ffffffff82000000 T _text\n"
                                   "ffffffff82001000 T tcp_recvmsg\n"
                                   "ffffffff82002000 T _etext\n"
                                   "ffffffffc1000000 t of_a_module\t[some]\n");
  sources_.loaded_at = {{"[kernel]", 0xffffffff81000000}};
  const LocationId kernel = add("[kernel]", 0xffffffff81001010, runs);
  const LocationId made = add("[kernel]", 0xffffffffc0000010, runs);
  EXPECT_TRUE(resolve(profile_, sources_).empty());
  EXPECT_EQ(symbol(kernel), "tcp_recvmsg");
  EXPECT_EQ(symbol(made), "") << "only the kernel itself has moved so far";
}

TEST_F(ResolveTest, WhatMayBeAnotherKernelOrLiesElsewhereHasNoNames) {
  sources_.kallsyms = folder_.file("moved",
                                   "ffffffff82000000 T _text\n"
                                   "ffffffff82001000 T tcp_recvmsg\n"
                                   "ffffffff82002000 T _etext\n"
                                   "ffffffffc1000000 t of_a_module\t[nowhere_to_be_found]\n");
  sources_.loaded_at = {{"[kernel]", 0xffffffff81000000},
                        {"[nowhere_to_be_found]", 0xffffffffc1000000}};
  const LocationId kernel = add("[kernel]", 0xffffffff82001010);
  const LocationId module = add("[nowhere_to_be_found]", 0xffffffffc1000010);
  EXPECT_EQ(resolve(profile_, sources_).size(), 2u);
  EXPECT_EQ(symbol(kernel), "");
  EXPECT_EQ(build_id(kernel), "");
  EXPECT_EQ(symbol(module), "");
}

TEST_F(ResolveTest, LeavesWhatNobodyKnowsAlone) {
  const LocationId passive = add("[user]", 0);
  const LocationId unknown = add("[unknown]", 0x7f0000001000);
  const LocationId wild = add("[unknown]", 0xffffffff81000010);
  const LocationId guest = add("[guest.kernel]", 0xffffffff81000010);
  const LocationId no_symbol = add("[kernel]", 0xffffffff00000000);
  const LocationId named = profile_.add_location(profile_.add_image("[kernel]", ""),
                                                 0xffffffff81000010, profile_.intern("mine"));
  EXPECT_TRUE(resolve(profile_, sources_).empty());
  EXPECT_EQ(symbol(passive), "");
  EXPECT_EQ(symbol(unknown), "");
  EXPECT_EQ(symbol(wild), "") << "a process's chain may hold any number";
  EXPECT_EQ(symbol(guest), "") << "a virtual machine's kernel is not ours";
  EXPECT_EQ(symbol(no_symbol), "");
  EXPECT_EQ(symbol(named), "mine");
}

TEST_F(ResolveTest, AsksForNoSourceThatIsNotNeeded) {
  add("[heap]", 0x7f0000001000);
  sources_.kallsyms = sources_.xensyms = folder_ / "missing";
  EXPECT_TRUE(resolve(profile_, sources_).empty());
}

TEST_F(ResolveTest, AnotherDomainsFilesAreNotOurs) {
  const LocationId user = add(own_.file, own_.offset);
  const LocationId kernel = add("[kernel]", 0xffffffff81000010);
  sources_.own_files = false;
  const auto notes = resolve(profile_, sources_);
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_NE(notes[0].find("too few to tell"), std::string::npos) << notes[0];
  EXPECT_EQ(symbol(user), "");
  EXPECT_EQ(build_id(kernel), "");
  EXPECT_EQ(symbol(kernel), "tcp_recvmsg") << "from the copy that was given";
}

TEST_F(ResolveTest, AFileThatWasReplacedGivesNoNames) {
  const LocationId user = add(own_.file, own_.offset, "0123456789");
  const auto notes = resolve(profile_, sources_);
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_NE(notes[0].find("replaced"), std::string::npos) << notes[0];
  EXPECT_EQ(symbol(user), "");
  EXPECT_EQ(build_id(user), "0123456789");
}

TEST_F(ResolveTest, SaysOnceWhatCannotBeRead) {
  add("/missing/one", 0x10);
  add("/missing/two", 0x10);
  add("[kernel]", 0xffffffff81000010);
  add("[xen_netback]", 0xffffffffc0000010);
  sources_.kallsyms = folder_ / "missing";
  const auto notes = resolve(profile_, sources_);
  ASSERT_EQ(notes.size(), 2u);
  EXPECT_NE(notes[0].find("Functions of the kernel have no names: "), std::string::npos);
  EXPECT_NE(notes[1].find("/missing/one, /missing/two."), std::string::npos);
}

TEST_F(ResolveTest, SampledSymbolsAreThoseThatWereHit) {
  add("[xen]", 0xffff82d040200010);
  add("[xen]", 0xffff82d040200020);
  add("[xen]", 0xffff000000000000);
  add("[kernel]", 0xffff82d040200010);
  const auto table = read_xensyms(sources_.xensyms);
  ASSERT_TRUE(table);
  const auto symbols = sampled_symbols(profile_, kXenImage, *table);
  ASSERT_EQ(symbols.size(), 1u);
  EXPECT_EQ(symbols[0].name, "do_mmu_update");
  EXPECT_EQ(symbols[0].start, 0xffff82d040200000);
}

}  // namespace
}  // namespace xenoprof
