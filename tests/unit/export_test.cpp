// SPDX-License-Identifier: GPL-2.0-or-later
#include "report/export.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "perf/data_reader.h"
#include "perf/interpret.h"
#include "stacks.h"
#include "temporary_folder.h"

namespace xenoprof {
namespace {

using Json = nlohmann::json;

const Call kMain{"/bin/a", "main", 0x1000};
const Call kSend{"[kernel]", "send", 0xffffffff81000000};
const Call kGrant{"[xen]", "grant", 0xffff82d040200000};

Profile two_domains() {
  Profile profile({{"cycles", 10}, {"misses", 20}});
  add(profile, {.calls = {kMain}, .samples = 3});
  add(profile,
      {.calls = {kMain, kSend}, .samples = 4, .mode = Mode::kKernel, .tid = 11, .vcpu = 1});
  add(profile, {.calls = {kMain, kSend, kGrant},
                .samples = 5,
                .domain = "guest1",
                .process = "b;c\n",
                .mode = Mode::kHypervisor});
  add(profile,
      {.calls = {kMain}, .samples = 7, .domain = "guest1", .process = "b;c\n", .event = 1});
  return profile;
}

template <class Write>
std::string written(const Profile& profile, const Write& write,
                    const std::vector<FilterTerm>& terms = {}) {
  const Cells cells(profile);
  auto filter = Filter::make(cells, terms);
  std::ostringstream out;
  write(NamedStacks(profile, cells, *filter), out);
  return out.str();
}

std::string folded(const Profile& profile, std::size_t event,
                   const std::vector<FilterTerm>& terms = {}) {
  return written(
      profile,
      [&](const NamedStacks& stacks, std::ostream& out) { write_folded(stacks, event, out); },
      terms);
}

TEST(Folded, IsAStackALine) {
  EXPECT_EQ(folded(two_domains(), 0),
            "dom0;a;main 3\n"
            "dom0;a;main;send 4\n"
            "guest1;b:c?;main;send;grant 5\n");
  EXPECT_EQ(folded(two_domains(), 1), "guest1;b:c?;main 7\n");
}

TEST(Folded, AddsUpThreadsAndAddresses) {
  Profile profile({{"cycles", 10}});
  add(profile, {.calls = {kMain, {"/bin/a", "f", 100}}, .samples = 1, .tid = 1});
  add(profile, {.calls = {kMain, {"/bin/a", "f", 104}}, .samples = 2, .tid = 2});
  add(profile, {.calls = {{"/bin/a", "main", 0x1004}, {"/bin/a", "f", 100}}, .samples = 4});
  EXPECT_EQ(folded(profile, 0), "dom0;a;main;f 7\n");
}

TEST(Folded, HoldsWhatPassesTheFilter) {
  EXPECT_EQ(folded(two_domains(), 0, {{Column::kDomain, false, false, "dom0"}}),
            "dom0;a;main 3\n"
            "dom0;a;main;send 4\n");
}

TEST(Speedscope, HasAProfileAnEvent) {
  const Json json = Json::parse(written(two_domains(), [](const auto& stacks, auto& out) {
    write_speedscope(stacks, {"cycles", "misses"}, 1, "a \"name\"", out);
  }));
  EXPECT_EQ(json["name"], "a \"name\"");
  EXPECT_EQ(json["activeProfileIndex"], 1);
  ASSERT_EQ(json["profiles"].size(), 2u);
  const Json& cycles = json["profiles"][0];
  EXPECT_EQ(cycles["name"], "cycles");
  EXPECT_EQ(cycles["weights"], Json::parse("[3, 4, 5]"));
  EXPECT_EQ(cycles["endValue"], 12);
  std::vector<std::string> names;
  for (const Json& frame : cycles["samples"][2]) {
    names.push_back(json["shared"]["frames"][frame.get<std::size_t>()]["name"]);
  }
  EXPECT_EQ(names, (std::vector<std::string>{"guest1", "b;c?", "main", "send", "grant"}));
}

TEST(Firefox, TablesAgree) {
  const Json json = Json::parse(written(two_domains(), [](const auto& stacks, auto& out) {
    write_firefox(stacks, "cycles", 0, "name", out);
  }));
  const Json& shared = json["shared"];
  for (const char* table : {"stackTable", "frameTable", "funcTable", "resourceTable"}) {
    for (const auto& [column, values] : shared[table].items()) {
      if (column != "length") {
        EXPECT_EQ(values.size(), shared[table]["length"]) << table << " " << column;
      }
    }
  }
  ASSERT_EQ(json["threads"].size(), 2u);
  const Json& thread = json["threads"][1];
  EXPECT_EQ(thread["processName"], "guest1");
  EXPECT_EQ(thread["samples"]["weight"], Json::parse("[5]"));
  std::vector<std::string> names;
  std::vector<std::string> categories;
  for (Json stack = thread["samples"]["stack"][0]; !stack.is_null();) {
    const auto at = stack.get<std::size_t>();
    const std::size_t frame = shared["stackTable"]["frame"][at];
    const std::size_t function = shared["frameTable"]["func"][frame];
    names.push_back(
        shared["stringArray"][shared["funcTable"]["name"][function].get<std::size_t>()]);
    categories.push_back(json["meta"]["categories"]
                             [shared["frameTable"]["category"][frame].get<std::size_t>()]["name"]);
    stack = shared["stackTable"]["prefix"][at];
  }
  EXPECT_EQ(names, (std::vector<std::string>{"grant", "send", "main"}));
  EXPECT_EQ(categories, (std::vector<std::string>{"Hypervisor", "Kernel", "User"}));
}

class PerfExport : public ::testing::Test {
 protected:
  Profile there_and_back(const Profile& profile) {
    const auto done = write_perf_data(profile, path_);
    EXPECT_TRUE(done) << done.error().message;
    auto reader = perf::DataReader::open(path_);
    EXPECT_TRUE(reader) << reader.error().message;
    perf::Interpreter interpreter(reader->layout());
    for (auto record = reader->next(); record && *record; record = reader->next()) {
      interpreter.add(**record);
    }
    return std::move(interpreter.profile());
  }

  const TemporaryFolder folder_;
  const std::filesystem::path path_ = folder_ / "perf.data";
};

TEST_F(PerfExport, BringsEverySampleUnderItsDomain) {
  const Profile back = there_and_back(two_domains());
  ASSERT_EQ(back.events(), two_domains().events());
  std::map<std::string, std::vector<std::uint64_t>> sums;
  for (const Sample& sample : back.samples()) {
    auto& sum = sums[std::string(back.text(sample.key.process))];
    sum.resize(2);
    sum[0] += sample.samples[0];
    sum[1] += sample.samples[1];
  }
  EXPECT_EQ(sums, (std::map<std::string, std::vector<std::uint64_t>>{{"dom0/a", {7, 0}},
                                                                     {"guest1/b;c\n", {5, 7}}}));
}

TEST_F(PerfExport, KeepsPlacesAndCallers) {
  const Profile back = there_and_back(two_domains());
  bool found = false;
  for (const Sample& sample : back.samples()) {
    std::vector<std::pair<std::string_view, std::uint64_t>> places;
    for (const LocationId id : back.stack(sample)) {
      const Location& location = back.locations()[id];
      places.emplace_back(back.text(back.images()[location.image].name), location.address);
    }
    if (sample.samples[0] == 4) {
      found = true;
      ASSERT_EQ(places.size(), 2u);
      EXPECT_EQ(places[0].second, kSend.address - (std::uint64_t{8} << 30));
      EXPECT_EQ(places[1], std::pair(std::string_view("/bin/a"), kMain.address));
      EXPECT_EQ(sample.key.vcpu, 1u);
      EXPECT_EQ(sample.key.tid, 11);
      EXPECT_EQ(sample.key.mode, Mode::kKernel);
    }
  }
  EXPECT_TRUE(found);
}

TEST_F(PerfExport, TellsProcessesOfOneNumberApart) {
  std::map<std::string_view, std::int32_t> pids;
  const Profile back = there_and_back(two_domains());
  for (const Sample& sample : back.samples()) {
    pids[back.text(sample.key.process)] = sample.key.pid;
  }
  ASSERT_EQ(pids.size(), 2u);
  EXPECT_NE(pids["dom0/a"], pids["guest1/b;c\n"]);
}

TEST_F(PerfExport, CutsAStackThatNoRecordHolds) {
  Profile profile({{"cycles", 10}});
  StackSample deep;
  deep.calls.assign(20'000, kMain);
  add(profile, deep);
  const Profile back = there_and_back(profile);
  ASSERT_EQ(back.total(0), 1u);
}

TEST_F(PerfExport, AClaimOfMoreSamplesThanADiskHoldsIsRefused) {
  Profile profile({{"cycles", 10}});
  StackSample one;
  one.calls = {kMain};
  add(profile, one);
  SampleKey key = profile.samples()[0].key;
  profile.add(key, 0, std::uint64_t{1} << 50);
  EXPECT_FALSE(write_perf_data(profile, path_));
}

TEST_F(PerfExport, WhatCannotBeWrittenIsASentence) {
  EXPECT_FALSE(write_perf_data(two_domains(), "/nowhere/perf.data"));
}

}  // namespace
}  // namespace xenoprof
