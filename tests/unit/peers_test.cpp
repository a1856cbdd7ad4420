// SPDX-License-Identifier: GPL-2.0-or-later
// The initiator against participants that lie.
#include "session/peers.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "driver/xenoprof.h"
#include "perf/records.h"
#include "pprof/pprof.h"
#include "session/protocol.h"
#include "temporary_folder.h"

namespace xenoprof {
namespace {

using namespace std::chrono_literals;

constexpr auto kNever = [] { return false; };
constexpr std::uint16_t kPassiveId = 9;

class PeersTest : public testing::Test {
 protected:
  void SetUp() override {
    peers_.agreed(layout_.events);
    for (const std::uint16_t id : {0, 1, 2}) {
      auto both = local_channel();
      ASSERT_TRUE(both);
      Peer& peer = peers_.active.emplace_back();
      peer.domain = {.id = id, .name = id == 0 ? "dom0" : "guest" + std::to_string(id)};
      peer.connection =
          std::make_unique<Connection>(std::move(both->first), kLargestFromParticipant);
      ends_.push_back(std::make_unique<Connection>(std::move(both->second), 16 * 1024));
    }
    peers_.passive.push_back({.domain = {.id = kPassiveId, .name = "passive"}});
  }

  Peer& guest() { return peers_.active[1]; }
  const std::string& problem() { return guest().problem; }

  void create_data() {
    for (std::vector<Peer>* peers : {&peers_.active, &peers_.passive}) {
      for (Peer& peer : *peers) {
        auto data = DomainData::create(&kept_, peer.domain.name, layout_, peers == &peers_.passive);
        ASSERT_TRUE(data);
        peer.data = std::move(*data);
      }
    }
  }

  // Asks all; what they answer is up to the test.
  void ask_hello() {
    wire::ToParticipant message;
    message.mutable_hello()->set_version(kProtocolVersion);
    peers_.ask_all(message);
  }
  void ask_prepare() {
    create_data();
    wire::ToParticipant message;
    message.mutable_prepare();
    peers_.ask_all(message);
  }
  void ask_arm() {
    wire::ToParticipant message;
    message.mutable_arm();
    peers_.ask_all(message);
  }
  void ask_stop() {
    wire::ToParticipant message;
    message.mutable_stop();
    peers_.ask_all(message);
  }

  // `domain` says it, and the initiator hears it.
  void say(std::size_t domain, const wire::FromParticipant& message) {
    ASSERT_TRUE(ends_[domain]->send(message, 5s));
    peers_.wait_for_messages(0ms);
  }

  static wire::FromParticipant introduction(bool initiator) {
    wire::FromParticipant message;
    message.mutable_introduction()->set_version(kProtocolVersion);
    message.mutable_introduction()->set_kernel("6.1");
    message.mutable_introduction()->set_initiator(initiator);
    return message;
  }
  static wire::FromParticipant prepared() {
    wire::FromParticipant message;
    message.mutable_prepared();
    return message;
  }
  static wire::FromParticipant armed() {
    wire::FromParticipant message;
    message.mutable_armed();
    return message;
  }
  wire::FromParticipant sample() {
    perf::RecordBuilder builder(layout_);
    const auto bytes = builder.sample(1, 0, Mode::kKernel, 0xffffffff81000000, 7, 7, 0, {});
    wire::FromParticipant message;
    message.mutable_records()->set_data(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return message;
  }
  wire::FromParticipant passive_sample(std::uint32_t domain) {
    auto message = sample();
    message.mutable_records()->set_passive_domain(domain);
    return message;
  }
  static wire::FromParticipant totals(int vcpus, std::uint64_t user = 1) {
    wire::FromParticipant message;
    message.mutable_totals();
    for (int i = 0; i < vcpus; ++i) {
      message.mutable_totals()->add_vcpus()->set_user(user);
    }
    return message;
  }
  static wire::FromParticipant finished(const std::vector<Event>& events,
                                        std::uint64_t samples = 0) {
    Profile profile(events);
    const SampleKey key{
        .stack = profile.add_alone(profile.add_location(profile.add_image("/prog", ""), 1))};
    profile.add(key, 0, samples);
    wire::FromParticipant message;
    message.mutable_finished()->set_profile(pprof::encode(profile));
    message.mutable_finished()->mutable_totals()->add_vcpus()->set_user(5);
    return message;
  }
  static wire::FromParticipant interim(const std::vector<Event>& events, std::uint64_t samples) {
    wire::FromParticipant message;
    *message.mutable_interim()->mutable_totals() = totals(1, samples).totals();
    auto end = finished(events, 5);
    message.mutable_interim()->set_profile(end.finished().profile());
    return message;
  }
  // Everybody takes part, up to the point where samples come.
  void begin() {
    ask_prepare();
    for (std::size_t i = 0; i < 3; ++i) {
      say(i, prepared());
    }
    ask_arm();
    for (std::size_t i = 0; i < 3; ++i) {
      say(i, armed());
    }
    ASSERT_FALSE(peers_.any_gone());
  }
  // As say(), of a message that is larger than a channel holds.
  void say_much(std::size_t domain, const wire::FromParticipant& message) {
    std::thread participant([&] { (void)ends_[domain]->send(message, 5s); });
    const auto deadline = Clock::now() + 1s;
    const std::uint64_t before = peers_.active[domain].record_bytes;
    while (peers_.active[domain].connection && peers_.active[domain].record_bytes == before &&
           Clock::now() < deadline) {
      peers_.wait_for_messages(10ms);
    }
    participant.join();
  }
  // The lie costs the liar its place and nobody else theirs.
  void expect_only_the_guest_is_dropped(const char* why) {
    EXPECT_FALSE(guest().connection);
    EXPECT_NE(problem().find(why), std::string::npos) << problem();
    EXPECT_TRUE(peers_.active[0].connection) << peers_.active[0].problem;
    EXPECT_TRUE(peers_.active[2].connection) << peers_.active[2].problem;
  }

  perf::Layout layout_{.events = {{"instructions", 100000}}};
  const TemporaryFolder folder_;
  const Folder kept_ = *Folder::open(folder_.path());
  Peers peers_;
  std::vector<std::unique_ptr<Connection>> ends_;  // of the participants
};

TEST_F(PeersTest, ASessionWithHonestParticipants) {
  ask_hello();
  say(0, introduction(true));
  say(1, introduction(false));
  say(2, introduction(false));
  EXPECT_TRUE(peers_.await(1s, "answer", kNever));
  EXPECT_EQ(guest().kernel, "6.1");
  begin();
  say(1, sample());
  say(0, passive_sample(kPassiveId));
  say(1, totals(2));
  EXPECT_EQ(guest().totals.size(), 2u);
  ask_stop();
  say(1, sample());
  say(0, finished(layout_.events));
  say(1, finished(layout_.events, 2));
  say(2, finished(layout_.events));
  EXPECT_TRUE(peers_.await(1s, "finish", kNever));
  EXPECT_FALSE(peers_.any_gone());
  ASSERT_TRUE(guest().profile);
  EXPECT_EQ(guest().profile->total(0), 2u);
  EXPECT_EQ(guest().totals[0].user, 5u);
  EXPECT_EQ(guest().data->arrived()[0], 2u);
  EXPECT_EQ(peers_.passive[0].data->arrived()[0], 1u);
}

TEST_F(PeersTest, WhoDoesNotAnswerIsDroppedByName) {
  ask_prepare();
  say(0, prepared());
  say(2, prepared());
  EXPECT_TRUE(peers_.await(10ms, "get ready", kNever));
  expect_only_the_guest_is_dropped("did not get ready");
}

TEST_F(PeersTest, WhoHangsUpIsNotWaitedFor) {
  ask_prepare();
  say(0, prepared());
  say(2, prepared());
  ends_[1].reset();
  EXPECT_TRUE(peers_.await(1min, "get ready", kNever));
  expect_only_the_guest_is_dropped("connection");
}

TEST_F(PeersTest, WaitingCanBeCancelled) {
  ask_hello();
  EXPECT_FALSE(peers_.await(1min, "answer", [] { return true; }));
}

TEST_F(PeersTest, FinishingUnaskedIsRefused) {
  begin();
  say(1, finished(layout_.events));
  expect_only_the_guest_is_dropped("not asked");
  EXPECT_FALSE(guest().profile);
}

TEST_F(PeersTest, FinishingTwiceIsRefusedAndTheFirstCounts) {
  begin();
  say(1, sample());
  ask_stop();
  say(1, finished(layout_.events, 1));
  say(1, finished(layout_.events));
  expect_only_the_guest_is_dropped("not asked");
  ASSERT_TRUE(guest().profile);
  EXPECT_EQ(guest().profile->total(0), 1u);
}

TEST_F(PeersTest, SamplesAndTotalsAfterTheEndAreRefused) {
  begin();
  ask_stop();
  say(1, finished(layout_.events));
  say(1, sample());
  expect_only_the_guest_is_dropped("after it had finished");
  EXPECT_EQ(guest().data->arrived()[0], 0u);
  say(2, finished(layout_.events));
  say(2, totals(1, 99));
  EXPECT_FALSE(peers_.active[2].connection);
  EXPECT_EQ(peers_.active[2].totals[0].user, 5u);
}

TEST_F(PeersTest, ArmedBeforeAskedIsRefused) {
  ask_prepare();
  say(1, armed());
  expect_only_the_guest_is_dropped("not asked");
}

TEST_F(PeersTest, AnAnswerInAdvanceIsRefused) {
  ask_prepare();
  say(1, prepared());
  say(1, prepared());
  expect_only_the_guest_is_dropped("not asked");
}

TEST_F(PeersTest, SamplesBeforePrepareAreRefused) {
  ask_hello();
  say(1, introduction(false));
  say(1, sample());
  expect_only_the_guest_is_dropped("before it was asked");
}

TEST_F(PeersTest, OnlyDom0HandsOnWhatIsOthersAndOnlyOfPassiveDomains) {
  begin();
  say(1, passive_sample(kPassiveId));
  expect_only_the_guest_is_dropped("another domain");
  EXPECT_EQ(peers_.passive[0].data->arrived()[0], 0u);
  say(0, passive_sample(2));
  EXPECT_FALSE(peers_.active[0].connection);
  EXPECT_EQ(peers_.active[2].data->arrived()[0], 0u);
}

TEST_F(PeersTest, BrokenRecordsAreRefused) {
  begin();
  auto message = sample();
  message.mutable_records()->mutable_data()->pop_back();
  say(1, message);
  expect_only_the_guest_is_dropped("broken record");
}

TEST_F(PeersTest, TooManyVcpusAreRefused) {
  begin();
  say(1, totals(XENOPROF_MAX_VCPUS));
  EXPECT_EQ(guest().totals.size(), std::size_t{XENOPROF_MAX_VCPUS});
  say(1, totals(XENOPROF_MAX_VCPUS + 1));
  expect_only_the_guest_is_dropped("vCPUs");
  EXPECT_EQ(guest().totals.size(), std::size_t{XENOPROF_MAX_VCPUS});
}

TEST_F(PeersTest, HowADomainStandsIsAskedNowAndThen) {
  begin();
  EXPECT_FALSE(peers_.peek());
  EXPECT_FALSE(guest().interim);
  say(1, interim(layout_.events, 7));
  EXPECT_TRUE(peers_.peek());
  ASSERT_TRUE(guest().interim);
  EXPECT_EQ(guest().interim->total(0), 5u);
  EXPECT_EQ(guest().totals[0].user, 7u);
  EXPECT_FALSE(guest().peeked) << "not again at once";
  EXPECT_TRUE(peers_.active[2].peeked) << "has not answered yet";
  EXPECT_FALSE(peers_.peek());
  // An answer that the end of the session has overtaken.
  ask_stop();
  say(2, interim(layout_.events, 7));
  for (std::size_t i = 0; i < 3; ++i) {
    say(i, finished(layout_.events));
  }
  EXPECT_TRUE(peers_.await(1s, "finish", kNever));
  EXPECT_FALSE(peers_.any_gone());
}

TEST_F(PeersTest, TellingUnaskedHowItStandsIsRefused) {
  begin();
  say(1, interim(layout_.events, 7));
  expect_only_the_guest_is_dropped("not asked");
  EXPECT_FALSE(guest().interim);
  EXPECT_FALSE(peers_.peek());
  say(2, interim(layout_.events, 7));
  say(2, interim(layout_.events, 7));
  EXPECT_FALSE(peers_.active[2].connection) << "once for each question";
}

TEST_F(PeersTest, HowADomainStandsIsCheckedLikeTheEnd) {
  begin();
  peers_.peek();
  say(1, interim({{"cycles", 100000}}, 7));
  expect_only_the_guest_is_dropped("other events");
  EXPECT_FALSE(guest().interim);
  auto nonsense = interim(layout_.events, 7);
  nonsense.mutable_interim()->set_profile("no pprof");
  say(2, nonsense);
  EXPECT_FALSE(peers_.active[2].connection);
  EXPECT_FALSE(peers_.active[2].interim);
}

TEST_F(PeersTest, AProfileOfOtherEventsOrOfNonsenseIsRefused) {
  begin();
  ask_stop();
  say(1, finished({{"cycles", 100000}}));
  expect_only_the_guest_is_dropped("other events");
  EXPECT_FALSE(guest().profile);
  wire::FromParticipant nonsense;
  nonsense.mutable_finished()->set_profile("no pprof");
  say(2, nonsense);
  EXPECT_FALSE(peers_.active[2].connection);
  EXPECT_FALSE(peers_.active[2].profile);
}

TEST_F(PeersTest, AProfileOfMoreThanWasSentIsRefused) {
  begin();
  say(1, sample());
  ask_stop();
  say(1, finished(layout_.events, 2));
  expect_only_the_guest_is_dropped("more samples than it sent");
  EXPECT_FALSE(guest().profile);
}

// Their sums are printed, and must not overflow.
TEST_F(PeersTest, NumbersThatCannotBeAreRefused) {
  begin();
  say(1, totals(1, kMostSamples));
  EXPECT_EQ(guest().totals.size(), 1u);
  say(1, totals(1, kMostSamples + 1));
  expect_only_the_guest_is_dropped("more samples than can be");
  ask_stop();
  auto end = finished(layout_.events);
  end.mutable_finished()->set_ring_lost(~std::uint64_t{0});
  say(2, end);
  EXPECT_FALSE(peers_.active[2].connection);
  EXPECT_FALSE(peers_.active[2].profile);
}

TEST_F(PeersTest, WhoPosesAsTheInitiatorIsRefused) {
  ask_hello();
  say(1, introduction(true));
  expect_only_the_guest_is_dropped("initiator");
}

TEST_F(PeersTest, ASecondIntroductionIsRefused) {
  ask_hello();
  say(1, introduction(false));
  auto other = introduction(false);
  other.mutable_introduction()->set_kernel("another");
  say(1, other);
  expect_only_the_guest_is_dropped("not asked");
  EXPECT_EQ(guest().kernel, "6.1");
}

TEST_F(PeersTest, AnotherVersionIsToldSo) {
  ask_hello();
  auto message = introduction(false);
  message.mutable_introduction()->set_version(kProtocolVersion + 1);
  say(1, message);
  expect_only_the_guest_is_dropped("version");
}

TEST_F(PeersTest, WishesThatNoCpuFulfilsAreRefused) {
  ask_hello();
  auto too_often = introduction(false);
  auto& wish = *too_often.mutable_introduction()->add_wishes();
  wish.set_name("instructions");
  wish.set_count(1);
  say(1, too_often);
  expect_only_the_guest_is_dropped("wish");
  auto too_many = introduction(false);
  for (std::size_t i = 0; i <= kMaxCounters; ++i) {
    *too_many.mutable_introduction()->add_wishes() = wish;
  }
  say(2, too_many);
  EXPECT_FALSE(peers_.active[2].connection);
}

TEST_F(PeersTest, WhatIsSaidToTheUserIsShortAndPrintable) {
  wire::FromParticipant message;
  message.set_failure("\x1b[2J" + std::string(100'000, '\n'));
  say(1, message);
  EXPECT_FALSE(guest().connection);
  EXPECT_LE(problem().size(), 1000u);
  EXPECT_EQ(problem().find_first_of("\x1b\n"), std::string::npos);
  create_data();
  ask_stop();
  auto end = finished(layout_.events);
  for (int i = 0; i < 10'000; ++i) {
    end.mutable_finished()->add_notes("\x1b[2J\xff");
  }
  say(2, end);
  EXPECT_LE(peers_.active[2].notes.size(), 100u);
  EXPECT_EQ(peers_.active[2].notes[0], "?[2J?");
}

TEST_F(PeersTest, MoreRecordsThanAnyDomainHasAreRefused) {
  begin();
  // 64 MB are allowed for before the start.
  auto message = sample();
  const std::string one = message.records().data();
  std::string& data = *message.mutable_records()->mutable_data();
  while (data.size() < (8u << 20)) {
    data += data.size() < (4u << 20) ? data : one;
  }
  std::uint64_t taken = 0;
  for (int i = 0; i < 20 && guest().connection; ++i, ++taken) {
    say_much(1, message);
  }
  EXPECT_LT(taken, 12u);
  expect_only_the_guest_is_dropped("more records");
}

TEST_F(PeersTest, AGuestThatNeverStopsSendingDoesNotHoldUpTheOthers) {
  begin();
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(ends_[1]->send(totals(1, 1 + static_cast<std::uint64_t>(i)), 5s));
  }
  ASSERT_TRUE(ends_[2]->send(totals(1, 7), 5s));
  peers_.wait_for_messages(0ms);
  ASSERT_EQ(peers_.active[2].totals.size(), 1u);
  ASSERT_EQ(guest().totals.size(), 1u);
  EXPECT_LT(guest().totals[0].user, 200u);
}

TEST_F(PeersTest, NoiseIsRefused) {
  wire::FromParticipant nothing;
  say(1, nothing);
  expect_only_the_guest_is_dropped("unknown kind");
}

}  // namespace
}  // namespace xenoprof
