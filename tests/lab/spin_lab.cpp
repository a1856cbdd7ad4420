// SPDX-License-Identifier: GPL-2.0-or-later
#include "spin_lab.h"

#include <fmt/format.h>

#include <future>

namespace xenoprof {

void SpinLab::copy_spin(const std::vector<std::string>& guests) {
  for (const std::string& guest : guests) {
    for (const char* name : {"spin_a", "spin_b"}) {
      ASSERT_EQ(lab().copy_in(program("prog_spin"), guest, fmt::format("/usr/bin/{}", name)), 0);
    }
  }
}

void SpinLab::in_both(const std::string& script) {
  auto other = std::async(std::launch::async, [&] { return in("guest2", script); });
  const auto one = in("guest1", script);
  EXPECT_EQ(one.status, 0) << one.err;
  EXPECT_EQ(other.get().status, 0);
}

void SpinLab::on_two_vcpus_and_on_one(const std::function<void(int vcpus)>& test) {
  test(2);
  in_both("echo 0 > /sys/devices/system/cpu/cpu1/online");
  test(1);
  in_both("echo 1 > /sys/devices/system/cpu/cpu1/online");
}

SpinLab::Spun SpinLab::spun(const std::string& guest, const std::string& event) {
  Spun result;
  for (const Json& row : rows()) {
    if (row["domain"] != guest || row["symbol"] != "spin_loop") {
      continue;
    }
    const std::string image = row["image"];
    (image == "/usr/bin/spin_a" ? result.a : result.b) += samples(row, event);
    if ("/usr/bin/" + row["process"].get<std::string>() != image || row["mode"] != "user") {
      result.astray += samples(row, event);
    }
  }
  return result;
}

std::uint64_t SpinLab::nameless(const std::string& guest, const std::string& event) {
  std::uint64_t count = 0;
  for (const Json& row : rows("--domain " + guest)) {
    count += row["mode"] == "user" && row["image"] == "[unknown]" ? samples(row, event) : 0;
  }
  return count;
}

void SpinLab::expect_three_to_one(const std::string& guest, const std::string& event,
                                  std::uint64_t least) {
  SCOPED_TRACE(guest);
  const Spun both = spun(guest, event);
  EXPECT_GE(both.a + both.b, least);
  EXPECT_EQ(both.astray, 0u);
  EXPECT_NEAR(100.0 * static_cast<double>(both.a) / static_cast<double>(both.a + both.b), 75,
              kWithin)
      << both.a << " and " << both.b << " samples";
  EXPECT_EQ(nameless(guest, event), 0u);
}

}  // namespace xenoprof
