// SPDX-License-Identifier: GPL-2.0-or-later
#include "hypervisor/event_codes.h"

#include <gtest/gtest.h>
#include <stdlib.h>

namespace xenoprof {
namespace {

// The emulated machine's CPU, whatever this one is.
class OnFamily10h : public testing::Environment {
  void SetUp() override { setenv("LIBPFM_FORCE_PMU", "amd64_fam10h_barcelona", 1); }
};
const auto* const environment = testing::AddGlobalTestEnvironment(new OnFamily10h);

TEST(ParseEvent, TakesTheCountAfterTheLastColon) {
  EXPECT_EQ(parse_event("instructions:1000000"), (Event{"instructions", 1000000}));
  EXPECT_EQ(parse_event("L2_CACHE_MISS:ALL:20000"), (Event{"L2_CACHE_MISS:ALL", 20000}));
}

TEST(ParseEvent, RefusesWhatIsNoNameAndCount) {
  for (const char* text : {"", "instructions", "instructions:", ":100000", "instructions:many",
                           "instructions:1e6", "instructions:-100000"}) {
    EXPECT_FALSE(parse_event(text)) << text;
  }
}

TEST(ParseEvent, NamesTheLimitsOfTheCount) {
  const auto low = parse_event("instructions:100");
  ASSERT_FALSE(low);
  EXPECT_NE(low.error().message.find("10000"), std::string::npos) << low.error().message;
  EXPECT_FALSE(parse_event("instructions:2147483648"));
  EXPECT_TRUE(parse_event("instructions:2147483647"));
}

// AMD BKDG 31116, "Performance Counter Events": C0h, 76h, C2h.
TEST(EncodeEvent, KnowsTheAliasesAndTheCpusOwnNames) {
  EXPECT_EQ(encode_event("instructions"), (EventCode{0xc0, 0}));
  EXPECT_EQ(encode_event("cycles"), (EventCode{0x76, 0}));
  EXPECT_EQ(encode_event("branches"), (EventCode{0xc2, 0}));
  EXPECT_EQ(encode_event("RETIRED_INSTRUCTIONS"), (EventCode{0xc0, 0}));
  EXPECT_EQ(encode_event("REQUESTS_TO_L2:DATA"), (EventCode{0x7d, 0x02}));
}

TEST(EncodeEvent, TakesTheSelectRegistersValue) {
  EXPECT_EQ(encode_event("r1c0"), (EventCode{0xc0, 0x01}));
  EXPECT_EQ(encode_event("r1000002d4"), (EventCode{0x1d4, 0x02}));
  // Edge, or a mode, would count something else than Xenoprof does.
  for (const char* name : {"r", "r40076", "r100c0", "rc0x"}) {
    EXPECT_FALSE(encode_event(name)) << name;
  }
}

TEST(EncodeEvent, OffersTheNearestNames) {
  const auto code = encode_event("instrutions");
  ASSERT_FALSE(code);
  EXPECT_NE(code.error().message.find("instructions"), std::string::npos) << code.error().message;
  const auto part = encode_event("DTLB");
  ASSERT_FALSE(part);
  EXPECT_NE(part.error().message.find("L1_DTLB"), std::string::npos) << part.error().message;
}

TEST(ListEvents, ListsTheAliasesFirst) {
  const auto events = list_events();
  ASSERT_TRUE(events);
  ASSERT_GT(events->size(), 50u);
  EXPECT_EQ(events->at(0).name, "instructions");
  EXPECT_EQ(events->at(0).alias_of, "RETIRED_INSTRUCTIONS");
}

}  // namespace
}  // namespace xenoprof
