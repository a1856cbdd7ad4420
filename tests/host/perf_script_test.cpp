// SPDX-License-Identifier: GPL-2.0-or-later
// The same answers as perf: recordings are made here with this machine's perf and with `xenoprof
// record`, and for each the numbers of samples per process, image and function have to be those of
// `perf script`.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <ostream>
#include <string>
#include <utility>

#include "report/session_file.h"
#include "sample_counts.h"
#include "shell.h"

namespace xenoprof {
namespace {

namespace fs = std::filesystem;

SampleCounts counts_of_perf(const fs::path& file) {
  const auto [text, good] = run(std::string(kPerfScript) + " -i '" + file.string() + "' 2>'" +
                                file.string() + ".errors'");
  EXPECT_TRUE(good);
  return counts_of_perf_script(text);
}

SampleCounts counts_of_xenoprof(const char* report, const fs::path& file) {
  const auto [text, good] = run(std::string(XENOPROF_PROGRAMS "/xenoprof ") + report + " '" +
                                file.string() + "' 2>'" + file.string() + ".errors'");
  EXPECT_TRUE(good);
  return counts_of_report(text);
}

// perf's answers about a perf.data, ours about the same samples.
void compare(const fs::path& perf_data, const fs::path& source, const char* shows) {
  const SampleCounts theirs = counts_of_perf(perf_data);
  EXPECT_GE(sum(theirs), 20u) << "too few samples to tell anything";
  for (const char* report : kReports) {
    SCOPED_TRACE(report);
    expect_same(theirs, counts_of_xenoprof(report, source), shows);
  }
}

struct Recording {
  const char* name;
  const char* options;
  const char* command;  // in a shell, with the programs in $B and a folder for files in $T
  // What must be among the counts, so that the recording is of what it is meant to be.
  const char* shows = "";
  const char* prepare = "true";  // what cannot be done here skips the recording
};

std::ostream& operator<<(std::ostream& out, const Recording& recording) {
  return out << recording.name;
}

class PerfScript : public ShellTest, public testing::WithParamInterface<Recording> {
 protected:
  void SetUp() override {
    ShellTest::SetUp();
    // perf's names come from its buildid cache, too: not that of whoever runs this, but one with
    // the vDSO, which perf finds nowhere else.
    ::setenv("HOME", folder_.c_str(), 1);
    need_perf_record("--buildid-all -e cpu-clock");
  }
};

TEST_P(PerfScript, GivesTheSameCounts) {
  const Recording& recording = GetParam();
  const std::string quiet = " >$T/log 2>&1";
  if (!run(std::string("(") + recording.prepare + ")" + quiet).second) {
    GTEST_SKIP() << run("cat $T/log").first;
  }
  const bool pipe = std::string_view(recording.options).find("-o -") != std::string_view::npos;
  const std::string perf = "perf record -q -m 2M -e cpu-clock -o $T/perf.data ";
  const auto [text, good] = run(perf + recording.options + " " + recording.command +
                                (pipe ? " >$T/perf.data 2>$T/log" : quiet));
  ASSERT_TRUE(good) << text << run("cat $T/log").first;

  compare(folder_ / "perf.data", folder_ / "perf.data", recording.shows);
}

class XenoprofRecord : public PerfScript {};

// The session's profile was made by who recorded; perf reads the perf.data beside it.
TEST_P(XenoprofRecord, GivesTheSameCountsAsPerfFindsInItsFile) {
  const Recording& recording = GetParam();
  if (!run(std::string("(") + recording.prepare + ") >$T/log 2>&1").second) {
    GTEST_SKIP() << run("cat $T/log").first;
  }
  ASSERT_TRUE(run(std::string("$B/xenoprof record --no-progress -o $T/session ") +
                  recording.options + " " + recording.command + " >$T/log 2>&1")
                  .second)
      << run("cat $T/log").first;
  compare(folder_ / "session/host.perf.data", folder_ / "session", recording.shows);
  const auto session = read_session(folder_ / "session/session.json");
  ASSERT_TRUE(session) << session.error().message;
  ASSERT_EQ(session->domains.size(), 1u);
  std::uint64_t delivered = 0;
  for (const EventTotals& event : session->domains[0].events) {
    EXPECT_EQ(event.taken, event.delivered) << event.name;
    delivered += event.delivered;
  }
  EXPECT_EQ(delivered, sum(counts_of_xenoprof(kReports[0], folder_ / "session")));
}

INSTANTIATE_TEST_SUITE_P(
    Recordings, XenoprofRecord,
    testing::Values(Recording{"Threads", "-F 4000", "-- $B/busy threads 200", "worker 3 | "},
                    Recording{"Forks", "-F 4000", "-- $B/busy forks 100", "turn"},
                    Recording{"Execs", "-F 4000", "-- $B/busy execs 200", "exe | "},
                    Recording{"ShortLived", "-F 9000", "-- $B/busy short", "busy | "},
                    Recording{"Libraries", "-F 4000",
                              "-- $B/busy libraries 100 $B/libbusy_one.so $B/libbusy_other.so "
                              "$B/libbusy_one.so",
                              "libbusy_other.so | other_function"},
                    Recording{"ByCount", "-e task-clock:500000 -e page-faults:1",
                              "-- ls -lR /usr/include", "ls | "},
                    Recording{"CallChains", "-F 4000 -g", "-- ls -lR /usr/include", "ls | "},
                    Recording{"UserStacks", "-F 2000 -g dwarf", "-- ls -lR /usr/include", "ls | "},
                    Recording{"WholeSystem", "-F 4000 -a -g", "-- $B/busy forks 300", "turn"},
                    Recording{"RunningProcess", "-F 4000 -p $(cat $T/pid) --for 300ms", "", "turn",
                              "$B/busy spend 3000 & echo $! >$T/pid"}),
    [](const auto& info) { return std::string(info.param.name); });

constexpr char kStrip[] = "cp $B/busy $T/stripped && strip --strip-all $T/stripped";
constexpr char kSplit[] =
    "cp $B/busy $T/split && objcopy --only-keep-debug $T/split $T/split.debug && strip --strip-all "
    "$T/split && objcopy --add-gnu-debuglink=$T/split.debug $T/split";

INSTANTIATE_TEST_SUITE_P(
    Recordings, PerfScript,
    testing::Values(
        Recording{"SoftwareEvents", "-e page-faults,context-switches,task-clock -F 4000",
                  "ls -lR /usr/include", "ls | "},
        Recording{"Threads", "-F 4000", "$B/busy threads 200", "worker 3 | "},
        Recording{"ThreadsNotInherited", "-F 4000 --no-inherit", "$B/busy spend", "turn"},
        Recording{"Forks", "-F 4000", "$B/busy forks 100", "turn"},
        Recording{"Execs", "-F 4000", "$B/busy execs 200", "exe | "},
        Recording{"ShellCommands", "-F 9000",
                  "sh -c 'for i in $(seq 50); do /bin/ls $i; /bin/true; done'", "ls | "},
        Recording{"Libraries", "-F 4000",
                  "$B/busy libraries 100 $B/libbusy_one.so $B/libbusy_other.so $B/libbusy_one.so",
                  "libbusy_other.so | other_function"},
        Recording{"ShortLived", "-F 9000", "$B/busy short", "busy | "},
        Recording{"Vdso", "-F 4000", "$B/busy clocks 100", "[vdso]"},
        Recording{"Stripped", "-F 4000", "$T/stripped spend", "stripped | ", kStrip},
        Recording{"SplitDebug", "-F 4000", "$T/split spend", "turn", kSplit},
        Recording{"Namespaces", "-F 4000 --namespaces", "unshare -pfmn $B/busy forks 50", "turn",
                  "unshare -pfmn true"},
        // A program that nobody else can see. Copied by cat, since cp has libattr, whose last
        // symbols have no size: perf gives the last one the section after it, too.
        Recording{
            "Container", "-F 4000 --namespaces",
            "unshare -pfm sh -c 'mount -t tmpfs none $T/root && cat $B/busy >$T/root/contained && "
            "chmod +x $T/root/contained && $T/root/contained spend 100'",
            "contained | ", "mkdir $T/root && unshare -pfm mount -t tmpfs none $T/root"},
        Recording{"Pipe", "-F 4000 -o -", "$B/busy forks 50", "turn"},
        Recording{"PipeOfSeveralEvents", "-e page-faults -F 4000 -g -o -", "$B/busy threads 50",
                  "worker 1 | "},
        Recording{"Compressed", "-F 4000 -g -z", "$B/busy threads 200", "turn"},
        Recording{"CallChains", "-F 4000 -g", "ls -lR /usr/include", "ls | "},
        Recording{"UserStacks", "-F 2000 --call-graph dwarf,2048", "$B/busy spend 50", "turn"},
        Recording{"BuildIdsInMappings", "-F 4000 --buildid-mmap", "$B/busy execs 100", "turn"},
        Recording{"DataAndSwitches", "-F 4000 -d -W --switch-events -e dummy", "$B/busy threads 50",
                  "turn"},
        Recording{"Tracepoint", "-e sched:sched_switch -F 2000 -R", "$B/busy threads 100",
                  "__schedule", "perf record -q -e sched:sched_switch -o $T/try.data true"},
        Recording{"WholeSystem", "-F 4000 -a -g", "$B/busy forks 300", "turn",
                  "perf record -q -a -e cpu-clock -o $T/try.data true"},
        Recording{"RunningProcess", "-F 4000 -p $(cat $T/pid)", "-- sleep 0.2", "turn",
                  "$B/busy spend 3000 & echo $! >$T/pid"}),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace xenoprof
