// SPDX-License-Identifier: GPL-2.0-or-later
#include "session/channel.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>

#include "session/wire.pb.h"

namespace xenoprof {
namespace {

using namespace std::chrono_literals;

struct Ends {
  std::unique_ptr<Channel> raw;  // of the peer that may say anything
  Connection mine;
};

Ends make_ends(std::size_t largest) {
  auto both = local_channel();
  EXPECT_TRUE(both);
  return {std::move(both->first), Connection(std::move(both->second), largest)};
}

Result<std::optional<std::string>> next(Connection& connection) {
  for (int i = 0; i < 100; ++i) {
    auto message = connection.receive();
    if (!message || message->has_value()) {
      return message;
    }
    connection.wait(10ms);
  }
  return std::nullopt;
}

TEST(Connection, MessagesArriveWholeAndInOrder) {
  auto both = local_channel();
  ASSERT_TRUE(both);
  Connection one(std::move(both->first), 1 << 20);
  Connection other(std::move(both->second), 1 << 20);
  // The second is larger than a socket holds, so that it goes in pieces.
  wire::FromParticipant large;
  large.mutable_records()->set_data(std::string(900'000, 'x'));
  std::thread sender([&] {
    wire::FromParticipant small;
    small.set_failure("first");
    EXPECT_TRUE(one.send(small, 5s));
    EXPECT_TRUE(one.send(large, 5s));
  });
  const auto first = next(other);
  const auto second = next(other);
  sender.join();
  wire::FromParticipant message;
  ASSERT_TRUE(first && *first && message.ParseFromString(**first));
  EXPECT_EQ(message.failure(), "first");
  ASSERT_TRUE(second && *second);
  EXPECT_EQ(**second, large.SerializeAsString());
}

TEST(Connection, AMessageLargerThanAllowedIsRefusedBeforeItIsRead) {
  Ends ends = make_ends(1000);
  const std::string header("\xe9\x03\x00\x00", 4);  // 1001 bytes
  ASSERT_TRUE(ends.raw->write_some(header));
  EXPECT_FALSE(next(ends.mine));
}

TEST(Connection, APeerThatHangsUpWithinAMessageIsGone) {
  Ends ends = make_ends(1000);
  ASSERT_TRUE(ends.raw->write_some(std::string("\x10\x00\x00\x00half", 8)));
  ends.raw.reset();
  EXPECT_FALSE(next(ends.mine));
}

TEST(Connection, SendingGivesUpOnAPeerThatReadsNothing) {
  Ends ends = make_ends(1000);
  wire::FromParticipant large;
  large.mutable_records()->set_data(std::string(4'000'000, 'x'));
  EXPECT_FALSE(ends.mine.send(large, 50ms));
}

}  // namespace
}  // namespace xenoprof
