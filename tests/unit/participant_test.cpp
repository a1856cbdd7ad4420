// SPDX-License-Identifier: GPL-2.0-or-later
// The agent of a guest whose host takes the samples; the records of tasks are this system's.
#include "session/participant.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "perf/clock_relation.h"
#include "pprof/pprof.h"
#include "session/peers.h"
#include "session/protocol.h"
#include "session/wire.pb.h"

namespace xenoprof {
namespace {

using namespace std::chrono_literals;
using ::testing::Contains;
using ::testing::HasSubstr;

constexpr auto kPlenty = 30s;  // for a busy machine; nothing waits for it to pass
constexpr std::uint32_t kNoCpu = 4000;

class ParticipantTest : public testing::Test {
 protected:
  void SetUp() override {
    auto both = local_channel();
    ASSERT_TRUE(both);
    host_.emplace(std::move(both->first), kLargestFromParticipant);
    agent_ = std::thread([channel = std::move(both->second)]() mutable {
      Connection initiator(std::move(channel), kLargestToParticipant);
      (void)participate(initiator, nullptr, {});
    });
    wire::ToParticipant prepare;
    to_wire({{"instructions", 1000}}, *prepare.mutable_prepare()->mutable_events());
    prepare.mutable_prepare()->set_sampling(wire::ToParticipant::Prepare::HOST);
    say(prepare);
    if (const auto answer = hear(); answer.has_failure()) {
      GTEST_SKIP() << answer.failure();
    }
    wire::ToParticipant arm;
    arm.mutable_arm();
    say(arm);
    ASSERT_TRUE(hear().has_armed());
  }
  void TearDown() override {
    host_.reset();
    agent_.join();
  }

  void say(const wire::ToParticipant& message) { ASSERT_TRUE(host_->send(message, kPlenty)); }
  // The next message that is an answer.
  wire::FromParticipant hear() {
    wire::FromParticipant message;
    const auto deadline = Clock::now() + kPlenty;
    while (Clock::now() < deadline) {
      const auto bytes = host_->receive();
      if (!bytes) {
        ADD_FAILURE() << bytes.error().message;
        break;
      }
      if (*bytes && message.ParseFromString(**bytes) && !message.has_records() &&
          !message.has_totals()) {
        return message;
      }
      if (!*bytes) {
        host_->wait(kPlenty);
      }
    }
    return {};
  }
  void say_samples(std::uint32_t vcpu, int count) {
    wire::ToParticipant message;
    auto& samples = *message.mutable_samples();
    for (int i = 0; i < count; ++i) {
      samples.add_tsc(perf::look_at_tsc().tsc);
      samples.add_ip(0xffffffff81000000);
      samples.add_vcpu(vcpu);
      samples.add_event(0);
    }
    samples.set_complete_to(perf::look_at_tsc().tsc);
    say(message);
  }
  wire::FromParticipant::Finished stop() {
    wire::ToParticipant message;
    message.mutable_stop();
    say(message);
    return hear().finished();
  }

  std::optional<Connection> host_;
  std::thread agent_;
};

TEST_F(ParticipantTest, SamplesOfNobodyKnowsWhomAreDeliveredAndTheirNumberIsTold) {
  say_samples(kNoCpu, 12);
  const auto finished = stop();
  EXPECT_THAT(std::vector(finished.notes().begin(), finished.notes().end()),
              Contains(HasSubstr("12 samples came before the first context switch")));
  const auto profile = pprof::decode(finished.profile());
  ASSERT_TRUE(profile) << profile.error().message;
  EXPECT_EQ(profile->total(0), 12u);
}

}  // namespace
}  // namespace xenoprof
