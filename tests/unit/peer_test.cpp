// SPDX-License-Identifier: GPL-2.0-or-later
#include "session/peer.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <random>
#include <string>

namespace xenoprof {
namespace {

class DomainDataTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ =
        std::filesystem::temp_directory_path() / ("xenoprof-peer-" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string sample() {
    perf::RecordBuilder builder(layout_);
    const auto bytes = builder.sample(1, 0, Mode::kKernel, 0xffffffff81000000, 7, 7, 0, {});
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }

  perf::Layout layout_{.events = {{"instructions", 100000}}};
  std::filesystem::path folder_;
};

TEST_F(DomainDataTest, WhatAParticipantSendsIsInFileAndProfile) {
  auto data = DomainData::create(folder_ / "a.perf.data", layout_, false);
  ASSERT_TRUE(data);
  ASSERT_TRUE(data->add(sample() + sample()));
  EXPECT_EQ(data->interpreter().profile().total(0), 2u);
  ASSERT_TRUE(data->finish({}, {}));
  auto reader = perf::DataReader::open(folder_ / "a.perf.data");
  ASSERT_TRUE(reader);
  int samples = 0;
  for (auto record = reader->next(); record && *record; record = reader->next()) {
    samples += std::holds_alternative<perf::SampleRecord>((*record)->body);
  }
  EXPECT_EQ(samples, 2);
}

TEST_F(DomainDataTest, GarbageFromAParticipantIsRefusedAndHarmsNothing) {
  auto data = DomainData::create(folder_ / "b.perf.data", layout_, false);
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

TEST_F(DomainDataTest, AFullDiskIsToldAndTheProfileGoesOn) {
  auto data = DomainData::create(folder_ / "c.perf.data", layout_, false);
  ASSERT_TRUE(data);
  // No file of this process may grow beyond 64 KiB: to the writer that is a full disk.
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit old{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  const rlimit small{.rlim_cur = 64 * 1024, .rlim_max = old.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string one = sample();
  for (int i = 0; i < 20000; ++i) {
    ASSERT_TRUE(data->add(one));
  }
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
  ASSERT_FALSE(data->written());
  EXPECT_NE(data->written().error().message.find("c.perf.data"), std::string::npos);
  EXPECT_EQ(data->interpreter().profile().total(0), 20000u);
}

}  // namespace
}  // namespace xenoprof
