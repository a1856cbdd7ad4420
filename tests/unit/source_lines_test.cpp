// SPDX-License-Identifier: GPL-2.0-or-later
// Against tests/programs/inlined.cpp as the compiler and binutils left it.
#include "symbols/source_lines.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <numeric>
#include <random>
#include <sstream>

#include "symbols/child_process.h"
#include "symbols/demangle.h"
#include "temporary_folder.h"

namespace xenoprof {
namespace {

using namespace std::chrono_literals;

constexpr const char* kProgram = XENOPROF_INLINED;

// Runs commands in the folder, with the program at $program.
bool run(const TemporaryFolder& folder, const std::string& commands) {
  return std::system(
             fmt::format("cd {} && program={} && {}", folder.path().string(), kProgram, commands)
                 .c_str()) == 0;
}

ElfImage read(const std::filesystem::path& path) {
  DebugSearch search;
  auto image = read_elf(path, search);
  EXPECT_TRUE(image) << image.error().message;
  return *std::move(image);
}

std::string contents_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// The first place that a function called so has; 0 if none.
Symbol symbol_called(const SymbolTable& symbols, std::string_view name) {
  for (std::uint64_t offset = 0x1000; offset < 0x3000; ++offset) {
    const auto symbol = symbols.find(offset);
    if (symbol && demangle(symbol->name) == name) {
      return *symbol;
    }
  }
  return {};
}

std::vector<std::uint64_t> all_places(const Symbol& symbol) {
  std::vector<std::uint64_t> offsets(symbol.end - symbol.start);
  std::iota(offsets.begin(), offsets.end(), symbol.start);
  return offsets;
}

// "file:line" of each function, innermost first.
std::string told(const std::vector<SourceLine>& lines) {
  std::string out;
  for (const SourceLine& line : lines) {
    out += fmt::format("{}:{} ", std::filesystem::path(line.file).filename().string(), line.line);
  }
  return out;
}

// The same as binutils has it: of each address a line "0x...", then two per function.
std::vector<std::string> told_by_addr2line(const std::filesystem::path& path,
                                           const std::vector<std::uint64_t>& addresses) {
  std::vector<std::string> command = {"addr2line", "-i", "-f", "-a", "-e", path};
  for (const std::uint64_t address : addresses) {
    command.push_back(fmt::format("{:#x}", address));
  }
  std::istringstream output(output_of(command, {.time = 10s, .output = 1 << 20}));
  std::vector<std::string> told;
  for (std::string line; std::getline(output, line);) {
    if (line.starts_with("0x")) {
      told.emplace_back();
      continue;
    }
    if (std::getline(output, line) && !told.empty()) {
      line = line.substr(0, line.find(" (discriminator"));
      told.back() += std::filesystem::path(line).filename().string() + " ";
    }
  }
  return told;
}

TEST(SourceLines, AreThoseThatBinutilsFinds) {
  const ElfImage image = read(kProgram);
  const Symbol work = symbol_called(image.symbols, "outer::work");
  ASSERT_NE(work.start, 0u);
  const auto offsets = all_places(work);
  std::vector<std::uint64_t> addresses;
  for (const std::uint64_t offset : offsets) {
    addresses.push_back(*image.file.address_of(offset));
  }
  const SourceLines found = read_source_lines(image, offsets, 10s);
  EXPECT_FALSE(found.late || found.failed);
  const auto expected = told_by_addr2line(kProgram, addresses);
  ASSERT_EQ(expected.size(), offsets.size());
  std::size_t deepest = 0;
  for (std::size_t i = 0; i < offsets.size(); ++i) {
    EXPECT_EQ(told(found.of[i]), expected[i]) << fmt::format("{:#x}", offsets[i]);
    deepest = std::max(deepest, found.of[i].size());
  }
  EXPECT_EQ(deepest, 4u) << "next in square in sum_of_squares in work";
}

TEST(SourceLines, NameTheFunctionsThatWereInlined) {
  const ElfImage image = read(kProgram);
  const auto offsets = all_places(symbol_called(image.symbols, "outer::work"));
  for (const auto& lines : read_source_lines(image, offsets, 10s).of) {
    if (lines.size() == 4) {
      EXPECT_TRUE(lines[0].function.ends_with("next")) << lines[0].function;
      EXPECT_NE(lines[1].function.find("square<"), std::string::npos) << lines[1].function;
      EXPECT_EQ(lines[2].function, "outer::sum_of_squares");
      EXPECT_EQ(lines[3].function, "outer::work");
      EXPECT_TRUE(std::filesystem::exists(lines[3].file)) << lines[3].file;
      return;
    }
  }
  FAIL() << "nothing was inlined";
}

class StrippedTest : public testing::Test {
 protected:
  // What `find_debug_file` may look into is all in the folder.
  ElfImage read(const std::filesystem::path& path) const {
    DebugSearch search{.root = folder_ / "root"};
    auto image = read_elf(path, search);
    EXPECT_TRUE(image) << image.error().message;
    return *std::move(image);
  }
  static std::size_t deepest(const ElfImage& image) {
    const auto offsets = all_places(symbol_called(image.symbols, "outer::work"));
    std::size_t deepest = 0;
    for (const auto& lines : read_source_lines(image, offsets, 10s).of) {
      deepest = std::max(deepest, lines.size());
    }
    return deepest;
  }

  TemporaryFolder folder_;
};

TEST_F(StrippedTest, NothingIsLeftOfItsNames) {
  ASSERT_TRUE(run(folder_, "objcopy -S $program stripped"));
  EXPECT_EQ(symbol_called(read(folder_ / "stripped").symbols, "outer::work").start, 0u);
}

TEST_F(StrippedTest, TheDebugFileIsFoundByItsLink) {
  ASSERT_TRUE(run(folder_,
                  "objcopy --only-keep-debug $program my.debug && "
                  "objcopy -S --add-gnu-debuglink=my.debug $program stripped"));
  EXPECT_EQ(deepest(read(folder_ / "stripped")), 4u) << "beside it";
  ASSERT_TRUE(run(folder_, "mkdir .debug && mv my.debug .debug/"));
  EXPECT_EQ(deepest(read(folder_ / "stripped")), 4u) << "in .debug";
  ASSERT_TRUE(run(folder_, "mkdir -p root$PWD && mv .debug/my.debug root$PWD/"));
  EXPECT_EQ(deepest(read(folder_ / "stripped")), 4u) << "below the root of debug files";
}

TEST_F(StrippedTest, ADebugFileOfAnotherProgramIsNotUsed) {
  ASSERT_TRUE(run(
      folder_,
      "objcopy --only-keep-debug $program my.debug && "
      "objcopy -S --add-gnu-debuglink=my.debug --remove-section=.note.gnu.build-id $program bare"));
  EXPECT_EQ(deepest(read(folder_ / "bare")), 4u) << "its checksum is right";
  ASSERT_TRUE(run(folder_, "printf x >>my.debug"));
  EXPECT_FALSE(read(folder_ / "bare").debug) << "its checksum is wrong";
  ASSERT_TRUE(run(folder_,
                  "objcopy -S --add-gnu-debuglink=my.debug $program stripped && "
                  "objcopy --only-keep-debug /bin/true my.debug"));
  EXPECT_FALSE(read(folder_ / "stripped").debug) << "its build-id is wrong";
}

TEST_F(StrippedTest, TheDebugFileIsFoundByItsBuildId) {
  const std::string id = read(kProgram).file.build_id();
  ASSERT_EQ(id.size(), 40u) << id;
  ASSERT_TRUE(
      run(folder_, fmt::format("objcopy -S $program stripped && mkdir -p root/.build-id/{0} && "
                               "objcopy --only-keep-debug --compress-debug-sections $program "
                               "root/.build-id/{0}/{1}.debug",
                               id.substr(0, 2), id.substr(2))));
  EXPECT_EQ(deepest(read(folder_ / "stripped")), 4u);
}

TEST_F(StrippedTest, CompressedSymbolsAreUsed) {
  if (!run(folder_, "command -v xz >/dev/null")) {
    GTEST_SKIP() << "there is no xz here";
  }
  ASSERT_TRUE(
      run(folder_,
          "objcopy -S $program stripped && "
          "objcopy --strip-debug --remove-section=.comment $program names && xz -k names && "
          "objcopy --add-section .gnu_debugdata=names.xz stripped with_names"));
  const ElfImage image = read(folder_ / "with_names");
  const Symbol whole = symbol_called(read(kProgram).symbols, "outer::work");
  const Symbol found = symbol_called(image.symbols, "outer::work");
  EXPECT_NE(found.start, 0u);
  EXPECT_EQ(found.start, whole.start);
  EXPECT_EQ(found.end, whole.end);
}

TEST_F(StrippedTest, ASectionThatBecomesHugeIsNotUnpacked) {
  if (!run(folder_, "command -v xz >/dev/null")) {
    GTEST_SKIP() << "there is no xz here";
  }
  ASSERT_TRUE(run(folder_,
                  "objcopy -S $program stripped && head -c 20M /dev/zero | xz -0 >names.xz && "
                  "objcopy --add-section .gnu_debugdata=names.xz stripped with_names"));
  const auto file = ElfFile::open(folder_ / "with_names");
  ASSERT_TRUE(file);
  EXPECT_FALSE(read_mini_debug_info(*file));
}

TEST_F(StrippedTest, DebuginfodIsAskedOnlyWhereTheUserSaysSo) {
  const std::string id = read(kProgram).file.build_id();
  ASSERT_TRUE(run(
      folder_,
      "objcopy -S $program stripped && objcopy --only-keep-debug $program my.debug && mkdir bin && "
      "printf '#!/bin/sh\\necho \"$@\" >>'$PWD'/asked\\necho '$PWD'/my.debug\\n' "
      ">bin/debuginfod-find && chmod +x bin/debuginfod-find"));
  const std::string path = std::getenv("PATH");
  ::setenv("PATH", ((folder_ / "bin").string() + ":" + path).c_str(), 1);
  ::unsetenv("DEBUGINFOD_URLS");
  EXPECT_FALSE(read(folder_ / "stripped").debug);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "asked"));
  ::setenv("DEBUGINFOD_URLS", "http://127.0.0.1:1/", 1);
  EXPECT_EQ(deepest(read(folder_ / "stripped")), 4u);
  EXPECT_EQ(contents_of(folder_ / "asked"), "debuginfo " + id + "\n");
  ::unsetenv("DEBUGINFOD_URLS");
  ::setenv("PATH", path.c_str(), 1);
}

TEST(SourceLines, NoTimeIsSaid) {
  const ElfImage image = read(kProgram);
  const auto offsets = all_places(symbol_called(image.symbols, "outer::work"));
  const SourceLines found = read_source_lines(image, offsets, 0s);
  EXPECT_TRUE(found.late);
  EXPECT_EQ(found.of.size(), offsets.size());
}

TEST(SourceLines, DamageNeverGetsThrough) {
  const TemporaryFolder folder;
  const std::string whole = contents_of(kProgram);
  const auto work = symbol_called(read(kProgram).symbols, "outer::work");
  const auto use = [&](const std::string& bytes) {
    std::ofstream(folder / "damaged", std::ios::binary) << bytes;
    DebugSearch search{.root = folder / "root"};
    if (const auto image = read_elf(folder / "damaged", search)) {
      EXPECT_EQ(read_source_lines(*image, all_places(work), 2s).of.size(), work.end - work.start);
    }
  };
  std::minstd_rand random(1);
  // Behind the headers and the code lie the debug sections.
  const std::size_t debug = whole.size() / 3;
  for (int round = 0; round < 20; ++round) {
    std::string damaged = whole;
    for (int byte = 0; byte < 40; ++byte) {
      damaged[debug + random() % (whole.size() - debug)] = static_cast<char>(random());
    }
    use(damaged);
    use(whole.substr(0, random() % whole.size()));
  }
}

TEST(ChildProcess, TakesACrashUponItself) {
  const auto crash = [](const Write& write) {
    write("before");
    std::abort();
  };
  const ChildResult result = run_in_child(crash, {.time = 10s, .output = 100});
  EXPECT_EQ(result.output, "before");
  EXPECT_EQ(result.end, ChildEnd::kFailed);
}

TEST(ChildProcess, IsEndedWhenItsTimeIsOver) {
  const auto hang = [](const Write& write) {
    write("before");
    for (;;) {
      ::pause();
    }
  };
  // On a busy machine it takes a while until the child speaks.
  ChildResult result;
  for (auto time = 20ms; result.output.empty() && time < 20s; time *= 2) {
    result = run_in_child(hang, {.time = time, .output = 100});
    EXPECT_EQ(result.end, ChildEnd::kLate);
  }
  EXPECT_EQ(result.output, "before");
}

TEST(ChildProcess, GetsNoMoreMemoryThanItMay) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "AddressSanitizer tells where memory ran out, and hangs for want of memory";
#endif
  const auto greedy = [](const Write& write) {
    const std::string much(std::size_t{1} << 30, 'x');
    write(much.substr(0, 1));
  };
  EXPECT_EQ(run_in_child(greedy, {.time = 10s, .output = 100, .memory = 1 << 20}).end,
            ChildEnd::kFailed);
}

TEST(ChildProcess, SaysNoMoreThanItMay) {
  const auto chatty = [](const Write& write) {
    for (;;) {
      write("again and again");
    }
  };
  EXPECT_EQ(run_in_child(chatty, {.time = 10s, .output = 100}).end, ChildEnd::kTooMuchOutput);
}

TEST(ChildProcess, RunsPrograms) {
  EXPECT_EQ(output_of({"echo", "one", "two"}, {.time = 10s, .output = 100}), "one two\n");
  EXPECT_EQ(output_of({"false"}, {.time = 10s, .output = 100}), "");
  EXPECT_EQ(output_of({"/missing/program"}, {.time = 10s, .output = 100}), "");
}

}  // namespace
}  // namespace xenoprof
