// SPDX-License-Identifier: GPL-2.0-or-later
#include "report/source.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "report/export.h"
#include "temporary_folder.h"

namespace xenoprof {
namespace {

// On a perf.data with a sample in a program of this build-id.
std::string notes_with(std::string_view build_id) {
  Profile profile({{"cycles", 10}});
  SampleKey key;
  key.process = profile.intern("program");
  const ImageId image = profile.add_image("/missing/program", build_id);
  key.stack = profile.add_alone(profile.add_location(image, 0x1000));
  profile.add(key, 0, 1);
  const TemporaryFolder folder;
  const auto path = folder / "perf.data";
  EXPECT_TRUE(write_perf_data(profile, path));
  const auto recorded = read_source(path);
  EXPECT_TRUE(recorded);
  std::string all;
  for (const std::string& note : recorded->notes) {
    all += note + "\n";
  }
  return all;
}

TEST(Source, SaysWhereNothingTellsWhichFileRan) {
  const std::string unknown = notes_with("");
  EXPECT_NE(unknown.find("Recorded without build-id: 1 file."), std::string::npos) << unknown;
  const std::string known = notes_with("0123456789abcdef0123456789abcdef01234567");
  EXPECT_EQ(known.find("without build-id"), std::string::npos) << known;
}

}  // namespace
}  // namespace xenoprof
