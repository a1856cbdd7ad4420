// SPDX-License-Identifier: GPL-2.0-or-later
// The machines and the host's samples are made up; the agent is a thread behind a real socket, as a
// monitor offers it.
#include "session/kvm_guests.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "perf/clock_relation.h"
#include "pprof/pprof.h"
#include "session/accounting.h"
#include "session/participant.h"
#include "session/protocol.h"
#include "session/socket.h"
#include "session/wire.pb.h"
#include "tests/unit/guest_sample.h"
#include "tests/unit/kvm_host.h"
#include "tests/unit/monitor.h"

namespace xenoprof {
namespace {

using namespace std::chrono_literals;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using Question = wire::ToParticipant;
using Counts = std::vector<std::uint64_t>;

constexpr auto kNever = [] { return false; };
constexpr auto kPlenty = 10s;  // for a busy machine; nothing waits for it to pass
constexpr std::uint64_t kPc = 0xffffffff81000000;

const perf::Layout kLayout{.events = {{"instructions", 1000}, {"branches", 500}},
                           .call_chains = false,
                           .countings = {{}, {}}};

struct Behaviour {
  Question::KindCase dies_at = Question::KIND_NOT_SET;       // hangs up instead of answering
  Question::KindCase is_silent_at = Question::KIND_NOT_SET;  // and after it
  // Samples that it sends beyond those it was sent, by event; where it samples itself as well as
  // the host does, its own events are first.
  Counts records = {0, 0};
  std::int64_t tells_more = 0;  // instructions in its profile than in its records
  std::uint64_t lost = 0;       // in its own perf's rings
};

// The agent of one guest, for one session.
class Agent {
 public:
  Agent(const Monitor& monitor, const Behaviour& behaviour)
      : behaviour_(behaviour), thread_([this, &monitor] { run(monitor); }) {}
  ~Agent() { thread_.join(); }
  Agent(const Agent&) = delete;

  // Of the host, in order. Once the session is over.
  std::vector<Question::Samples> sent;

 private:
  void run(const Monitor& monitor) {
    FileDescriptor socket = monitor.accept();
    for (char next = 0; next != '\n' && ::read(socket.get(), &next, 1) == 1;) {
    }
    EXPECT_EQ(::write(socket.get(), "OK 1\n", 5), 5);
    Connection host(socket_channel(std::move(socket)), kLargestToParticipant);
    bool silent = false;
    for (;;) {
      const auto bytes = host.receive();
      Question question;
      if (!bytes) {
        return;
      }
      if (!*bytes) {
        host.wait(kPlenty);
        continue;
      }
      ASSERT_TRUE(question.ParseFromString(**bytes));
      if (question.kind_case() == behaviour_.dies_at) {
        return;
      }
      silent = silent || question.kind_case() == behaviour_.is_silent_at;
      if (!silent) {
        answer(host, question);
      }
    }
  }

  void answer(Connection& host, const Question& question) {
    wire::FromParticipant message;
    if (question.has_hello()) {
      message.mutable_introduction()->set_version(kProtocolVersion);
      message.mutable_introduction()->set_kernel("6.1");
    } else if (question.has_prepare()) {
      message.mutable_prepared();
      if (question.prepare().sampling() == Question::Prepare::BOTH) {
        layout_.events = with_guests_own(kLayout.events);
      }
      records_.resize(layout_.events.size());
      behaviour_.records.resize(layout_.events.size());
    } else if (question.has_arm()) {
      message.mutable_armed();
      EXPECT_TRUE(host.send(message, kPlenty));
      send_records(host, behaviour_.records);
      return;
    } else if (question.has_samples()) {
      Counts came(layout_.events.size());
      const std::size_t first = layout_.events.size() - kLayout.events.size();
      for (const std::uint32_t event : question.samples().event()) {
        ++came.at(first + event);
      }
      sent.push_back(question.samples());
      send_records(host, came);
      return;
    } else {
      Profile profile(layout_.events);
      const SampleKey key{
          .stack = profile.add_alone(profile.add_location(profile.add_image("/prog", ""), 1))};
      records_[0] += static_cast<std::uint64_t>(behaviour_.tells_more);
      for (std::size_t event = 0; event < records_.size(); ++event) {
        profile.add(key, event, records_[event]);
      }
      message.mutable_finished()->set_profile(pprof::encode(profile));
      message.mutable_finished()->set_ring_lost(behaviour_.lost);
    }
    EXPECT_TRUE(host.send(message, kPlenty));
  }

  void send_records(Connection& host, const Counts& counts) {
    perf::RecordBuilder builder(layout_);
    wire::FromParticipant message;
    std::string& data = *message.mutable_records()->mutable_data();
    for (std::size_t event = 0; event < counts.size(); ++event) {
      for (std::uint64_t i = 0; i < counts[event]; ++i) {
        const auto bytes = builder.sample(1, event, Mode::kKernel, kPc, 7, 7, 0, {});
        data.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      }
      records_[event] += counts[event];
    }
    if (!data.empty()) {
      (void)host.send(message, kPlenty);
    }
  }

  Behaviour behaviour_;
  perf::Layout layout_ = kLayout;
  Counts records_;
  std::thread thread_;
};

// Two machines: `web`, with an agent, and `db` without.
class KvmGuestsTest : public testing::Test {
 protected:
  void SetUp() override {
    host_.process(kWeb, "cloud-hypervisor", {"web", "--vsock", "socket=" + monitor_.path.string()});
    for (const int vcpu : {0, 1}) {
      host_.thread(kWeb, kWebVcpus[vcpu], fmt::format("vcpu{}", vcpu));
      host_.vcpu(fmt::format("{}-9", kWeb), vcpu, kWebVcpus[vcpu]);
    }
    host_.machine(kDb, {"qemu-system-x86", "-name", "db"});
  }

  // The host takes so many samples of each event of that thread.
  void take(std::int32_t process, std::int32_t thread, const Counts& counts) {
    for (std::size_t event = 0; event < counts.size(); ++event) {
      for (std::uint64_t i = 0; i < counts[event]; ++i) {
        const auto record = guest_sample(kLayout, time_, event, kPc + i, process, thread);
        records_->add_own(record);
        guests_->take(record);
      }
    }
  }
  Result<void> begin(bool live = false) {
    auto guests = KvmGuests::find(request_, host_.root.path(), limits_);
    EXPECT_TRUE(guests) << guests.error().message;
    guests_.emplace(std::move(*guests));
    auto records = DomainData::create(&files_, "host", kLayout, false);
    EXPECT_TRUE(records);
    records_.emplace(std::move(*records));
    return guests_->begin(kLayout, &files_, live, kNever);
  }
  void conclude() {
    guests_->pump(perf::raw_clock());
    guests_->end();
    whole_ = guests_->conclude(*records_, Profile(kLayout.events), merged_, record_);
    guests_.reset();  // hangs up
    for (const DomainTotals& domain : record_.domains) {
      for (const EventTotals& event : domain.events) {
        std::uint64_t sum = event.delivered;
        for (const auto& [cause, samples] : event.lost) {
          sum += samples;
        }
        EXPECT_EQ(event.taken, sum) << domain.name << ' ' << event.name;
      }
    }
  }
  // A session in which 5 instructions and 2 branches are sampled of `web` and 3 and 1 of `db`.
  void run(const Behaviour& behaviour) {
    Agent agent(monitor_, behaviour);
    ASSERT_TRUE(begin());
    if (request_.sampling != GuestSampling::kByGuest) {
      take(kWeb, kWebVcpus[0], {4, 0});
      take(kDb, kDb + 1, {3, 1});
      take(kWeb, kWebVcpus[1], {1, 2});
    }
    conclude();
    ASSERT_EQ(record_.domains.size(), 2U);
    const DomainTotals& db = record_.domains[1];
    EXPECT_EQ(db.role, "passive");
    EXPECT_EQ(delivered(db),
              request_.sampling == GuestSampling::kByGuest ? Counts({0, 0}) : Counts({3, 1}));
  }
  const DomainTotals& web() { return record_.domains[0]; }
  static Counts delivered(const DomainTotals& domain) {
    return {domain.events[0].delivered, domain.events[1].delivered};
  }
  static Counts taken(const DomainTotals& domain) {
    return {domain.events[0].taken, domain.events[1].taken};
  }

  static inline const std::int32_t kWeb = ::getpid();  // as the socket is this process's
  static inline const std::int32_t kWebVcpus[] = {kWeb + 10, kWeb + 11};
  static inline const std::int32_t kDb = kWeb + 20;

  const KvmHost host_;
  const Monitor monitor_;
  const TemporaryFolder output_;
  const Folder files_ = *Folder::open(output_.path());
  GuestsRequest request_{.passive = {"db"}};
  AgentLimits limits_{.step = kPlenty, .finish = kPlenty, .sign_of_life = kPlenty};
  std::uint64_t time_ = perf::raw_clock();
  std::optional<DomainData> records_;
  std::optional<KvmGuests> guests_;
  Profile merged_{kLayout.events};
  SessionRecord record_;
  bool whole_ = false;
};

TEST_F(KvmGuestsTest, AnAgentIsSentTheSamplesOfItsMachineAndNoOthers) {
  // A vCPU's counter is its own.
  host_.write(fmt::format("sys/kernel/debug/kvm/{}-9/vcpu1/tsc-offset", kWeb), "999000\n");
  Question::Samples all;
  {
    Agent agent(monitor_, {});
    ASSERT_TRUE(begin());
    take(kWeb, kWebVcpus[0], {2, 0});
    take(kDb, kDb + 1, {3, 1});
    take(kWeb, kWebVcpus[1], {0, 1});
    conclude();
    while (agent.sent.empty()) {
      std::this_thread::sleep_for(1ms);
    }
    ASSERT_EQ(agent.sent.size(), 1U);
    all = agent.sent[0];
  }
  EXPECT_THAT(all.vcpu(), ElementsAre(0, 0, 1));
  EXPECT_THAT(all.event(), ElementsAre(0, 0, 1));
  EXPECT_THAT(all.ip(), ElementsAre(kPc, kPc + 1, kPc));
  EXPECT_EQ(all.tsc(0), all.tsc(1));
  EXPECT_EQ(all.tsc(2) - all.tsc(0), 1'000'000U);
  EXPECT_TRUE(whole_);
  EXPECT_EQ(delivered(web()), Counts({2, 1}));
  EXPECT_EQ(delivered(record_.domains[1]), Counts({3, 1}));
  EXPECT_THAT(record_.notes, IsEmpty());
}

TEST_F(KvmGuestsTest, TheFirstSamplesHaveTheirTime) {
  perf::TscLook look;
  Question::Samples all;
  {
    Agent agent(monitor_, {});
    ASSERT_TRUE(begin());
    std::this_thread::sleep_for(20ms);
    look = perf::look_at_tsc();
    time_ = look.raw;
    take(kWeb, kWebVcpus[0], {1, 0});
    conclude();
    while (agent.sent.empty()) {
      std::this_thread::sleep_for(1ms);
    }
    all = agent.sent[0];
  }
  constexpr double kOffset = -1000;  // KvmHost's
  EXPECT_NEAR(static_cast<double>(static_cast<std::int64_t>(all.tsc(0) - look.tsc)), kOffset,
              100'000);
}

TEST_F(KvmGuestsTest, AVcpuThatComesLateIsAskedAboutAtOnce) {
  constexpr std::int32_t kLate = 12;
  {
    Agent agent(monitor_, {});
    ASSERT_TRUE(begin());
    take(kWeb, kWebVcpus[0], {1, 0});
    for (const int vcpu : {2, 3}) {
      host_.thread(kWeb, kWeb + kLate + vcpu, fmt::format("vcpu{}", vcpu));
      host_.vcpu(fmt::format("{}-9", kWeb), vcpu, kWeb + kLate + vcpu);
      take(kWeb, kWeb + kLate + vcpu, {2, 0});
    }
    conclude();
  }
  EXPECT_TRUE(whole_);
  EXPECT_EQ(delivered(web()), Counts({5, 0}));
}

TEST_F(KvmGuestsTest, WhatAnAgentHasNotToldYetIsAlreadyItsGuests) {
  Agent agent(monitor_, {.is_silent_at = Question::kPeek});
  ASSERT_TRUE(begin(true));
  take(kWeb, kWebVcpus[0], {4, 0});
  take(kWeb, kWebVcpus[1], {1, 2});
  Profile profile(kLayout.events);
  guests_->look(profile);
  Counts sum(kLayout.events.size());
  for (const Sample& sample : profile.samples()) {
    EXPECT_EQ(profile.text(sample.key.domain), "web");
    std::ranges::transform(sum, sample.samples, sum.begin(), std::plus<>());
  }
  EXPECT_EQ(sum, Counts({5, 2}));
  conclude();
}

TEST_F(KvmGuestsTest, AMachineThatIsStartedAgainIsAnother) {
  const std::int32_t again = kDb + 40;
  Agent agent(monitor_, {});
  ASSERT_TRUE(begin());
  take(kDb, kDb + 1, {3, 1});
  std::filesystem::remove_all(host_.root.path() / fmt::format("proc/{}", kDb));
  std::filesystem::remove_all(host_.root.path() / fmt::format("proc/{}", kDb + 1));
  host_.machine(again, {"qemu-system-x86", "-name", "db"});
  take(again, again + 1, {2, 2});
  conclude();
  ASSERT_EQ(record_.domains.size(), 3U);
  EXPECT_EQ(record_.domains[1].name, "db");
  EXPECT_EQ(delivered(record_.domains[1]), Counts({3, 1}));
  EXPECT_EQ(record_.domains[2].name, fmt::format("db-{}", again));
  EXPECT_EQ(delivered(record_.domains[2]), Counts({2, 2}));
  EXPECT_THAT(record_.notes, Contains(HasSubstr("came during the session")));
}

TEST_F(KvmGuestsTest, WhatAnAgentDoesNotTellOfIsLostWithIt) {
  run({.tells_more = -2});
  EXPECT_EQ(taken(web()), Counts({5, 2}));
  EXPECT_EQ(delivered(web()), Counts({3, 2}));
  EXPECT_EQ(web().events[0].lost.at(kLostWithAgent), 2U);
}

TEST_F(KvmGuestsTest, AnAgentThatTellsOfMoreThanWasTakenIsNotBelieved) {
  // With records of its own invention, too.
  run({.records = {1, 0}});
  EXPECT_FALSE(whole_);
  EXPECT_EQ(delivered(web()), Counts({5, 2}));
  EXPECT_EQ(taken(web()), Counts({5, 2}));
  EXPECT_THAT(record_.notes, Contains(HasSubstr("more samples")));
}

TEST_F(KvmGuestsTest, TheSamplesOfAnAgentThatDiesAreSeenFromOutside) {
  for (const auto question : {Question::kSamples, Question::kStop}) {
    record_ = {};
    run({.dies_at = question});
    EXPECT_FALSE(whole_);
    EXPECT_EQ(web().role, "active");
    EXPECT_EQ(delivered(web()), Counts({5, 2}));
    EXPECT_THAT(record_.notes, Contains(HasSubstr("as they look from outside")));
  }
}

TEST_F(KvmGuestsTest, TheSamplesOfAnAgentThatFallsSilentAreSeenFromOutside) {
  limits_.sign_of_life = 20ms;
  run({.is_silent_at = Question::kSamples});
  EXPECT_FALSE(whole_);
  EXPECT_EQ(delivered(web()), Counts({5, 2}));
  EXPECT_THAT(record_.notes, Contains(HasSubstr("says nothing")));
}

TEST_F(KvmGuestsTest, AnAgentThatNeverAnswersIsDoneWithout) {
  limits_.step = 20ms;
  for (const auto question : {Question::kHello, Question::kPrepare, Question::kArm}) {
    record_ = {};
    run({.is_silent_at = question});
    EXPECT_TRUE(whole_);
    EXPECT_EQ(web().role, "passive");
    EXPECT_EQ(delivered(web()), Counts({5, 2}));
    EXPECT_THAT(record_.notes, ElementsAre(HasSubstr("seen from outside only")));
    EXPECT_FALSE(std::filesystem::exists(output_ / (web().name + ".perf.data")));
  }
}

TEST_F(KvmGuestsTest, NobodySamplesAGuestThatWasToDoItItselfAndHasNoAgent) {
  limits_.step = 20ms;
  request_.sampling = GuestSampling::kByGuest;
  run({.is_silent_at = Question::kHello});
  EXPECT_EQ(taken(web()), Counts({0, 0}));
  EXPECT_THAT(record_.notes,
              ElementsAre(HasSubstr("db is not sampled, unless by a clock: its agent was not to"),
                          HasSubstr("web is not sampled, unless by a clock: ")));
}

TEST_F(KvmGuestsTest, AnAgentThatMustTakePartAndDoesNotEndsTheSession) {
  request_.domains = {"all"};
  limits_.step = 20ms;
  const Agent agent(monitor_, {.is_silent_at = Question::kHello});
  const auto begun = begin();
  ASSERT_FALSE(begun);
  EXPECT_THAT(begun.error().message, HasSubstr("--allow-missing"));
  guests_.reset();
}

TEST_F(KvmGuestsTest, WhatCannotBeAskedForIsRefused) {
  const auto refusal = [&](const GuestsRequest& request) {
    const auto found = KvmGuests::find(request, host_.root.path(), limits_);
    return found ? std::string() : found.error().message;
  };
  EXPECT_EQ(refusal({.domains = {"all"}, .passive = {"db"}}), "");
  EXPECT_THAT(refusal({.domains = {"typo"}}), HasSubstr("is called typo"));
  EXPECT_THAT(refusal({.passive = {"all"}}), HasSubstr("is called all"));
  EXPECT_THAT(refusal({.domains = {"web"}, .passive = {"web"}}),
              HasSubstr("web is asked for as active and as passive"));
  EXPECT_THAT(refusal({.kernel_symbols = {{"typo", {}}}}), HasSubstr("is called typo"));
  EXPECT_THAT(refusal({.domains = {"web"}, .kernel_symbols = {{"web", {}}}}),
              HasSubstr("--kernel-symbols names 'web'"));
}

TEST_F(KvmGuestsTest, AGuestThatIsNotAmongThoseNamedIsSeenFromOutside) {
  request_ = {.domains = {"db"}, .allow_missing = true};
  ASSERT_TRUE(begin());  // nobody answers for `web`, and nobody is asked
  take(kWeb, kWebVcpus[0], {4, 0});
  conclude();
  EXPECT_THAT(record_.notes, ElementsAre(HasSubstr("db is seen from outside only")));
  EXPECT_EQ(taken(web()), Counts({4, 0}));
}

TEST_F(KvmGuestsTest, AGuestThatSamplesItselfIsAccountedByItsRecords) {
  request_.sampling = GuestSampling::kByGuest;
  run({.records = {6, 1}, .lost = 3});
  EXPECT_TRUE(whole_);
  EXPECT_EQ(delivered(web()), Counts({6, 1}));
  EXPECT_EQ(taken(web()), Counts({9, 1}));
  EXPECT_EQ(web().events[0].lost.at(kLostInPerf), 3U);
}

TEST_F(KvmGuestsTest, WhatAGuestThatSamplesItselfSentOutlivesItsAgent) {
  request_.sampling = GuestSampling::kByGuest;
  run({.dies_at = Question::kStop, .records = {6, 1}});
  EXPECT_FALSE(whole_);
  EXPECT_EQ(delivered(web()), Counts({6, 1}));
  EXPECT_EQ(merged_.total(0), 6U);
  EXPECT_THAT(record_.notes, Contains(HasSubstr("what it had sent is kept")));
}

TEST_F(KvmGuestsTest, AGuestThatSamplesItselfIsNotBelievedBeyondItsRecords) {
  request_.sampling = GuestSampling::kByGuest;
  run({.records = {6, 1}, .tells_more = std::int64_t{1} << 49});
  EXPECT_FALSE(whole_);
  EXPECT_EQ(delivered(web()), Counts({6, 1}));
}

TEST_F(KvmGuestsTest, WhatBothSampleIsToldApart) {
  request_.sampling = GuestSampling::kByBoth;
  run({.records = {6, 1}, .lost = 3});
  EXPECT_TRUE(whole_);
  EXPECT_EQ(delivered(web()), Counts({5, 2}));
  ASSERT_EQ(web().events.size(), 4U);
  EXPECT_EQ(web().events[2].name, "instructions@guest");
  EXPECT_EQ(web().events[2].taken, 9U);
  EXPECT_EQ(web().events[2].delivered, 6U);
  EXPECT_EQ(web().events[2].lost.at(kLostInPerf), 3U);
  EXPECT_EQ(web().events[3].delivered, 1U);
  ASSERT_EQ(merged_.events().size(), 4U);
  EXPECT_EQ(merged_.total(0), 8U);  // with db's
  EXPECT_EQ(merged_.total(2), 6U);
}

TEST_F(KvmGuestsTest, WhereBothSampleTheHostsOutliveTheAgent) {
  request_.sampling = GuestSampling::kByBoth;
  run({.dies_at = Question::kStop, .records = {6, 1}});
  EXPECT_FALSE(whole_);
  EXPECT_EQ(delivered(web()), Counts({5, 2}));
  ASSERT_EQ(web().events.size(), 4U);
  EXPECT_EQ(web().events[2].lost.at(kLostWithAgent), 6U);
  EXPECT_EQ(merged_.total(0), 8U);
}

TEST_F(KvmGuestsTest, WhereBothSampleAnAgentIsNotBelievedBeyondWhatTheHostTook) {
  request_.sampling = GuestSampling::kByBoth;
  run({.records = {6, 1, 0, 1}});
  EXPECT_FALSE(whole_);
  EXPECT_EQ(delivered(web()), Counts({5, 2}));
  EXPECT_THAT(record_.notes, Contains(HasSubstr("more samples")));
}

}  // namespace
}  // namespace xenoprof
