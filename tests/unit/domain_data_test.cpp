// SPDX-License-Identifier: GPL-2.0-or-later
#include "session/domain_data.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <random>
#include <string>
#include <variant>

#include "perf/data_reader.h"
#include "perf/record_fields.h"
#include "temporary_folder.h"

namespace xenoprof {
namespace {

class DomainDataTest : public testing::Test {
 protected:
  static std::string text(perf::Bytes bytes) {
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  std::string sample(std::size_t event = 0, Mode mode = Mode::kKernel) {
    return text(builder_.sample(1, event, mode, 0x1010, 7, 7, 0, {}));
  }

  // perf has two names for the second, and the file only one until it is finished.
  perf::Layout layout_{.events = {{"instructions", 100000}, {"cpu-cycles", 200000}}};
  perf::RecordBuilder builder_{layout_};
  const TemporaryFolder folder_;
  const Folder kept_ = *Folder::open(folder_.path());
};

TEST_F(DomainDataTest, WhatAParticipantSendsIsInFileAndProfile) {
  auto data = DomainData::create(&kept_, "a", layout_, false);
  ASSERT_TRUE(data);
  ASSERT_TRUE(data->add(text(builder_.mmap(0, 7, 7, 0x1000, 0x1000, 0, {}, 5, "/prog"))));
  ASSERT_TRUE(data->add(sample(0, Mode::kUser) + sample(0, Mode::kUser) + sample(1, Mode::kUser)));
  EXPECT_EQ(data->arrived(), (std::vector<std::uint64_t>{2, 1}));
  const Profile profile = data->profile();
  EXPECT_EQ(profile.events(), layout_.events);
  EXPECT_EQ(profile.total(0), 2u);
  EXPECT_EQ(profile.total(1), 1u);
  ASSERT_EQ(profile.images().size(), 1u);
  EXPECT_EQ(profile.text(profile.images()[0].name), "/prog");
  ASSERT_TRUE(data->finish({}, {}));
  auto reader = perf::DataReader::open(folder_ / "a.perf.data");
  ASSERT_TRUE(reader);
  int samples = 0;
  for (auto record = reader->next(); record && *record; record = reader->next()) {
    samples += std::holds_alternative<perf::SampleRecord>((*record)->body);
  }
  EXPECT_EQ(samples, 3);
}

TEST_F(DomainDataTest, OfAPassiveDomainOnlyTheKernelIsLookedInto) {
  auto data = DomainData::create(&kept_, "p", layout_, true);
  ASSERT_TRUE(data);
  ASSERT_TRUE(data->add(sample(0, Mode::kUser) + sample(0, Mode::kKernel)));
  const Profile profile = data->profile();
  EXPECT_EQ(profile.total(0), 2u);
  ASSERT_EQ(profile.images().size(), 2u);
  EXPECT_EQ(profile.text(profile.images()[0].name), kPassiveUserImage);
  EXPECT_EQ(profile.text(profile.images()[1].name), kKernelImage);
}

TEST_F(DomainDataTest, SaysWhereSamplesStandForUnlikeNumbersOfEvents) {
  const perf::Layout layout{.events = {{"page-faults", 0}}, .countings = {{.frequency = 1000}}};
  perf::RecordBuilder builder(layout);
  for (const bool at_once : {false, true}) {
    auto data = DomainData::create(&kept_, "f", layout, false);
    ASSERT_TRUE(data);
    if (at_once) {
      data->interpret_at_once();
    }
    for (int i = 0; i < 100; ++i) {
      const std::uint64_t period = i % 10 == 0 ? 5000 : 1;
      std::string record = text(builder.sample(1, 0, Mode::kUser, 0x1010, 7, 7, 0, {}));
      std::memcpy(record.data() + sizeof(perf_event_header) + sizeof(perf::SampleFields), &period,
                  sizeof period);
      ASSERT_TRUE(data->add(record));
    }
    data->profile();
    ASSERT_EQ(data->notes().size(), 1u) << at_once;
    EXPECT_NE(data->notes()[0].find("stands for up to 5,000 of them"), std::string::npos);
    ASSERT_TRUE(data->finish({}, {}));
  }
}

TEST_F(DomainDataTest, APassiveDomainCanBeLookedAtMeanwhileAndNeedsNoFile) {
  auto data = DomainData::create(nullptr, "", layout_, true);
  ASSERT_TRUE(data);
  EXPECT_EQ(data->profile_so_far(), nullptr);
  data->interpret_at_once();
  ASSERT_TRUE(data->add(sample(0, Mode::kKernel)));
  ASSERT_NE(data->profile_so_far(), nullptr);
  EXPECT_EQ(data->profile_so_far()->total(0), 1u);
  ASSERT_TRUE(data->add(sample(0, Mode::kKernel)));
  EXPECT_EQ(data->arrived(), (std::vector<std::uint64_t>{2, 0}));
  EXPECT_EQ(data->profile().total(0), 2u);
  EXPECT_TRUE(data->finish({}, {}));
}

// Stock perf, which reads the file, believes what such records say.
TEST_F(DomainDataTest, RecordsThatAreNoParticipantsAreRefused) {
  auto data = DomainData::create(&kept_, "r", layout_, false);
  ASSERT_TRUE(data);
  for (const std::uint8_t type : {64, 71, 81, 33, 0}) {
    std::string record(48, '\0');
    record[0] = static_cast<char>(type);
    record[6] = 48;
    EXPECT_FALSE(data->add(sample() + record)) << int{type};
  }
  EXPECT_EQ(data->arrived()[0], 0u) << "a message is taken as a whole or not at all";
  EXPECT_EQ(data->profile().total(0), 0u);
}

TEST_F(DomainDataTest, GarbageFromAParticipantIsRefusedAndHarmsNothing) {
  auto data = DomainData::create(&kept_, "b", layout_, false);
  ASSERT_TRUE(data);
  std::mt19937 random(1);
  const std::string good = sample();
  int refused = 0;
  for (int i = 0; i < 2000; ++i) {
    std::string bytes = good;
    for (int changes = 0; changes < 4; ++changes) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    bytes.resize(random() % (bytes.size() + 1));
    refused += !data->add(bytes);
  }
  EXPECT_GT(refused, 1000);
  EXPECT_TRUE(data->finish({}, {}));
}

TEST_F(DomainDataTest, AFullDiskIsToldAndWhatItDidNotTakeIsKnownExactly) {
  auto data = DomainData::create(&kept_, "c", layout_, false);
  ASSERT_TRUE(data);
  // No file of this process may grow beyond 640 KiB: to the writer that is a full disk.
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit old{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  const rlimit small{.rlim_cur = 640 * 1024, .rlim_max = old.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string one = sample();
  for (int i = 0; i < 20000; ++i) {
    ASSERT_TRUE(data->add(one));
  }
  const std::uint64_t in_profile = data->profile().total(0);
  // There is room again, too late for what was given up.
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
  ASSERT_FALSE(data->written());
  EXPECT_NE(data->written().error().message.find("c.perf.data"), std::string::npos);
  EXPECT_EQ(data->arrived()[0], 20000u);
  EXPECT_GT(in_profile, 5000u);
  EXPECT_LT(in_profile, 20000u);
  EXPECT_FALSE(data->finish({}, {})) << "what is missing is told to the end";
  auto reader = perf::DataReader::open(folder_ / "c.perf.data");
  ASSERT_TRUE(reader) << reader.error().message;
  EXPECT_EQ(reader->layout(), layout_) << "the names of the events are there all the same";
  std::uint64_t in_file = 0;
  for (auto record = reader->next(); record && *record; record = reader->next()) {
    in_file += std::holds_alternative<perf::SampleRecord>((*record)->body);
  }
  EXPECT_EQ(in_file, in_profile);
}

TEST_F(DomainDataTest, WhoTakesNoPartLeavesNoFile) {
  const auto path = folder_ / "e.perf.data";
  auto data = DomainData::create(&kept_, "e", layout_, false);
  ASSERT_TRUE(data);
  ASSERT_TRUE(data->add(sample()));
  data->discard();
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(DomainDataTest, AFileThatCannotBeReadAgainIsToldAndItsSamplesAreMissed) {
  const auto path = folder_ / "d.perf.data";
  auto data = DomainData::create(&kept_, "d", layout_, false);
  ASSERT_TRUE(data);
  ASSERT_TRUE(data->add(sample()));
  std::filesystem::remove(path);
  EXPECT_EQ(data->profile().total(0), 0u);
  EXPECT_EQ(data->arrived()[0], 1u);
  EXPECT_FALSE(data->written());
}

}  // namespace
}  // namespace xenoprof
