// SPDX-License-Identifier: GPL-2.0-or-later
// What `xenoprof lab up kvm` promises: a KVM host with counters, and guests that can be reached,
// paused, killed and made again.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <charconv>
#include <future>
#include <sstream>

#include "lab_machine.h"

namespace xenoprof {
namespace {

using namespace std::chrono_literals;
using testing::Gt;
using testing::HasSubstr;

class KvmLab : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    lab_ = &LabMachine::shared("kvm", {"--guests", "2", "--vcpus", "2"});
  }
  // Standard output of a shell command, which must succeed.
  static std::string in(const std::string& domain, const std::string& command) {
    const auto result = lab_->exec(domain, {"sh", "-c", command});
    EXPECT_EQ(result.status, 0) << command << ": " << result.err;
    return result.out;
  }
  static LabMachine* lab_;
};

LabMachine* KvmLab::lab_ = nullptr;

TEST_F(KvmLab, DomainsAreWhatTheyAreCalled) {
  for (const std::string domain : {"host", "guest1", "guest2"})
    EXPECT_EQ(in(domain, "hostname"), domain + "\n");
  for (const char* guest : {"guest1", "guest2"}) {
    EXPECT_EQ(in(guest, "nproc"), "2\n");
    EXPECT_THAT(in(guest, "dmesg"), HasSubstr("Hypervisor detected: KVM"));
  }
}

TEST_F(KvmLab, ProgramsAreThere) {
  for (const char* domain : {"host", "guest1"})
    in(domain, "perf --version && iperf3 --version && xenoprof --version");
}

TEST_F(KvmLab, TimesOfHostAndGuestsCanBeConverted) {
  const std::string clock = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
  EXPECT_EQ(in("host", "cat " + clock), "tsc\n");
  EXPECT_EQ(in("guest1", "cat " + clock), "kvm-clock\n");
  EXPECT_EQ(in("guest1", "cat /sys/class/ptp/ptp0/clock_name"), "KVM virtual PTP\n");
  std::istringstream offsets(in("host", "cat /sys/kernel/debug/kvm/*/vcpu*/tsc-offset"));
  int count = 0;
  for (std::string line; std::getline(offsets, line); ++count) {
    std::int64_t offset = 0;
    EXPECT_EQ(std::from_chars(line.data(), line.data() + line.size(), offset).ec, std::errc());
    EXPECT_NE(offset, 0);
  }
  EXPECT_EQ(count, 4);
}

TEST_F(KvmLab, GuestsHaveTheChannelsOfAnAgent) {
  for (const char* guest : {"guest1", "guest2"}) {
    EXPECT_EQ(in(guest, "test -c /dev/vsock && cat /sys/class/virtio-ports/*/name"),
              "org.xenoprof.agent.0\n");
    in("host", fmt::format("test -S /run/xenoprof-guests/{}.agent", guest));
  }
}

TEST_F(KvmLab, TheHostsCountersSeeWhatGuestsDo) {
  const auto guest_instructions = [] {
    // The first field of perf's table.
    return std::stod(in("host", "perf stat -x, -a -e instructions:uG -- sleep 2 2>&1"));
  };
  const double idle = guest_instructions();
  in("guest1", "sh -c 'while true; do :; done' < /dev/null > /dev/null 2>&1 & echo $! > /tmp/busy");
  EXPECT_THAT(guest_instructions(), Gt(10 * idle + 1'000'000));
  in("guest1", "kill $(cat /tmp/busy)");
}

TEST_F(KvmLab, GuestsReachTheHostEachOtherAndNothingElse) {
  in("guest1", "ping -c 1 -W 5 host && ping -c 1 -W 5 guest2");
  EXPECT_NE(lab_->exec("guest1", {"nc", "-w", "3", "10.0.2.2", "22"}).status, 0);
}

TEST_F(KvmLab, AGuestIsPausedAndGoesOn) {
  in("host", "xenoprof-lab-monitor guest2 stop");
  EXPECT_THAT(in("host", "xenoprof-lab-monitor guest2 info status"), HasSubstr("paused"));
  EXPECT_EQ(lab_->exec("guest2", {"true"}, 2s).status, -1);
  EXPECT_EQ(lab_->exec("guest1", {"true"}).status, 0);
  in("host", "xenoprof-lab-monitor guest2 cont");
  EXPECT_TRUE(lab_->answers("guest2"));
}

// QEMU without our plugin gives a guest an interrupt again, if it stops the CPU for something else
// before the guest has left it.
TEST_F(KvmLab, GuestsOutliveStopsOfTheHostsCpus) {
  ASSERT_EQ(lab_->copy_in(std::string(XENOPROF_BUILD) + "/bin/prog_misaligned_lock", "host",
                          "/usr/bin/misaligned_lock"),
            0);
  auto stops = std::async(std::launch::async,
                          [] { return lab_->exec("host", {"/usr/bin/misaligned_lock", "10"}); });
  for (const char* guest : {"guest1", "guest2"})
    EXPECT_EQ(lab_->exec(guest, {"sh", "-c", "ls -lR /sys >/dev/null"}, 60s).status, 0) << guest;
  EXPECT_EQ(stops.get().status, 0);
}

// QEMU without our plugin changes the first CPU's state from the threads of those that load an x87
// state, without a lock: the host goes on in a guest's memory then.
TEST_F(KvmLab, HostAndGuestsOutliveX87StatesLoadedElsewhere) {
  ASSERT_EQ(lab_->copy_in(std::string(XENOPROF_BUILD) + "/bin/prog_load_x87", "host",
                          "/usr/bin/load_x87"),
            0);
  auto loads = std::async(std::launch::async, [] {
    return lab_->exec("host", {"taskset", "-c", "1", "load_x87", "5"});
  });
  for (const char* guest : {"guest1", "guest2"})
    EXPECT_EQ(lab_->exec(guest, {"sh", "-c", "ls -lR /sys >/dev/null"}, 60s).status, 0) << guest;
  EXPECT_EQ(loads.get().status, 0);
}

TEST_F(KvmLab, AGuestThatWasKilledCanBeMadeAgain) {
  in("guest1", "touch /tmp/before");
  in("host", "kill -9 $(cat /run/xenoprof-guests/guest1.pid)");
  in("host", "xenoprof-lab-guest guest1");
  ASSERT_TRUE(lab_->answers("guest1"));
  EXPECT_NE(lab_->exec("guest1", {"test", "-e", "/tmp/before"}).status, 0);
  // One that runs is not made a second time.
  EXPECT_NE(lab_->exec("host", {"xenoprof-lab-guest", "guest1"}).status, 0);
}

}  // namespace
}  // namespace xenoprof
