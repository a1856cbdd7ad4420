// SPDX-License-Identifier: GPL-2.0-or-later
// The figures of the emulated processor: what a user may set them to.
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "geometry.h"
#include "processor.h"

namespace xenoprof::pmu {
namespace {

Geometry family10h() {
  return *preset("family10h");
}

TEST(Geometry, PresetsMakeAMachine) {
  for (const char* name : {"family10h", "paper"}) {
    const auto geometry = preset(name);
    ASSERT_TRUE(geometry.has_value()) << name;
    EXPECT_TRUE(check(*geometry).has_value()) << name;
  }
  for (const char* name : {"", "Family10h", "p4"}) {
    const auto geometry = preset(name);
    ASSERT_FALSE(geometry.has_value()) << name;
    EXPECT_NE(geometry.error().find("family10h or paper"), std::string::npos);
  }
}

struct Figure {
  const char* name;
  const char* value;
  std::function<bool(const Geometry&)> is_set;
};

const std::vector<Figure>& figures() {
  static const auto is = [](const auto& pair, uint32_t size, uint32_t ways) {
    const auto& [its_size, its_ways] = pair;
    return its_size == size && its_ways == ways;
  };
  static const std::vector<Figure> all = {
      {"line", "128", [](const auto& g) { return g.line_bytes == 128; }},
      {"fetch", "16", [](const auto& g) { return g.fetch_bytes == 16; }},
      {"l1i", "32K:4", [](const auto& g) { return is(g.l1i, 32768, 4); }},
      {"l1d", "16384:8", [](const auto& g) { return is(g.l1d, 16384, 8); }},
      {"l2", "2M:16", [](const auto& g) { return is(g.l2, 2097152, 16); }},
      {"l2_shared", "on", [](const auto& g) { return g.l2_shared; }},
      {"itlb", "16", [](const auto& g) { return is(g.itlb.first[k4K], 16, 16); }},
      {"itlb_2m", "8:2", [](const auto& g) { return is(g.itlb.first[k2M], 8, 2); }},
      {"itlb_1g", "4", [](const auto& g) { return is(g.itlb.first[k1G], 4, 4); }},
      {"itlb2", "1K:4", [](const auto& g) { return is(g.itlb.second[k4K], 1024, 4); }},
      {"itlb2_2m", "64:4", [](const auto& g) { return is(g.itlb.second[k2M], 64, 4); }},
      {"itlb2_1g", "32:4", [](const auto& g) { return is(g.itlb.second[k1G], 32, 4); }},
      {"itlb_shared", "on", [](const auto& g) { return g.itlb.shared; }},
      {"dtlb", "64", [](const auto& g) { return is(g.dtlb.first[k4K], 64, 64); }},
      {"dtlb_2m", "32", [](const auto& g) { return is(g.dtlb.first[k2M], 32, 32); }},
      {"dtlb_1g", "0", [](const auto& g) { return is(g.dtlb.first[k1G], 0, 0); }},
      {"dtlb2", "256:4", [](const auto& g) { return is(g.dtlb.second[k4K], 256, 4); }},
      {"dtlb2_2m", "64:2", [](const auto& g) { return is(g.dtlb.second[k2M], 64, 2); }},
      {"dtlb2_1g", "8:4", [](const auto& g) { return is(g.dtlb.second[k1G], 8, 4); }},
      {"dtlb_shared", "on", [](const auto& g) { return g.dtlb.shared; }},
      {"branch_counters", "8K", [](const auto& g) { return g.branch_counters == 8192; }},
      {"return_stack", "12", [](const auto& g) { return g.return_stack == 12; }},
      {"branch_targets", "1024", [](const auto& g) { return g.branch_targets == 1024; }},
      {"cpi", "2", [](const auto& g) { return g.cycles_per_instruction == 2; }},
      {"l2_cycles", "9", [](const auto& g) { return g.penalties.l2 == 9; }},
      {"memory_cycles", "300", [](const auto& g) { return g.penalties.memory == 300; }},
      {"tlb2_cycles", "7", [](const auto& g) { return g.penalties.second_tlb == 7; }},
      {"walk_cycles", "0", [](const auto& g) { return g.penalties.walk == 0; }},
      {"mispredict_cycles", "15", [](const auto& g) { return g.penalties.mispredict == 15; }},
  };
  return all;
}

TEST(Geometry, EachFigureCanBeSetAndSetsNoOther) {
  for (const Figure& figure : figures()) {
    Geometry geometry = family10h();
    EXPECT_FALSE(figure.is_set(geometry)) << figure.name;
    const auto set = set_figure(geometry, figure.name, figure.value);
    ASSERT_TRUE(set.has_value()) << set.error();
    EXPECT_TRUE(*set) << figure.name;
    for (const Figure& other : figures()) {
      EXPECT_EQ(other.is_set(geometry), other.name == figure.name)
          << figure.name << " and " << other.name;
    }
    EXPECT_TRUE(check(geometry).has_value()) << figure.name;
  }
}

TEST(Geometry, SwitchesGoBothWays) {
  Geometry geometry = family10h();
  EXPECT_TRUE(set_figure(geometry, "l2_shared", "on").has_value());
  EXPECT_TRUE(set_figure(geometry, "l2_shared", "off").has_value());
  EXPECT_FALSE(geometry.l2_shared);
}

TEST(Geometry, OtherNamesAreLeftToOthers) {
  Geometry geometry = family10h();
  for (const char* name : {"", "stats", "l3", "itlb3", "dtlb_4m", "dtlb2_", "xtlb", "itlb_2m_"}) {
    const auto set = set_figure(geometry, name, "1");
    ASSERT_TRUE(set.has_value()) << name;
    EXPECT_FALSE(*set) << name;
  }
}

TEST(Geometry, ABadValueIsRefusedByNameAndChangesNothing) {
  struct Bad {
    const char* name;
    const char* value;
    const char* wanted;
  };
  std::vector<Bad> bad;
  for (const char* value : {"", "K", "x", "-1", "+1", " 1", "1 ", "0x10", "1.5", "1G", "64k", "1KK",
                            "99999999999999999999", "4294967296", "4095M", "1073741825", "1:1"}) {
    bad.push_back({"memory_cycles", value, "a number"});
  }
  for (const char* value :
       {"", ":", "64K", "64K:", ":2", "64K:2:2", "64K:x", "x:2", "64K,2", "-1:2"}) {
    bad.push_back({"l1d", value, "BYTES:WAYS"});
  }
  for (const char* value : {"", ":", "512:", ":4", "512:4:4", "x", "-1"}) {
    bad.push_back({"dtlb2_2m", value, "ENTRIES:WAYS"});
  }
  for (const char* value : {"", "1", "yes", "ON", "onn"}) {
    bad.push_back({"l2_shared", value, "on or off"});
  }
  for (const Bad& one : bad) {
    Geometry geometry = family10h();
    const auto set = set_figure(geometry, one.name, one.value);
    ASSERT_FALSE(set.has_value()) << one.name << "=" << one.value;
    EXPECT_TRUE(set.error().starts_with(std::string(one.name) + "=" + one.value + ": expected "))
        << set.error();
    EXPECT_NE(set.error().find(one.wanted), std::string::npos) << set.error();
    for (const Figure& figure : figures()) {
      EXPECT_FALSE(figure.is_set(geometry)) << one.name << "=" << one.value;
    }
  }
}

TEST(Geometry, FiguresThatMakeNoMachineAreRefused) {
  struct Bad {
    const char* name;
    const char* value;
    const char* of;  // in the sentence
  };
  for (const Bad& bad : {
           Bad{"line", "0", "line"},
           Bad{"line", "48", "line"},
           Bad{"line", "8", "line"},
           Bad{"line", "8K", "line"},
           Bad{"fetch", "0", "fetch"},
           Bad{"fetch", "33", "fetch"},
           Bad{"fetch", "1M", "fetch"},
           Bad{"l1i", "0:1", "cache"},
           Bad{"l1i", "64K:0", "cache"},
           Bad{"l1d", "0:0", "cache"},
           Bad{"l1d", "48K:2", "cache"},
           Bad{"l1d", "64K:3", "cache"},
           Bad{"l1d", "100:1", "cache"},
           Bad{"l1d", "64K:2K", "cache"},
           Bad{"l2", "128M:16", "cache"},
           Bad{"l2", "1024M:1", "cache"},
           Bad{"dtlb", "0", "first-level"},
           Bad{"itlb", "0:4", "first-level"},
           Bad{"dtlb", "48:0", "TLB"},
           Bad{"dtlb2", "512:3", "TLB"},
           Bad{"dtlb2", "48:4", "TLB"},
           Bad{"dtlb2_1g", "128K", "TLB"},
           Bad{"itlb2_2m", "8:1024M", "TLB"},
           Bad{"branch_counters", "0", "branch_counters"},
           Bad{"branch_counters", "1000", "branch_counters"},
           Bad{"branch_counters", "32M", "branch_counters"},
           Bad{"branch_targets", "0", "branch_targets"},
           Bad{"branch_targets", "3", "branch_targets"},
           Bad{"branch_targets", "1024M", "branch_targets"},
           Bad{"return_stack", "65537", "return_stack"},
           Bad{"cpi", "0", "cpi"},
       }) {
    Geometry geometry = family10h();
    ASSERT_TRUE(set_figure(geometry, bad.name, bad.value).has_value()) << bad.name;
    const auto checked = check(geometry);
    ASSERT_FALSE(checked.has_value()) << bad.name << "=" << bad.value;
    EXPECT_NE(checked.error().find(bad.of), std::string::npos) << checked.error();
  }
  Geometry geometry = family10h();
  geometry.itlb.shared = true;
  geometry.itlb.first[k4K] = {64, 4};
  EXPECT_FALSE(check(geometry).has_value());
  geometry.itlb.first[k4K] = {64, 64};
  EXPECT_TRUE(check(geometry).has_value());
}

class NoMachine final : public Processor::Machine {
 public:
  AddressSpace address_space() override { return {.cr0 = 1u << 31, .long_mode = true}; }
  bool is_device(uint64_t) override { return false; }
  uint64_t read(uint64_t) override { return 1; }  // all maps to page 0
};

class NoListener final : public Processor::Listener {
 public:
  void happened(Source, Mode, uint64_t) override {}
};

// Two figures at a time, as bad ones may hide behind each other.
TEST(Geometry, WhatIsNotRefusedCanBeBuiltAndUsed) {
  const std::vector<const char*> values = {
      "0",   "1",   "3",   "16",   "48",    "4096",   "65536",   "1024M", "0:0",
      "0:1", "1:0", "1:1", "48:3", "48:48", "64:64",  "64K:0",   "64K:1", "64K:65536",
      "on",  "off", "1:2", "64:1", "16:1",  "64K:64", "64K:256", "",
  };
  unsigned built = 0;
  NoMachine machine;
  NoListener listener;
  const size_t choices = figures().size() * values.size();
  for (size_t i = 0; i < choices; ++i) {
    Geometry geometry = *preset(i % 2 == 0 ? "family10h" : "paper");
    for (const size_t choice : {i, i * 7919 % choices}) {
      const char* const name = figures()[choice / values.size()].name;
      const auto set = set_figure(geometry, name, values[choice % values.size()]);
      EXPECT_TRUE(set.has_value() || !set.error().empty());
    }
    if (const auto checked = check(geometry); !checked) {
      EXPECT_FALSE(checked.error().empty());
      continue;
    }
    ++built;
    SecondLevel second_level(geometry);
    Processor processor(geometry, second_level, machine, listener);
    processor.set_parts(parts_for(~SourceSet{0}));
    for (uint64_t address = 0; address < 1 << 20; address += 12345) {
      processor.access(address, kUser);
      processor.fetch(address, 100, kKernel);
      processor.branch(InstructionKind::kCall, address, address + 2, address + 100, kUser);
      processor.branch(InstructionKind::kConditional, address, address + 2, address, kUser);
      processor.branch(InstructionKind::kIndirectCall, address, address + 2, address, kUser);
      processor.branch(InstructionKind::kReturn, address, address + 2, address, kUser);
    }
    processor.flush_page(0);
    processor.flush_everything();
  }
  EXPECT_GT(built, 50u);
}

}  // namespace
}  // namespace xenoprof::pmu
