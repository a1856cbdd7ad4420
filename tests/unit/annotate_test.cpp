// SPDX-License-Identifier: GPL-2.0-or-later
// On tests/programs/inlined.cpp and kernel.c as the compiler left them.
#include "report/annotate.h"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "model/text.h"
#include "symbols/image_code.h"
#include "symbols/instructions.h"
#include "symbols/resolve.h"
#include "temporary_folder.h"

namespace xenoprof {
namespace {

using Json = nlohmann::json;

constexpr const char* kProgram = XENOPROF_INLINED;

class AnnotateTest : public testing::Test {
 protected:
  AnnotateTest() {
    DebugSearch search;
    const auto image = read_elf(kProgram, search);
    EXPECT_TRUE(image) << image.error().message;
    build_id_ = image->file.build_id();
    for (std::uint64_t offset = 0x1000; offset < 0x3000; ++offset) {
      const auto symbol = image->symbols.find(offset);
      if (symbol && symbol->name == std::string_view("_ZN5outer4workEi")) {
        work_ = {symbol->start, symbol->end, {}};
        break;
      }
    }
    EXPECT_NE(work_.start, 0u);
  }

  void add(std::uint64_t address, std::size_t event, std::uint64_t samples,
           std::string_view domain = "dom0", std::string_view image = kProgram) {
    SampleKey key{.domain = profile_.intern(domain), .process = profile_.intern("inlined")};
    const LocationId leaf = profile_.add_location(profile_.add_image(image, build_id_), address);
    key.stack = profile_.add_stack(std::vector<LocationId>{leaf});
    profile_.add(key, event, samples);
  }
  void name(std::string_view symbol) {
    for (LocationId id = 0; id < profile_.locations().size(); ++id) {
      profile_.set_symbol(id, profile_.intern(symbol));
    }
  }
  Json json(AnnotateOptions options = {.symbol = "outer::work"}) const {
    options.format = Format::kJson;
    const auto text = annotate(profile_, options);
    EXPECT_TRUE(text) << text.error().message;
    return text ? Json::parse(*text) : Json();
  }
  std::string error(const AnnotateOptions& options) const {
    const auto text = annotate(profile_, options);
    return text ? "" : text.error().message;
  }

  Profile profile_{{{"cycles", 1000}, {"misses", 10}}};
  std::string build_id_;
  Symbol work_;
};

std::uint64_t sum(const Json& rows, const char* event) {
  std::uint64_t sum = 0;
  for (const Json& row : rows) {
    sum += row["samples"][event].get<std::uint64_t>();
  }
  return sum;
}

std::string note_of(const Json& whole) {
  const Json& notes = whole["notes"];
  return notes.empty() ? "" : notes[0].get<std::string>();
}

TEST_F(AnnotateTest, NoSampleIsLost) {
  for (std::uint64_t address = work_.start; address < work_.end; ++address) {
    add(address, 0, 3);
    add(address, 1, 1);
  }
  resolve(profile_);
  const std::uint64_t size = work_.end - work_.start;
  const Json whole = json();
  ASSERT_EQ(whole["functions"].size(), 1u);
  const Json& function = whole["functions"][0];
  EXPECT_EQ(sum(function["instructions"], "cycles"), 3 * size) << "in their middle, too";
  EXPECT_EQ(sum(function["instructions"], "misses"), size);
  std::uint64_t in_files = 0;
  for (const Json& file : function["files"]) {
    EXPECT_EQ(sum(file["lines"], "cycles"), file["samples"]["cycles"].get<std::uint64_t>());
    in_files += file["samples"]["cycles"].get<std::uint64_t>();
  }
  EXPECT_EQ(in_files, 3 * size) << "each instruction has a line";
  EXPECT_EQ(whole["notes"], Json::array());
}

TEST_F(AnnotateTest, SamplesStandAtTheirInstructionAndItsLine) {
  add(work_.start, 0, 7);
  resolve(profile_);
  const Json whole = json();
  const Json& function = whole["functions"][0];
  const Json& first = function["instructions"][0];
  EXPECT_EQ(first["samples"]["cycles"], 7);
  EXPECT_NE(first["text"], "");
  const Json& line = first["lines"][0];
  for (const Json& one : function["files"][0]["lines"]) {
    EXPECT_EQ(one["samples"]["cycles"], one["line"] == line["line"] ? 7 : 0);
    EXPECT_TRUE(one.contains("text"));
  }
}

TEST_F(AnnotateTest, TheTextMarksWhatIsHotAndElidesWhatIsCold) {
  add(work_.start, 0, 999);
  add(work_.end - 1, 0, 1);
  resolve(profile_);
  const auto text = annotate(profile_, {.symbol = "work"});
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_NE(text->find("outer::work in "), std::string::npos) << *text;
  EXPECT_NE(text->find("\n\u25b8  99.9      999"), std::string::npos) << *text;
  EXPECT_NE(text->find("\n    0.1        1"), std::string::npos) << *text;
  EXPECT_NE(text->find("instructions without samples"), std::string::npos) << *text;
  EXPECT_EQ(text->find("misses  "), std::string::npos) << "a column for nothing: " << *text;
  EXPECT_EQ(text->find('\x1b'), std::string::npos) << "colour without a terminal";
}

TEST_F(AnnotateTest, AnotherFilesCodeIsNotShown) {
  build_id_ = "0123456789";
  add(work_.start, 0, 7);
  name("outer::work");
  const Json whole = json();
  EXPECT_NE(note_of(whole).find("its build-id is another"), std::string::npos);
  const Json& instruction = whole["functions"][0]["instructions"][0];
  EXPECT_EQ(instruction["address"], work_.start);
  EXPECT_FALSE(instruction.contains("text"));
  EXPECT_EQ(instruction["samples"]["cycles"], 7);
}

TEST_F(AnnotateTest, WithoutABuildIdNoCodeIsShown) {
  build_id_ = "";
  add(work_.start, 0, 7);
  name("outer::work");
  const Json whole = json();
  EXPECT_NE(note_of(whole).find("it has no build-id"), std::string::npos);
  EXPECT_FALSE(whole["functions"][0]["instructions"][0].contains("text"));
}

TEST_F(AnnotateTest, LinesOfAnotherMachineAreShownWithoutTheirText) {
  build_id_ = "0123456789";
  add(work_.start, 0, 7);
  name("outer::work");
  // This file is here, but nobody knows whether it is that machine's.
  profile_.set_lines(
      0, profile_.intern({{profile_.intern("outer::work"), profile_.intern("/etc/passwd"), 1}}));
  const Json whole = json();
  const Json& line = whole["functions"][0]["files"][0]["lines"][0];
  EXPECT_EQ(line["line"], 1);
  EXPECT_EQ(line["samples"]["cycles"], 7);
  EXPECT_FALSE(line.contains("text"));
}

TEST_F(AnnotateTest, TheHypervisorHasAddressesOnly) {
  build_id_ = "";
  add(0xffff82d040200010, 0, 7, "dom0", kXenImage);
  name("do_mmu_update");
  const Json whole = json({.symbol = "do_mmu_update"});
  EXPECT_NE(note_of(whole).find("Xen's memory cannot be read"), std::string::npos);
  EXPECT_NE(note_of(whole).find("--vmlinux FILE"), std::string::npos);
  EXPECT_EQ(whole["functions"][0]["instructions"][0]["address"], 0xffff82d040200010);
}

// On tests/programs/kernel.c, loaded 0x1a000000 higher than it was linked to.
class KernelAnnotateTest : public testing::Test {
 protected:
  static constexpr const char* kFile = XENOPROF_KERNEL;
  static constexpr std::uint64_t kMoved = 0x1a000000;

  KernelAnnotateTest() {
    auto file = ElfFile::open(kFile);
    EXPECT_TRUE(file) << file.error().message;
    build_id_ = file->build_id();
    EXPECT_NE(build_id_, "");
    const ElfImage image = whole_image(*std::move(file));
    for (std::uint64_t address = 0xffffffff81000000; address < 0xffffffff81001000; ++address) {
      const auto offset = image.file.offset_of(address);
      const auto symbol = offset ? image.symbols.find(*offset) : std::nullopt;
      if (symbol && symbol->start == *offset) {
        start_of_[std::string(symbol->name)] = address + kMoved;
      }
    }
    EXPECT_TRUE(start_of_.contains("update_time") && start_of_.contains("update_load"));
  }
  // Samples of `function`, `by` bytes behind its start.
  void add(const std::string& function, std::uint64_t samples, std::string_view name = "",
           std::uint64_t by = 0) {
    const LocationId leaf =
        profile_.add_location(profile_.add_image(kKernelImage, build_id_), start_of_[function] + by,
                              profile_.intern(name.empty() ? std::string_view(function) : name));
    const StackId stack = profile_.add_stack(std::vector{leaf});
    profile_.add({.stack = stack, .mode = Mode::kKernel}, 0, samples);
  }
  Json json(const std::string& symbol) const {
    const auto text =
        annotate(profile_, {.symbol = symbol, .vmlinux = kFile, .format = Format::kJson});
    EXPECT_TRUE(text) << text.error().message;
    return text ? Json::parse(*text) : Json();
  }

  Profile profile_{{{"cycles", 1000}}};
  std::string build_id_;
  std::map<std::string, std::uint64_t> start_of_;
};

TEST_F(KernelAnnotateTest, CodeAndSourceAreThoseOfTheGivenFileWhereverItWasLoaded) {
  add("update_time", 7);
  add("update_load", 2);
  const Json whole = json("update_time");
  EXPECT_EQ(whole["notes"], Json::array());
  const Json& function = whole["functions"][0];
  const Json& first = function["instructions"][0];
  EXPECT_EQ(first["address"], start_of_["update_time"]);
  EXPECT_EQ(first["samples"]["cycles"], 7);
  EXPECT_NE(first["text"], "");
  EXPECT_EQ(first["lines"].back()["function"], "update_time");
  EXPECT_NE(function["files"][0]["path"].get<std::string>().find("kernel.c"), std::string::npos);
  EXPECT_TRUE(function["files"][0]["lines"][0].contains("text"));
}

TEST_F(KernelAnnotateTest, TheFileIsFoundWhereDistributionsPutIt) {
  const std::vector<NamedAddress> functions = {{start_of_["update_time"], "update_time"}};
  for (const std::string& where :
       {".build-id/" + build_id_.substr(0, 2) + "/" + build_id_.substr(2) + ".debug",
        std::string("boot/vmlinux-6.1.0"), std::string("lib/modules/6.1.0/vmlinux")}) {
    const TemporaryFolder root;
    std::filesystem::create_directories((root / where).parent_path());
    std::filesystem::create_symlink(kFile, root / where);
    EXPECT_TRUE(ImageCode::open(
        kKernelImage, build_id_,
        {.file = {}, .functions = functions, .debug = {.root = root.path(), .debuginfod = {}}}))
        << where;
    EXPECT_FALSE(ImageCode::open(
        kKernelImage, "0123456789",
        {.file = {}, .functions = functions, .debug = {.root = root.path(), .debuginfod = {}}}))
        << where;
  }
}

TEST_F(KernelAnnotateTest, OneOfManyFunctionsMayHaveAnotherNameThere) {
  add("update_time", 7);
  add("update_time", 1, "", 1);
  add("update_load", 2, "update_alias");
  const Json whole = json("update_alias");
  EXPECT_EQ(whole["notes"], Json::array());
  EXPECT_EQ(whole["functions"][0]["instructions"][0]["samples"]["cycles"], 2);
}

TEST_F(KernelAnnotateTest, AFileWhoseFunctionsLieElsewhereIsNotUsed) {
  add("update_time", 7, "update_load");
  add("update_load", 2, "update_time");
  const Json whole = json("update_load");
  EXPECT_NE(note_of(whole).find("do not lie as they did"), std::string::npos) << note_of(whole);
  EXPECT_FALSE(whole["functions"][0]["instructions"][0].contains("text"));
}

TEST_F(KernelAnnotateTest, AnotherKernelsFileIsNotUsed) {
  build_id_ = "0123456789";
  add("update_time", 7);
  const Json whole = json("update_time");
  EXPECT_NE(note_of(whole).find("is not the [kernel] that ran"), std::string::npos)
      << note_of(whole);
  EXPECT_FALSE(whole["functions"][0]["instructions"][0].contains("text"));
}

TEST_F(KernelAnnotateTest, WithoutAFileASentenceSaysWhatToDo) {
  build_id_ = "0123456789";
  add("update_time", 7);
  const auto text = annotate(profile_, {.symbol = "update_time", .format = Format::kJson});
  ASSERT_TRUE(text) << text.error().message;
  const std::string note = note_of(Json::parse(*text));
  EXPECT_NE(note.find("there is no file of it here"), std::string::npos) << note;
  EXPECT_NE(note.find("--vmlinux FILE"), std::string::npos) << note;
}

TEST_F(AnnotateTest, FiltersChooseTheSamples) {
  add(work_.start, 0, 7, "guest1");
  add(work_.start, 0, 5, "guest2");
  resolve(profile_);
  const Json whole =
      json({.symbol = "outer::work", .filter = {{.column = Column::kDomain, .text = "guest2"}}});
  EXPECT_EQ(whole["samples"]["cycles"], 5);
  EXPECT_EQ(whole["totals"]["cycles"], 5);
}

TEST_F(AnnotateTest, OfSeveralImagesTheHottestIsShownAndTheOthersAreSaid) {
  add(work_.start, 0, 7, "dom0", "/one");
  add(work_.start, 0, 9, "dom0", "/two");
  name("same");
  const Json whole = json({.symbol = "same"});
  EXPECT_EQ(whole["image"], "/two");
  EXPECT_NE(note_of(whole).find("same in /one, 7 samples"), std::string::npos);
  const Json one = json({.symbol = "same", .image = "/one", .filter = {}});
  EXPECT_EQ(one["image"], "/one");
  EXPECT_EQ(one["totals"]["cycles"], 16) << "what is not shown is still of the whole";
  EXPECT_NE(error({.symbol = "same", .image = "/one", .filter = {}, .vmlinux = "/vmlinux"})
                .find("-k is the file of the kernel"),
            std::string::npos);
}

TEST_F(AnnotateTest, SaysWhatTheNameCouldBe) {
  add(work_.start, 0, 7);
  name("outer::work");
  profile_.set_lines(0, profile_.intern({{profile_.intern("outer::small"), 0, 0},
                                         {profile_.intern("outer::work"), 0, 0}}));
  EXPECT_EQ(error({.symbol = "work"}), "");
  EXPECT_NE(error({.symbol = "wor"}).find("some fell into outer::work."), std::string::npos);
  EXPECT_NE(error({.symbol = "small"}).find("is inlined: its samples are in outer::work."),
            std::string::npos);
  EXPECT_NE(error({.symbol = "nothing"}).find("No sample fell into a function nothing"),
            std::string::npos);
  EXPECT_NE(error({.symbol = "work", .filter = {{.column = Column::kVcpu, .text = "7"}}})
                .find("no samples"),
            std::string::npos);
}

TEST(Instructions, AreThoseOfTheCode) {
  const std::string_view code("\x48\x89\xe5\x90\xc3\x06", 6);  // the last is none in 64-bit mode
  const auto instructions = disassemble(code, 0x400000);
  ASSERT_EQ(instructions.size(), 4u);
  EXPECT_EQ(instructions[0].text, "mov rbp, rsp");
  EXPECT_EQ(instructions[0].size, 3u);
  EXPECT_EQ(instructions[2].address, 0x400004u);
  EXPECT_EQ(instructions[2].text, "ret");
  EXPECT_EQ(instructions[3].text, ".byte 0x06");
  EXPECT_TRUE(disassemble("", 0).empty());
}

}  // namespace
}  // namespace xenoprof
