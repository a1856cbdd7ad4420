// SPDX-License-Identifier: GPL-2.0-or-later
#include <gtest/gtest.h>

#include "execd/frame.h"

namespace xenoprof::lab {
namespace {

TEST(Frame, SurvivesBeingCutAnywhere) {
  const std::string stream =
      encode_frame(FrameType::kStdout, "hello") + encode_frame(FrameType::kStdinEnd, "");
  FrameReader reader;
  std::vector<Frame> frames;
  for (const char byte : stream) {
    reader.feed({&byte, 1});
    auto frame = reader.next();
    ASSERT_TRUE(frame.has_value());
    if (*frame)
      frames.push_back(**frame);
  }
  ASSERT_EQ(frames.size(), 2U);
  EXPECT_EQ(frames[0].type, FrameType::kStdout);
  EXPECT_EQ(frames[0].payload, "hello");
  EXPECT_EQ(frames[1].type, FrameType::kStdinEnd);
  EXPECT_EQ(frames[1].payload, "");
}

TEST(Frame, RefusesALengthBeyondTheLimit) {
  FrameReader reader;
  reader.feed(std::string_view("\x02\xff\xff\xff\xff", 5));
  EXPECT_FALSE(reader.next().has_value());
}

TEST(Frame, AcceptsTheLongestPayload) {
  FrameReader reader;
  reader.feed(encode_frame(FrameType::kStdin, std::string(kMaxFramePayload, 'x')));
  const auto frame = reader.next();
  ASSERT_TRUE(frame.has_value() && frame->has_value());
  EXPECT_EQ((*frame)->payload.size(), kMaxFramePayload);
}

StartRequest example() {
  return {"secret", {"sh", "-c", std::string("a\0b", 3), ""}, {"A=1", "B="}, true, {50, 132}};
}

TEST(StartRequest, ComesBackAsItWas) {
  const auto request = decode_start(encode_start(example()));
  ASSERT_TRUE(request.has_value()) << request.error().message;
  EXPECT_EQ(request->token, "secret");
  EXPECT_EQ(request->arguments, example().arguments);
  EXPECT_EQ(request->environment, example().environment);
  EXPECT_TRUE(request->terminal);
  EXPECT_EQ(request->window.rows, 50);
  EXPECT_EQ(request->window.columns, 132);
}

TEST(StartRequest, EveryTruncationIsRefused) {
  const std::string whole = encode_start(example());
  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_FALSE(decode_start(whole.substr(0, size)).has_value()) << size;
  EXPECT_FALSE(decode_start(whole + "x").has_value());
}

TEST(StartRequest, HostileCountsAndLengthsAreRefused) {
  const std::string whole = encode_start(example());
  // Each place in turn claims 4 GiB: lengths and counts among them.
  for (std::size_t at = 0; at + 4 <= whole.size(); ++at) {
    std::string hostile = whole;
    hostile.replace(at, 4, "\xff\xff\xff\xff");
    [[maybe_unused]] const auto request = decode_start(hostile);
  }
  EXPECT_FALSE(decode_start(std::string(4, '\xff')).has_value());
  EXPECT_FALSE(decode_start(std::string(4, '\0') + std::string(4, '\xff')).has_value());
}

TEST(StartRequest, NeedsACommand) {
  StartRequest request = example();
  request.arguments.clear();
  EXPECT_FALSE(decode_start(encode_start(request)).has_value());
  request.arguments = {""};
  EXPECT_FALSE(decode_start(encode_start(request)).has_value());
}

TEST(ExitStatus, IsReportedAsAShellWould) {
  const auto exited = decode_exit(encode_exit({false, 7}));
  ASSERT_TRUE(exited.has_value());
  EXPECT_EQ(exited->shell_status(), 7);
  const auto killed = decode_exit(encode_exit({true, 9}));
  ASSERT_TRUE(killed.has_value());
  EXPECT_EQ(killed->shell_status(), 137);
  EXPECT_FALSE(decode_exit("").has_value());
  EXPECT_FALSE(decode_window("abc").has_value());
}

}  // namespace
}  // namespace xenoprof::lab
