// SPDX-License-Identifier: GPL-2.0-or-later
#include "pprof/pprof.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <random>

#include "pprof/gzip.h"
#include "temporary_folder.h"

namespace xenoprof {
namespace {

Profile small_profile() {
  Profile profile({{"instructions", 1'000'000}, {"cycles:u", 250'000}});
  const ImageId kernel = profile.add_image("[kernel]", "0badcafe");
  const ImageId program = profile.add_image("/usr/bin/iperf3", "");
  const LocationId named =
      profile.add_location(kernel, 0xffffffff81000010, profile.intern("tcp_recvmsg"));
  const LocationId nameless = profile.add_location(program, 0x1234);
  const LocationId highest = profile.add_location(kernel, 0xffffffffffffffff);
  // tcp_recvmsg, with skb_copy inlined into it.
  const StringId socket_file = profile.intern("net/ipv4/tcp.c");
  profile.set_lines(
      named, profile.intern({{profile.intern("skb_copy"), profile.intern("net/core/skbuff.c"), 7},
                             {profile.intern("tcp_recvmsg"), socket_file, 2'000'000'000}}));
  SampleKey key;
  key.domain = profile.intern("guest1");
  key.process = profile.intern("iperf3");
  key.pid = 77;
  key.tid = 78;
  key.vcpu = 3;
  key.mode = Mode::kKernel;
  key.stack = profile.add_stack(std::array{named, nameless, named});
  profile.add(key, 0, 17);
  profile.add(key, 1, 5);
  key.mode = Mode::kUser;
  key.pid = -1;
  key.tid = 0;
  key.vcpu = 0;
  key.process = profile.intern("\xff\xfe not UTF-8");
  key.stack = profile.add_alone(nameless);
  profile.add(key, 1, std::uint64_t{1} << 40);
  key.mode = Mode::kHypervisor;
  key.stack = profile.add_alone(highest);
  profile.add(key, 0);
  return profile;
}

// Every fact of the profile as text, ids resolved, in no order of the samples.
std::string told(const Profile& profile) {
  std::string out;
  for (const Event& event : profile.events()) {
    out += fmt::format("{} {}\n", event.name, event.count);
  }
  std::vector<std::string> samples;
  for (const Sample& sample : profile.samples()) {
    const SampleKey& key = sample.key;
    std::string& text = samples.emplace_back();
    text += fmt::format("{} {} {} {} {} {}", profile.text(key.domain), profile.text(key.process),
                        key.pid, key.tid, key.vcpu, to_string(key.mode));
    for (LocationId id : profile.stack(sample)) {
      const Location& location = profile.locations()[id];
      const Image& image = profile.images()[location.image];
      text += fmt::format(" {}({})+{:x}={}", profile.text(image.name), profile.text(image.build_id),
                          location.address, profile.text(location.symbol));
      for (const Line& line : profile.lines(location)) {
        text += fmt::format("<{} {}:{}>", profile.text(line.function), profile.text(line.file),
                            line.line);
      }
    }
    for (std::uint64_t number : sample.samples) {
      text += fmt::format(" {}", number);
    }
    text += '\n';
  }
  std::ranges::sort(samples);
  return out + fmt::format("{}", fmt::join(samples, ""));
}

// Messages by hand, to say what no writer says.
std::string varint(std::uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) {
    out += static_cast<char>(value | 0x80);
  }
  return out + static_cast<char>(value);
}
std::string bytes_field(unsigned field, std::string_view content) {
  return varint(field << 3 | 2) + varint(content.size()) + std::string(content);
}
std::string number_field(unsigned field, std::uint64_t value) {
  return varint(field << 3) + varint(value);
}

constexpr unsigned kSampleType = 1;
constexpr unsigned kSample = 2;
constexpr unsigned kMapping = 3;
constexpr unsigned kLocation = 4;
constexpr unsigned kFunction = 5;
constexpr unsigned kString = 6;

std::string error_of(std::string_view message, const pprof::Limits& limits = pprof::kWireLimits) {
  const auto profile = pprof::decode(pprof::gzip(message), limits);
  return profile ? "" : profile.error().message;
}

TEST(Pprof, ReadsBackAllItWrote) {
  const Profile profile = small_profile();
  const auto back = pprof::decode(pprof::encode(profile));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(told(*back), told(profile));
}

// Stacks of all shapes, and more than are compressed at once.
TEST(Pprof, ReadsBackEveryStackOfMany) {
  Profile profile({{"cycles", 1}});
  const ImageId image = profile.add_image("/prog", "");
  const StringId domains[] = {profile.intern("one"), profile.intern("other")};
  std::minstd_rand random(1);
  std::vector<LocationId> stack;
  for (int i = 0; i < 25'000; ++i) {
    stack.resize(1 + random() % 12);
    for (LocationId& location : stack) {
      location = profile.add_location(image, 0x1000 - random() % 8);
    }
    profile.add({.domain = domains[random() % 2], .pid = i, .stack = profile.add_stack(stack)}, 0);
  }
  const std::string bytes = pprof::encode(profile);
  EXPECT_GT(pprof::gunzip(bytes, std::size_t{1} << 30)->size(), std::size_t{1} << 20);
  const auto back = pprof::decode(bytes);
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_TRUE(told(*back) == told(profile)) << "not printed: it is too long";
}

TEST(Pprof, AMergeKeepsAllButTheDomain) {
  Profile merged;
  merged.merge(Profile({{"before", 1}}), "");
  merged.intern("shifts the strings' numbers");
  merged.merge(small_profile(), "");
  Profile alone({{"before", 1}});
  alone.merge(small_profile(), "");
  EXPECT_EQ(told(merged), told(alone));
  EXPECT_NE(told(merged).find("<skb_copy net/core/skbuff.c:7>"), std::string::npos);
}

TEST(Pprof, AnEmptyProfileSurvives) {
  const auto back = pprof::decode(pprof::encode(Profile({{"cycles", 10}})));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(told(*back), "cycles 10\n");
}

TEST(Pprof, AMappingWithoutAFileIsAnUnknownImage) {
  Profile profile({{"cycles", 1}});
  SampleKey key;
  key.stack =
      profile.add_alone(profile.add_location(profile.add_image("", ""), 0x10, profile.intern("f")));
  profile.add(key, 0, 1);
  const auto back = pprof::decode(pprof::encode(profile));
  ASSERT_TRUE(back) << back.error().message;
  ASSERT_EQ(back->images().size(), 1u);
  EXPECT_EQ(back->text(back->images()[0].name), kUnknownImage);
}

TEST(Pprof, EqualProfilesGiveEqualBytes) {
  EXPECT_EQ(pprof::encode(small_profile()), pprof::encode(small_profile()));
  const auto back = pprof::decode(pprof::encode(small_profile()));
  ASSERT_TRUE(back);
  EXPECT_EQ(told(*pprof::decode(pprof::encode(*back))), told(small_profile()));
}

TEST(Pprof, EventsOfOneNameKeepTheirCounts) {
  Profile profile({{"cycles", 10}, {"cycles", 20}});
  const auto back = pprof::decode(pprof::encode(profile));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->events(), profile.events());
}

TEST(Pprof, ReadsWhatOtherProgramsWrite) {
  // Strings last, no comments, no labels, an inlined function, no mapping.
  const std::string message =
      bytes_field(kSample, bytes_field(1, varint(900)) + bytes_field(2, varint(4))) +
      bytes_field(kSampleType, number_field(1, 1) + number_field(2, 2)) +
      bytes_field(kLocation, number_field(1, 900) + number_field(3, 0x40) +
                                 bytes_field(4, number_field(1, 7)) +
                                 bytes_field(4, number_field(1, 8) + number_field(2, 12))) +
      bytes_field(kFunction, number_field(1, 7) + number_field(2, 3)) +
      bytes_field(kFunction, number_field(1, 8) + number_field(2, 4) + number_field(5, 9)) +
      number_field(9, 1'700'000'000) + bytes_field(kString, "") + bytes_field(kString, "cpu") +
      bytes_field(kString, "count") + bytes_field(kString, "inlined") +
      bytes_field(kString, "caller");
  const auto profile = pprof::decode(pprof::gzip(message));
  ASSERT_TRUE(profile) << profile.error().message;
  EXPECT_EQ(told(*profile),
            "cpu 1\n  0 0 0 user [unknown]()+40=caller<inlined :0><caller :12> 4\n");
}

// As of a Go program: one number counts samples, the other nanoseconds.
TEST(Pprof, TakesNumbersOfSamplesAlone) {
  const std::string strings = bytes_field(kString, "") + bytes_field(kString, "cpu") +
                              bytes_field(kString, "nanoseconds") +
                              bytes_field(kString, "samples") + bytes_field(kString, "count");
  const std::string time = bytes_field(kSampleType, number_field(1, 1) + number_field(2, 2));
  const std::string count = bytes_field(kSampleType, number_field(1, 3) + number_field(2, 4));
  const std::string both =
      bytes_field(kSample, bytes_field(1, varint(900)) + bytes_field(2, varint(1'000) + varint(4)));
  const std::string place = bytes_field(kLocation, number_field(1, 900) + number_field(3, 0x40));
  const auto stored =
      pprof::decode_stored(pprof::gzip(strings + time + count + both + place), pprof::kFileLimits);
  ASSERT_TRUE(stored) << stored.error().message;
  EXPECT_EQ(told(stored->profile), "samples 1\n  0 0 0 user [unknown]()+40= 4\n");
  EXPECT_EQ(stored->left_out, std::vector<std::string>{"cpu (nanoseconds)"});

  EXPECT_NE(error_of(strings + time).find("no samples, but cpu (nanoseconds)"), std::string::npos);
}

TEST(Pprof, RefusesWhatPointsNowhere) {
  const std::string strings = bytes_field(kString, "") + bytes_field(kString, "cpu");
  const std::string type = bytes_field(kSampleType, number_field(1, 1));
  EXPECT_NE(error_of(strings + bytes_field(kSampleType, number_field(1, 2))), "");
  EXPECT_NE(error_of(strings + bytes_field(kSampleType, number_field(1, ~0ull))), "");
  EXPECT_NE(error_of(strings + bytes_field(kMapping, number_field(1, 1) + number_field(5, 9))), "");
  EXPECT_NE(error_of(strings + bytes_field(kFunction, number_field(1, 1) + number_field(2, 9))),
            "");
  EXPECT_NE(error_of(bytes_field(kLocation, number_field(1, 1) + number_field(2, 5))), "");
  EXPECT_NE(
      error_of(bytes_field(kLocation, number_field(1, 1) + bytes_field(4, number_field(1, 5)))),
      "");
  EXPECT_NE(error_of(bytes_field(kSample, bytes_field(1, varint(3)))), "");
  EXPECT_NE(error_of(strings + type + bytes_field(kSample, "")), "") << "a number is missing";
  EXPECT_NE(error_of(bytes_field(kSample, bytes_field(2, varint(3)))), "") << "one too many";
  EXPECT_NE(error_of(strings + type + bytes_field(kSample, bytes_field(2, varint(~0ull)))), "")
      << "a negative number";
  EXPECT_NE(error_of(bytes_field(kMapping, number_field(1, 1)) +
                     bytes_field(kMapping, number_field(1, 1))),
            "");
  EXPECT_NE(error_of(bytes_field(kMapping, "")), "") << "number 0";
  EXPECT_NE(error_of(bytes_field(kString, "first")), "");
}

TEST(Pprof, RefusesLabelsOutOfRange) {
  for (const auto& [name, value] :
       {std::pair{"pid", std::uint64_t{1} << 32}, std::pair{"vcpu", ~std::uint64_t{0}},
        std::pair{"mode", std::uint64_t{0}}}) {
    const std::string message =
        bytes_field(kString, "") + bytes_field(kString, name) +
        bytes_field(kSample, bytes_field(3, number_field(1, 1) + number_field(3, value)));
    EXPECT_NE(error_of(message), "") << name;
  }
}

TEST(Pprof, ABombIsStoppedAtTheLimit) {
  // 16 MiB of nothing in about 16 KiB.
  const std::string bomb = pprof::gzip(std::string(std::size_t{16} << 20, '\0'));
  EXPECT_LT(bomb.size(), 20'000u);
  const auto unpacked = pprof::gunzip(bomb, std::size_t{1} << 20);
  ASSERT_FALSE(unpacked);
  EXPECT_EQ(unpacked.error().message, "it unpacks to more than 1 MiB");
  // Stopped before its end is reached, or it would be found missing.
  const auto half = pprof::gunzip(bomb.substr(0, bomb.size() / 2), std::size_t{1} << 20);
  ASSERT_FALSE(half);
  EXPECT_EQ(half.error().message, "it unpacks to more than 1 MiB");
  EXPECT_TRUE(pprof::gunzip(pprof::gzip("exactly"), 7));
  EXPECT_FALSE(pprof::gunzip(pprof::gzip("exactly"), 6));
}

TEST(Pprof, CountsAreLimited) {
  const pprof::Limits limits{.bytes = 1 << 20, .items = 10, .frames = 10};
  std::string locations;
  for (unsigned i = 1; i <= 10; ++i) {
    locations += bytes_field(kLocation, number_field(1, i));
  }
  EXPECT_EQ(error_of(locations, limits), "");
  EXPECT_NE(error_of(locations + bytes_field(kLocation, number_field(1, 11)), limits), "");
  std::string types;
  for (unsigned i = 0; i < 33; ++i) {
    types += bytes_field(kSampleType, "");
  }
  EXPECT_NE(error_of(types), "");
  EXPECT_NE(error_of(bytes_field(kSample, std::string(70'000, '\0'))), "");
}

// A byte of a message can be a frame of forty bytes.
TEST(Pprof, CallersAreLimited) {
  const pprof::Limits limits{.bytes = 1 << 20, .items = 100, .frames = 10};
  const std::string head = bytes_field(kString, "") + bytes_field(kSampleType, "") +
                           bytes_field(kLocation, number_field(1, 1));
  const auto sample = [](std::size_t callers, std::uint64_t value) {
    return bytes_field(kSample,
                       bytes_field(1, std::string(callers, 1)) + bytes_field(2, varint(value)));
  };
  EXPECT_EQ(error_of(head + sample(9, 1), limits), "");
  EXPECT_NE(error_of(head + sample(11, 1), limits), "");
  EXPECT_NE(error_of(head + sample(9, 1) + sample(9, 1), limits), "");
  const auto of_nothing = pprof::decode(pprof::gzip(head + sample(9, 0)), limits);
  ASSERT_TRUE(of_nothing) << of_nothing.error().message;
  EXPECT_EQ(of_nothing->frames().size(), 1u);
}

TEST(Pprof, DamageNeverGetsThrough) {
  const std::string whole = pprof::encode(small_profile());
  for (std::size_t length = 0; length < whole.size(); ++length) {
    EXPECT_FALSE(pprof::decode(std::string_view(whole).substr(0, length))) << length;
  }
  EXPECT_FALSE(pprof::decode(whole + "x"));
  const std::string strings = bytes_field(kString, "") + bytes_field(kString, "abc");
  EXPECT_EQ(error_of(strings), "");
  EXPECT_NE(error_of(strings.substr(0, strings.size() - 1)), "");
  // Damage below gzip's checksum may yield another profile, or a sentence, but nothing worse.
  const std::string message = *pprof::gunzip(whole, 1 << 20);
  std::minstd_rand random(1);
  for (int round = 0; round < 3000; ++round) {
    std::string damaged = message;
    for (int bytes = 0; bytes < 3; ++bytes) {
      damaged[random() % damaged.size()] = static_cast<char>(random());
    }
    damaged.resize(round % 4 == 0 ? random() % damaged.size() : damaged.size());
    const auto profile = pprof::decode(pprof::gzip(damaged));
    if (profile) {
      EXPECT_TRUE(pprof::decode(pprof::encode(*profile)));
    } else {
      EXPECT_TRUE(profile.error().message.starts_with("The profile cannot be read: "));
    }
  }
}

TEST(PprofFile, IsReadBack) {
  const TemporaryFolder folder;
  const auto back = pprof::read(folder.file("profile.pb.gz", pprof::encode(small_profile())));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(told(back->profile), told(small_profile()));
  EXPECT_TRUE(back->left_out.empty());
}

TEST(PprofFile, FailuresNameTheFile) {
  const TemporaryFolder folder;
  const auto missing = pprof::read(folder / "missing");
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().message.find("missing"), std::string::npos);
  std::ofstream(folder / "text") << "no profile at all";
  const auto text = pprof::read(folder / "text");
  ASSERT_FALSE(text);
  EXPECT_NE(text.error().message.find("/text: "), std::string::npos);
  EXPECT_FALSE(pprof::read(folder.path()));
}

TEST(Pprof, TellsHowMuchOfALargeFileIsRead) {
  Profile profile({{"cycles", 10}});
  const ImageId image = profile.add_image("/bin/a", "");
  for (std::uint64_t address = 0; address < 50'000; ++address) {
    const std::vector<LocationId> leaf = {profile.add_location(image, address)};
    profile.add({.stack = profile.add_stack(leaf)}, 0);
  }
  std::vector<double> shares;
  ASSERT_TRUE(pprof::decode(pprof::encode(profile), pprof::kWireLimits,
                            [&](double share) { shares.push_back(share); }));
  ASSERT_GE(shares.size(), 4u);
  EXPECT_TRUE(std::ranges::is_sorted(shares));
  EXPECT_GT(shares.back(), 0.8);
  EXPECT_LE(shares.back(), 1);
}

}  // namespace
}  // namespace xenoprof
