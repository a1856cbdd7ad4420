// SPDX-License-Identifier: GPL-2.0-or-later
#include "report/report.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "report/text_cells.h"

namespace xenoprof {
namespace {

using Json = nlohmann::json;

struct Fall {
  const char* domain = "dom0";
  const char* process = "bash";
  const char* image = "/usr/bin/bash";
  const char* symbol = "main";
  Mode mode = Mode::kUser;
  std::uint64_t address = 0x1000;
  std::uint32_t vcpu = 0;
};

void add(Profile& profile, const Fall& fall, std::uint64_t samples, std::size_t event = 0) {
  SampleKey key;
  key.domain = profile.intern(fall.domain);
  key.process = profile.intern(fall.process);
  key.mode = fall.mode;
  key.vcpu = fall.vcpu;
  key.stack = profile.add_alone(profile.add_location(profile.add_image(fall.image, ""),
                                                     fall.address, profile.intern(fall.symbol)));
  profile.add(key, event, samples);
}

const Fall kReceive{"guest1", "iperf3", "[kernel]", "tcp_recvmsg", Mode::kKernel};
const Fall kCompute{"guest2", "crunch", "/opt/crunch", "multiply", Mode::kUser};
const Fall kHypercall{"dom0", "vhost", "[xen]", "do_mmu_update", Mode::kHypervisor};

Profile sample_profile() {
  Profile profile({{"instructions", 1'000'000}, {"cycles", 2'000'000}});
  add(profile, kReceive, 17);
  add(profile, kReceive, 4000, 1);
  add(profile, kCompute, 60);
  add(profile, kHypercall, 23);
  return profile;
}

SessionRecord sample_session() {
  SessionRecord session;
  session.started = "2026-02-03T10:20:30+00:00";
  session.seconds = 10.02;
  session.machine = "Xen 4.17";
  session.command = "make";
  session.domains = {
      {.name = "dom0",
       .id = 0,
       .role = "initiator",
       .events = {{"instructions", 1'000'000, 23, 23}}},
      {.name = "guest1",
       .id = 1,
       .role = "active",
       .events = {{"instructions", 1'000'000, 1019, 1017, {{"hypervisor-buffer", 2}}}}},
      {.name = "guest2",
       .id = 2,
       .role = "active",
       .events = {{"instructions", 1'000'000, 60, 60}}}};
  return session;
}

std::string drawn(const Profile& profile, const ReportOptions& options = {},
                  const SessionRecord* session = nullptr) {
  const auto text = report(profile, session, options);
  return text ? *text : "error: " + text.error().message;
}

std::vector<FilterTerm> domains(const std::vector<std::string>& names) {
  std::vector<FilterTerm> terms;
  for (const std::string& name : names) {
    terms.push_back({.column = Column::kDomain, .text = name});
  }
  return terms;
}

Json json_of(const Profile& profile, ReportOptions options = {}) {
  options.format = Format::kJson;
  return Json::parse(drawn(profile, options));
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    lines.push_back(line);
  }
  return lines;
}

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

TEST(JsonReport, HasTheKeysThatProgramsRead) {
  EXPECT_EQ(json_of(sample_profile()),
            Json::parse(R"({"events": ["instructions", "cycles"], "rows": [
      {"domain": "guest2", "process": "crunch", "image": "/opt/crunch", "symbol": "multiply",
       "mode": "user", "samples": {"instructions": 60, "cycles": 0}},
      {"domain": "dom0", "process": "vhost", "image": "[xen]", "symbol": "do_mmu_update",
       "mode": "hypervisor", "samples": {"instructions": 23, "cycles": 0}},
      {"domain": "guest1", "process": "iperf3", "image": "[kernel]", "symbol": "tcp_recvmsg",
       "mode": "kernel", "samples": {"instructions": 17, "cycles": 4000}}]})"));
}

TEST(JsonReport, HoldsTheColumnsAskedForAndAddsUpTheRest) {
  Profile profile({{"cycles", 10}});
  for (const std::uint32_t vcpu : {0u, 1u, 1u}) {
    Fall fall = kReceive;
    fall.vcpu = vcpu;
    add(profile, fall, 5);
  }
  EXPECT_EQ(json_of(profile, {.columns = {Column::kVcpu}})["rows"],
            Json::parse(R"([{"vcpu": 1, "samples": {"cycles": 10}},
                            {"vcpu": 0, "samples": {"cycles": 5}}])"));
}

TEST(JsonReport, IsValidWhateverAProcessIsCalled) {
  Profile profile({{"cycles", 10}});
  Fall fall = kReceive;
  fall.process = "a\"\\\n\xff\xfe\x1b";
  add(profile, fall, 1);
  EXPECT_EQ(json_of(profile)["rows"][0]["process"], "a\"\\\n\uFFFD\uFFFD\x1b");
}

TEST(JsonReport, TellsEventsOfOneNameApart) {
  Profile profile({{"cycles", 10}, {"cycles", 20}});
  add(profile, kReceive, 3, 0);
  add(profile, kReceive, 4, 1);
  EXPECT_EQ(json_of(profile)["rows"][0]["samples"],
            Json::parse(R"({"cycles:10": 3, "cycles:20": 4})"));
}

TEST(JsonReport, ShowsAddressesForWantOfSymbols) {
  Profile profile({{"cycles", 10}});
  Fall fall = kCompute;
  fall.symbol = "";
  fall.address = 0x4f10;
  add(profile, fall, 3);
  EXPECT_EQ(json_of(profile)["rows"][0]["symbol"], "0x4f10");
}

TEST(JsonReport, KeepsWhatNobodyCanLookIntoInOneRow) {
  Profile profile({{"cycles", 10}});
  for (const std::uint64_t address : {0x10u, 0x20u}) {
    add(profile, {"hvm", "", "[user]", "", Mode::kUser, address}, 2);
  }
  ASSERT_EQ(json_of(profile)["rows"].size(), 1u);
  EXPECT_EQ(json_of(profile)["rows"][0]["samples"]["cycles"], 4);
}

TEST(CsvReport, QuotesAsRfc4180Says) {
  Profile profile({{"cycles", 10}});
  Fall fall = kCompute;
  fall.symbol = "operator<<(A, \"B\")";
  add(profile, fall, 3);
  EXPECT_EQ(drawn(profile, {.format = Format::kCsv}),
            "domain,process,image,symbol,mode,cycles\n"
            "guest2,crunch,/opt/crunch,\"operator<<(A, \"\"B\"\")\",user,3\n");
}

TEST(CsvReport, LetsNoNameMoveTheCursor) {
  Profile profile({{"cycles\x1b", 10}});
  add(profile, {"d\x1b[2J", "p\n,", "/i\x9b", "s\xc2\x9b"}, 1);
  EXPECT_EQ(drawn(profile, {.format = Format::kCsv}),
            "domain,process,image,symbol,mode,cycles?\n"
            "d?[2J,\"p?,\",/i?,s??,user,1\n");
}

TEST(Report, OrderDependsOnTheSamplesAlone) {
  Profile one({{"cycles", 10}});
  Profile other({{"cycles", 10}});
  const std::vector<Fall> falls = {kReceive, kCompute, kHypercall};
  for (std::size_t i = 0; i < falls.size(); ++i) {
    add(one, falls[i], 5);
    add(other, falls[falls.size() - 1 - i], 5);
  }
  EXPECT_EQ(drawn(one), drawn(other));
  EXPECT_EQ(json_of(one), json_of(other));
}

TEST(Report, LooksAtTheDomainsAskedFor) {
  const Profile profile = sample_profile();
  const Json json = json_of(profile, {.filter = domains({"guest1", "dom0"})});
  EXPECT_EQ(json["rows"].size(), 2u);
  const std::string text = drawn(profile, {.filter = domains({"guest1"})});
  EXPECT_TRUE(has(text, "17 samples of instructions"));
  EXPECT_FALSE(has(text, "crunch"));
  EXPECT_EQ(drawn(profile, {.filter = domains({"guest9"})}),
            "error: There is no domain guest9 in this profile; there is: dom0, guest1, guest2.");
}

TEST(Report, TopHoldsTheRowsAndTheRestIsSaid) {
  const Profile profile = sample_profile();
  EXPECT_EQ(json_of(profile, {.top = 1})["rows"].size(), 1u);
  const std::string text = drawn(profile, {.top = 1});
  EXPECT_TRUE(has(text, "2 more rows hold 40.0 % of instructions, 100.0 % of cycles")) << text;
  EXPECT_FALSE(has(drawn(profile), "more rows"));
}

TEST(TextReport, SaysWhatWasRecorded) {
  const SessionRecord session = sample_session();
  const std::string text = drawn(sample_profile(), {}, &session);
  EXPECT_TRUE(
      text.starts_with("Recorded 2026-02-03 10:20:30 for 10.0 s: make\nXen 4.17\n"
                       "100 samples of instructions, one each 1,000,000\n"
                       "4,000 samples of cycles, one each 2,000,000\n"))
      << text;
}

TEST(TextReport, DividesEachDomainByMode) {
  Profile profile({{"cycles", 10}});
  add(profile, {.mode = Mode::kUser}, 10);
  add(profile, {.mode = Mode::kKernel}, 20);
  add(profile, {.mode = Mode::kHypervisor}, 70);
  add(profile, kReceive, 300);
  const std::string text = drawn(profile);
  EXPECT_TRUE(has(text,
                  "Domain  Samples   Share  Hypervisor   Kernel    User\n"
                  "guest1      300  75.0 %              100.0 %\n"
                  "dom0        100  25.0 %      70.0 %   20.0 %  10.0 %\n"))
      << text;
}

TEST(TextReport, NamesADomainThatGaveNothing) {
  SessionRecord session = sample_session();
  session.domains.push_back({.name = "idle", .id = 3, .role = "passive"});
  EXPECT_TRUE(has(drawn(sample_profile(), {}, &session), "\nidle    passive"));
}

TEST(TextReport, SaysThatNothingWasLost) {
  SessionRecord session = sample_session();
  session.domains[1].events[0].lost.clear();
  EXPECT_TRUE(
      has(drawn(sample_profile(), {.style = {.width = 200}}, &session), "No samples were lost.\n"));
}

TEST(TextReport, SaysWhereWhatAndWhyWasLost) {
  SessionRecord session = sample_session();
  EXPECT_TRUE(has(drawn(sample_profile(), {.style = {.width = 200}}, &session),
                  "Lost 2 of 1,019 samples (0.2 %) in guest1: hypervisor-buffer 2. Raise the "
                  "counts: fewer samples a second, fewer lost.\n"));
}

TEST(TextReport, NeverSaysNothingWasLostWhenItIsNotKnown) {
  SessionRecord session = sample_session();
  session.domains[1].events[0].lost.clear();
  session.domains[2].whole = false;
  const std::string text = drawn(sample_profile(), {.style = {.width = 200}}, &session);
  EXPECT_TRUE(has(text, "What was lost in guest2 is not known"));
  EXPECT_FALSE(has(text, "No samples were lost."));
  session.domains[1] = sample_session().domains[1];
  EXPECT_TRUE(has(drawn(sample_profile(), {.style = {.width = 200}}, &session),
                  "fewer lost. What else was lost in guest2 is not known"));
  EXPECT_FALSE(has(drawn(sample_profile()), "No samples were lost."));
}

TEST(TextReport, SaysHowSureAPercentageIs) {
  Profile profile({{"cycles", 10}});
  add(profile, kCompute, 3457);
  // 1.96 * sqrt(0.1 * 0.9 / 3457) = 1.0 %
  EXPECT_TRUE(has(drawn(profile), "10 % means 10 \u00b11.0 "));
  Profile few({{"cycles", 10}});
  add(few, kCompute, 7);
  EXPECT_TRUE(has(drawn(few), "Too few samples for percentages to mean much: 7 of cycles."));
}

TEST(TextReport, FitsTheTerminal) {
  Profile profile = sample_profile();
  Fall fall = kCompute;
  const std::string name = "std::map<" + std::string(300, 'x') + ">::operator[]";
  fall.symbol = name.c_str();
  fall.process = "a-long-thread-1";
  add(profile, fall, 40);
  add(profile, fall, 40, 1);
  const SessionRecord session = sample_session();
  for (const std::size_t width : {80u, 100u, 160u}) {
    const std::string text = drawn(profile, {.style = {.width = width}}, &session);
    for (const std::string& line : lines_of(text)) {
      EXPECT_LE(width_of(line), width) << line;
    }
    EXPECT_TRUE(has(text, "[]  ")) << text;
  }
}

TEST(TextReport, ShowsFilesWithoutFoldersUnlessTwoShareAName) {
  Profile profile({{"cycles", 10}});
  add(profile, {.image = "/usr/lib/libc.so.6"}, 1);
  add(profile, {.image = "/usr/bin/one"}, 1);
  EXPECT_FALSE(has(drawn(profile), "/usr"));
  add(profile, {.image = "/opt/one"}, 1);
  const std::string text = drawn(profile);
  EXPECT_TRUE(has(text, "/usr/bin/one") && has(text, "/opt/one") && has(text, " libc.so.6"))
      << text;
}

TEST(TextReport, LetsNoNameMoveTheCursor) {
  Profile profile({{"cycles\x1b", 10}});
  add(profile, {"d\x1b[2J", "p\n", "/i\x9b", "s\xc2\x9b"}, 1);
  SessionRecord session = sample_session();
  session.notes = {"n\x1b"};
  session.command = "c\x07";
  const std::string text = drawn(profile, {}, &session);
  EXPECT_EQ(text.find_first_of("\x1b\x07\x9b"), std::string::npos) << text;
  EXPECT_TRUE(has(drawn(profile, {.style = {.colour = true}}), "\x1b[1m"));
}

TEST(TextReport, AnEmptyProfileIsNoProblem) {
  EXPECT_TRUE(has(drawn(Profile({{"cycles", 10}})), "No samples.\n"));
  EXPECT_TRUE(has(drawn(Profile()), "No samples.\n"));
  EXPECT_EQ(json_of(Profile())["rows"].size(), 0u);
  EXPECT_EQ(drawn(Profile(), {.format = Format::kCsv}), "domain,process,image,symbol,mode\n");
}

TEST(TextCells, AreShortenedInTheMiddle) {
  EXPECT_EQ(shortened("short", 5), "short");
  EXPECT_EQ(shortened("a_long_name", 6), "a_\u2026ame");
  EXPECT_EQ(shortened("\u00e4\u00f6\u00fc\u00df", 3), "\u2026\u00fc\u00df");
  EXPECT_EQ(shortened("name", 1), "\u2026");
  EXPECT_EQ(shortened("name", 0), "");
}

TEST(TextCells, TemplateArgumentsGoFirst) {
  EXPECT_EQ(shortened("map<int, vector<long> >::find", 13), "map<\u2026>::find");
  EXPECT_EQ(shortened("map<int>::find", 14), "map<int>::find");
  EXPECT_EQ(shortened("a::operator<< <int>", 18), "a::operator<< <\u2026>");
  EXPECT_EQ(shortened("a<int>::operator->", 16), "a<\u2026>::operator->");
  EXPECT_EQ(shortened("a<b<c", 4), "a\u2026<c");
}

TEST(Text, IsCountedAndCutInCharacters) {
  EXPECT_EQ(width_of("\u00e4b\u2026"), 3u);
  EXPECT_EQ(byte_of("\u00e4b\u2026", 0), 0u);
  EXPECT_EQ(byte_of("\u00e4b\u2026", 2), 3u);
  EXPECT_EQ(byte_of("\u00e4b\u2026", 3), 6u);
  EXPECT_EQ(byte_of("\u00e4b\u2026", 99), 6u);
}

TEST(Text, NumbersHaveSeparators) {
  EXPECT_EQ(with_separators(0), "0");
  EXPECT_EQ(with_separators(999), "999");
  EXPECT_EQ(with_separators(1234567), "1,234,567");
}

TEST(SessionFile, IsReadBack) {
  const SessionRecord session = sample_session();
  const auto back = session_from_json(to_json(session));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(to_json(*back), to_json(session));
  EXPECT_EQ(back->domains[1].events[0].lost.at("hypervisor-buffer"), 2u);
}

TEST(SessionFile, HasTheKeysThatProgramsRead) {
  const Json json = Json::parse(to_json(sample_session()));
  const Json& event = json["domains"][1]["events"][0];
  EXPECT_EQ(json["domains"][1]["name"], "guest1");
  EXPECT_EQ(json["domains"][1]["id"], 1);
  EXPECT_EQ(json["domains"][1]["role"], "active");
  EXPECT_EQ(event, Json::parse(R"({"name": "instructions", "count": 1000000, "taken": 1019,
                                   "delivered": 1017, "lost": {"hypervisor-buffer": 2}})"));
}

TEST(SessionFile, ItsTimeIsOfThisPlaceWithTheOffset) {
  // POSIX counts westward.
  setenv("TZ", "XYZ-01:30", 1);
  tzset();
  EXPECT_EQ(iso_time(std::chrono::system_clock::time_point(std::chrono::seconds(86399))),
            "1970-01-02T01:29:59+0130");
  unsetenv("TZ");
  tzset();
}

TEST(SessionFile, DamageIsASentence) {
  for (const char* text : {"", "{", "[]", "{}", "null", R"({"domains": 3})", R"({"domains": [1]})",
                           R"({"domains": [{"name": 1, "id": 0, "role": "", "events": []}]})",
                           R"({"domains": [], "notes": "x"})"}) {
    EXPECT_FALSE(session_from_json(text)) << text;
  }
  EXPECT_FALSE(session_from_json(std::string(10'000, '[')));
  EXPECT_FALSE(read_session("/nowhere/session.json"));
}

}  // namespace
}  // namespace xenoprof
