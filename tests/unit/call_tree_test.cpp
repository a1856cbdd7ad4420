// SPDX-License-Identifier: GPL-2.0-or-later
// What called what: rows with children, and the trees of callers and callees.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "report/report.h"
#include "stacks.h"

namespace xenoprof {
namespace {

using Json = nlohmann::json;

Json json_of(const Profile& profile, ReportOptions options) {
  options.format = Format::kJson;
  const auto text = report(profile, nullptr, options);
  EXPECT_TRUE(text) << text.error().message;
  return text ? Json::parse(*text) : Json();
}

// "symbol self/total" lines.
std::string rows_of(const Json& json) {
  std::string text;
  for (const Json& row : json["rows"]) {
    text += std::string(2 * row.value("depth", 0u), ' ') + row["symbol"].get<std::string>() + " " +
            std::to_string(row["samples"]["cycles"].get<int>()) + "/" +
            std::to_string(row["total"]["cycles"].get<int>()) + "\n";
  }
  return text;
}

const Call kMain{"/bin/a", "main"};
const Call kWalk{"/bin/a", "walk"};
const Call kLook{"/bin/a", "look"};
const Call kSend{"[kernel]", "send"};

// main -> look (1); main -> walk -> walk -> look (4); main -> walk -> send (2); walk alone (8)
Profile recursive() {
  Profile profile({{"cycles", 10}});
  add(profile, {.calls = {kMain, kLook}, .samples = 1});
  add(profile, {.calls = {kMain, kWalk, kWalk, kLook}, .samples = 4});
  add(profile, {.calls = {kMain, kWalk, kSend}, .samples = 2, .mode = Mode::kKernel});
  add(profile, {.calls = {kWalk}, .samples = 8});
  return profile;
}

TEST(Children, CountASampleOnceHoweverDeepTheRecursion) {
  EXPECT_EQ(rows_of(json_of(recursive(), {.columns = {Column::kSymbol}, .children = true})),
            "walk 8/14\nmain 0/7\nlook 5/5\nsend 2/2\n");
}

TEST(Children, KeepProcessesApartAndAddTheirThreads) {
  Profile profile({{"cycles", 10}});
  add(profile, {.calls = {kMain, kLook}, .samples = 1, .process = "one", .tid = 1});
  add(profile, {.calls = {kMain, kLook}, .samples = 2, .process = "one", .tid = 2});
  add(profile, {.calls = {kMain}, .samples = 4, .process = "two"});
  const Json json =
      json_of(profile, {.columns = {Column::kProcess, Column::kSymbol}, .children = true});
  EXPECT_EQ(rows_of(json), "main 4/4\nlook 3/3\nmain 0/3\n");
}

TEST(Children, GiveEachFrameTheModeOfItsOwnCode) {
  const Json json =
      json_of(recursive(), {.columns = {Column::kSymbol, Column::kMode}, .children = true});
  for (const Json& row : json["rows"]) {
    EXPECT_EQ(row["mode"], row["symbol"] == "send" ? "kernel" : "user") << row;
  }
}

// A KVM host's work for guest1: the kernel's and QEMU's code are the hypervisor then, and what they
// are elsewhere.
Profile served() {
  Profile profile({{"cycles", 10}});
  const Call run{"[kvm]", "vcpu_run"};
  add(profile,
      {.calls = {kMain, run}, .samples = 3, .domain = "guest1", .mode = Mode::kHypervisor});
  add(profile,
      {.calls = {kMain, run, kMain}, .samples = 4, .domain = "guest1", .mode = Mode::kHypervisor});
  add(profile, {.calls = {kMain, run}, .samples = 8, .domain = "host", .mode = Mode::kKernel});
  return profile;
}

TEST(Children, OfCodeThatTheKernelMadeAreTheKernels) {
  Profile profile({{"cycles", 10}});
  const Call program{"bpf_prog_6deef7357e7b4530_sd_fw_egress", "bpf_prog_6deef7357e7b4530"};
  add(profile, {.calls = {kMain, kSend, program}, .samples = 1, .mode = Mode::kKernel});
  const Json json =
      json_of(profile, {.columns = {Column::kSymbol, Column::kMode}, .children = true});
  for (const Json& row : json["rows"]) {
    EXPECT_EQ(row["mode"], row["symbol"] == "main" ? "user" : "kernel") << row;
  }
}

TEST(Children, OfAHostsWorkForAGuestAreTheHypervisors) {
  const auto text = [](const std::vector<Column>& columns, const char* domain) {
    std::string text;
    const Json json = json_of(served(), {.filter = {{Column::kDomain, false, false, domain}},
                                         .columns = columns,
                                         .children = true});
    for (const Json& row : json["rows"]) {
      for (const Column column : columns) {
        text += row[to_string(column)].get<std::string>() + " ";
      }
      text += std::to_string(row["samples"]["cycles"].get<int>()) + "/" +
              std::to_string(row["total"]["cycles"].get<int>()) + "\n";
    }
    return text;
  };
  EXPECT_EQ(text({Column::kMode, Column::kSymbol}, "host"), "user main 0/8\nkernel vcpu_run 8/8\n");
  EXPECT_EQ(text({Column::kMode, Column::kSymbol}, "guest1"),
            "hypervisor main 4/7\nhypervisor vcpu_run 3/7\n");
  EXPECT_EQ(text({Column::kMode}, "guest1"), "hypervisor 7/7\n") << "a stack counts once";
}

TEST(Children, SelfIsWhatTheFlatViewHas) {
  const std::vector<Column> columns = {Column::kDomain, Column::kProcess, Column::kSymbol};
  const Json flat = json_of(recursive(), {.columns = columns});
  const Json json = json_of(recursive(), {.columns = columns, .children = true});
  for (const Json& row : json["rows"]) {
    int expected = 0;
    for (const Json& one : flat["rows"]) {
      expected += one["symbol"] == row["symbol"] ? one["samples"]["cycles"].get<int>() : 0;
    }
    EXPECT_EQ(row["samples"]["cycles"], expected) << row;
  }
}

TEST(Children, LookAtTheSamplesThatPassTheFilter) {
  EXPECT_EQ(rows_of(json_of(recursive(), {.filter = {{Column::kSymbol, false, false, "look"}},
                                          .columns = {Column::kSymbol},
                                          .children = true})),
            "look 5/5\nmain 0/5\nwalk 0/4\n");
}

std::string tree(const Profile& profile, const char* symbol, Direction direction,
                 std::optional<std::size_t> top = {}) {
  return rows_of(json_of(profile, {.function = AskedFunction{symbol, direction}, .top = top}));
}

TEST(Callees, BeginAtTheOutermostCall) {
  EXPECT_EQ(tree(recursive(), "walk", Direction::kCallees),
            "walk 8/14\n"
            "  walk 0/4\n"
            "    look 4/4\n"
            "  send 2/2\n");
}

TEST(Callers, BeginAtTheInnermostCall) {
  // Self: where the chain of callers ends.
  EXPECT_EQ(tree(recursive(), "walk", Direction::kCallers),
            "walk 8/14\n"
            "  walk 0/4\n"
            "    main 4/4\n"
            "  main 2/2\n");
  EXPECT_EQ(tree(recursive(), "look", Direction::kCallers),
            "look 0/5\n"
            "  walk 0/4\n"
            "    walk 0/4\n"
            "      main 4/4\n"
            "  main 1/1\n");
}

TEST(Callers, AddressesOfAFunctionAreOne) {
  Profile profile({{"cycles", 10}});
  add(profile, {.calls = {{"/bin/a", "main", 1}, {"/bin/a", "f", 100}}, .samples = 1});
  add(profile, {.calls = {{"/bin/a", "main", 2}, {"/bin/a", "f", 101}}, .samples = 2});
  EXPECT_EQ(tree(profile, "f", Direction::kCallers), "f 0/3\n  main 3/3\n");
}

TEST(Callers, OfFunctionsOfOneNameStandApartByImage) {
  Profile profile({{"cycles", 10}});
  add(profile, {.calls = {{"/bin/a", "main"}}, .samples = 1});
  add(profile, {.calls = {{"/bin/b", "main"}}, .samples = 2});
  EXPECT_EQ(tree(profile, "main", Direction::kCallers), "main 2/2\nmain 1/1\n");
}

TEST(CallTree, TopKeepsTheHeaviestTogether) {
  EXPECT_EQ(tree(recursive(), "walk", Direction::kCallees, 3),
            "walk 8/14\n  walk 0/4\n    look 4/4\n");
  const auto text = report(recursive(), nullptr,
                           {.function = AskedFunction{"walk", Direction::kCallees}, .top = 3});
  ASSERT_TRUE(text);
  EXPECT_NE(text->find("Lighter branches are left out"), std::string::npos) << *text;
}

TEST(CallTree, AFunctionThatIsNotThereIsASentence) {
  const auto none = report(recursive(), nullptr, {.function = AskedFunction{"wal", {}}});
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().message, "There is no function wal in this profile; there is: walk.");
  EXPECT_FALSE(report(Profile(), nullptr, {.function = AskedFunction{"x", {}}}));
}

TEST(CallTree, IndentsOnlyWhereItBranches) {
  const auto text =
      report(recursive(), nullptr, {.function = AskedFunction{"walk", Direction::kCallees}});
  ASSERT_TRUE(text);
  EXPECT_NE(text->find("  walk      /bin"), 0u);
  EXPECT_NE(text->find("\u251c walk"), std::string::npos) << *text;
  EXPECT_NE(text->find("\u2502 look"), std::string::npos) << *text;
  EXPECT_NE(text->find("\u2514 send"), std::string::npos) << *text;
}

TEST(CallTree, ADeepStackIsNoProblem) {
  Profile profile({{"cycles", 10}});
  StackSample deep;
  deep.calls.assign(10'000, kWalk);
  deep.calls.front() = kMain;
  add(profile, deep);
  EXPECT_EQ(
      json_of(profile, {.function = AskedFunction{"walk", Direction::kCallees}})["rows"].size(),
      9'999u);
  EXPECT_TRUE(report(profile, nullptr,
                     {.function = AskedFunction{"walk", Direction::kCallers}, .top = 10}));
  EXPECT_EQ(rows_of(json_of(profile, {.columns = {Column::kSymbol}, .children = true})),
            "main 0/1\nwalk 1/1\n");
}

// A stack of distinct functions must not take its depth squared.
TEST(Children, ADeepStackIsNoProblem) {
  Profile profile({{"cycles", 10}});
  const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (int i = 0; i < 200'000; ++i) {
      all.push_back("f" + std::to_string(i));
    }
    return all;
  }();
  StackSample deep;
  deep.calls.clear();
  for (std::size_t i = 0; i < names.size(); ++i) {
    deep.calls.push_back({"/bin/a", names[i].c_str(), i + 1});
  }
  add(profile, deep);
  const auto text = report(profile, nullptr, {.children = true, .top = 1});
  ASSERT_TRUE(text);
  EXPECT_NE(text->find("199,999 more rows"), std::string::npos) << *text;
}

}  // namespace
}  // namespace xenoprof
