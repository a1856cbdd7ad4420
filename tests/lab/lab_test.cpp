// SPDX-License-Identifier: GPL-2.0-or-later
// What `xenoprof lab` itself promises, with a Xen host and one guest.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include "control.h"
#include "lab_machine.h"
#include "process.h"
#include "state.h"

namespace xenoprof {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
namespace fs = std::filesystem;

const std::string kProgram = std::string(XENOPROF_BUILD) + "/bin/xenoprof-lab";

lab::ProgramResult run(std::vector<std::string> arguments,
                       std::vector<std::pair<std::string, std::string>> environment = {}) {
  arguments.insert(arguments.begin(), kProgram);
  const auto result = lab::run_program({arguments, std::move(environment), {}});
  return result ? *result : lab::ProgramResult{-1, result.error().message};
}

lab::ProgramResult shell(const std::string& script) {
  const auto result = lab::run_program({{"sh", "-c", script}, {}, {}});
  return result ? *result : lab::ProgramResult{-1, result.error().message};
}

// Command lines of every machine of that lab; a machine runs with its lab's folder in them.
int machines_of(const std::string& lab_name) {
  int count = 0;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    std::ifstream stream(entry.path() / "cmdline", std::ios::binary);
    const std::string command{std::istreambuf_iterator<char>(stream), {}};
    count += command.find("qemu-system") != std::string::npos &&
             command.find("/labs/" + lab_name + "/") != std::string::npos;
  }
  return count;
}

class Lab : public testing::Test {
 protected:
  static void SetUpTestSuite() { lab_ = &LabMachine::shared("xen", {"--guests", "1"}); }
  // A `xenoprof lab exec` as a shell command.
  static std::string exec_command(const std::string& domain, const std::string& command) {
    return fmt::format("{} exec --name {} {} -- {}", kProgram, lab_->name(), domain, command);
  }
  static LabMachine* lab_;
};

LabMachine* Lab::lab_ = nullptr;

TEST_F(Lab, DomainsAreWhatTheyAreCalled) {
  for (const char* domain : {"dom0", "guest1"})
    EXPECT_EQ(lab_->exec(domain, {"hostname"}).out, std::string(domain) + "\n");
  const auto list = lab_->exec("dom0", {"xl", "list"});
  EXPECT_THAT(list.out, HasSubstr("guest1"));
  EXPECT_EQ(lab_->exec("guest1", {"xenstore-read", "domid"}).out, "1\n");
}

TEST_F(Lab, ExecReturnsStatusAndBothOutputs) {
  for (const char* domain : {"dom0", "guest1"}) {
    const auto result = lab_->exec(domain, {"sh", "-c", "echo to out; echo to err >&2; exit 42"});
    EXPECT_EQ(result.status, 42);
    EXPECT_EQ(result.out, "to out\n");
    EXPECT_EQ(result.err, "to err\n");
  }
  EXPECT_EQ(shell(exec_command("guest1", "sh -c 'exit 3'")).status, 3);
  EXPECT_EQ(lab_->exec("dom0", {"sh", "-c", "kill -9 $$"}).status, 137);
  EXPECT_EQ(lab_->exec("dom0", {"no-such-program"}).status, 127);
}

TEST_F(Lab, WhatGoesOnInTheBackgroundDoesNotHoldUpTheEnd) {
  const auto result =
      shell("timeout 20 " + exec_command("dom0", "sh -c 'yes & sleep 0.2; exit 7'") +
            " >/dev/null; echo $?; " + exec_command("dom0", "killall yes"));
  EXPECT_THAT(result.output, testing::StartsWith("7\n"));
}

TEST_F(Lab, ArgumentsArriveAsTheyAre) {
  EXPECT_EQ(lab_->exec("guest1", {"printf", "%s|", "a b", "$HOME", "*", ""}).out, "a b|$HOME|*||");
}

TEST_F(Lab, LargeOutputComesWhole) {
  const auto result =
      lab_->exec("guest1", {"sh", "-c", "dd if=/dev/zero bs=1M count=5 2>/dev/null | tr '\\0' x"});
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.out.size(), 5U << 20);
  EXPECT_EQ(result.out.find_first_not_of('x'), std::string::npos);
}

TEST_F(Lab, InputGoesInWhileOutputComesOut) {
  const auto result =
      shell("head -c 5000000 /dev/urandom > " + (lab_->scratch() / "random").string() + "; " +
            exec_command("guest1", "cat") + " < " + (lab_->scratch() / "random").string() +
            " | cmp - " + (lab_->scratch() / "random").string());
  EXPECT_EQ(result.status, 0) << result.output;
}

TEST_F(Lab, ShortInputEndsTheCommandThatReadsIt) {
  EXPECT_EQ(shell("echo hello | " + exec_command("dom0", "cat")).output, "hello\n");
  EXPECT_EQ(shell(exec_command("dom0", "cat") + " < /dev/null").output, "");
}

TEST_F(Lab, CommandsRunSideBySide) {
  std::vector<std::jthread> threads;
  std::atomic<int> right = 0;
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&right, i] {
      const auto result = lab_->exec("dom0", {"sh", "-c", fmt::format("sleep 3; echo {}", i)});
      right += result.out == fmt::format("{}\n", i) ? 1 : 0;
    });
  threads.clear();
  EXPECT_EQ(right, 8);
  EXPECT_LT(std::chrono::steady_clock::now() - start, 15s);
}

TEST_F(Lab, ACommandEndsWithItsConnection) {
  const pid_t client = fork();
  if (client == 0) {
    const int null = open("/dev/null", O_RDWR);
    dup2(null, STDIN_FILENO);
    execl(kProgram.c_str(), kProgram.c_str(), "exec", "--name", lab_->name().c_str(), "guest1",
          "--", "sleep", "98765", nullptr);
    _exit(1);
  }
  const auto count = [] {
    return lab_->exec("guest1", {"sh", "-c", "ps | grep -c '[s]leep 98765'"}).out;
  };
  for (int i = 0; i < 100 && count() != "1\n"; ++i)
    std::this_thread::sleep_for(100ms);
  ASSERT_EQ(count(), "1\n");
  kill(client, SIGKILL);
  waitpid(client, nullptr, 0);
  for (int i = 0; i < 100 && count() != "0\n"; ++i)
    std::this_thread::sleep_for(100ms);
  EXPECT_EQ(count(), "0\n");
}

TEST_F(Lab, ASignalReachesTheCommand) {
  const auto result =
      shell("timeout -s INT 5 " + exec_command("dom0",
                                               "sh -c 'trap \"echo caught; exit 5\" INT; "
                                               "while true; do sleep 0.1; done'"));
  EXPECT_THAT(result.output, HasSubstr("caught"));
}

// A domain that is gone never answers.
TEST_F(Lab, TheThirdSignalEndsTheWait) {
  const std::string out = (lab_->scratch() / "ready").string();
  const auto result = shell(exec_command("guest1",
                                         "sh -c 'trap \"\" TERM HUP; echo ready; "
                                         "while true; do sleep 0.1; done'") +
                            fmt::format(" >{0} & until grep -q ready {0}; do sleep 0.1; done; "
                                        "for signal in TERM HUP TERM; do kill -0 $! || exit; "
                                        "kill -$signal $!; sleep 0.3; done; wait $!; echo $?",
                                        out));
  EXPECT_THAT(result.output, HasSubstr("told 3 times to end"));
  EXPECT_THAT(result.output, testing::EndsWith("125\n"));
}

TEST_F(Lab, TheTokenIsRequired) {
  const auto lab = lab::running_lab(lab_->name());
  ASSERT_TRUE(lab.has_value());
  lab::Endpoint endpoint = lab::endpoint_of(*lab, lab->domains(0));
  endpoint.token.back() = endpoint.token.back() == '0' ? '1' : '0';
  const auto result = lab::capture_in_domain(endpoint, {"true"}, 10s);
  ASSERT_FALSE(result.has_value());
  EXPECT_THAT(result.error().message, HasSubstr("token"));
}

TEST_F(Lab, CopiesComeBackAsTheyWere) {
  const fs::path tree = lab_->scratch() / "tree";
  fs::create_directories(tree / "inner folder/empty");
  LabMachine::write(tree / "inner folder/file", std::string(100'000, 'z'));
  LabMachine::write(tree / "script", "#!/bin/sh\necho ran\n");
  fs::permissions(tree / "script", fs::perms::owner_all);
  fs::create_symlink("script", tree / "link");
  ASSERT_EQ(lab_->copy_in(tree, "guest1", "/root/copied"), 0);
  EXPECT_EQ(lab_->exec("guest1", {"/root/copied/link"}).out, "ran\n");
  ASSERT_EQ(lab_->copy_out("guest1", "/root/copied", lab_->scratch() / "back"), 0);
  EXPECT_EQ(shell(fmt::format("diff -r {0} {1} && test -x {1}/script && test -L {1}/link && "
                              "test -d '{1}/inner folder/empty'",
                              tree.string(), (lab_->scratch() / "back").string()))
                .status,
            0);
  // Into a folder that is there.
  ASSERT_EQ(lab_->copy_in(tree / "script", "dom0", "/root"), 0);
  EXPECT_EQ(lab_->exec("dom0", {"/root/script"}).out, "ran\n");
  const auto missing = run({"copy", "--name", lab_->name(), "dom0:/no/such", "/tmp/never"});
  EXPECT_NE(missing.status, 0);
  EXPECT_THAT(missing.output, HasSubstr("/no/such"));
  // The way there may have links in it that are the user's own.
  fs::create_directory_symlink(lab_->scratch(), lab_->scratch() / "way");
  ASSERT_EQ(lab_->copy_out("guest1", "/root/copied", lab_->scratch() / "way" / "again"), 0);
  EXPECT_TRUE(fs::exists(lab_->scratch() / "again/script"));
}

TEST_F(Lab, PerfWorksInEveryDomain) {
  for (const char* domain : {"dom0", "guest1"}) {
    const auto result = lab_->exec(
        domain, {"sh", "-c",
                 "perf record -q -e cpu-clock -o /tmp/p -- sh -c 'i=0; while [ $i -lt 3000 ]; do "
                 "i=$((i+1)); done' && perf report -i /tmp/p --stdio"});
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_THAT(result.out, HasSubstr("busybox")) << result.err;
  }
}

TEST_F(Lab, GuestsReachDom0AndNothingElse) {
  EXPECT_EQ(lab_->exec("guest1", {"ping", "-c", "1", "-W", "5", "dom0"}).status, 0);
  EXPECT_NE(lab_->exec("guest1", {"nc", "-w", "3", "10.0.2.2", "22"}).status, 0);
}

TEST_F(Lab, AGuestCanBeMadeAgain) {
  ASSERT_EQ(lab_->exec("dom0", {"xl", "destroy", "guest1"}).status, 0);
  ASSERT_EQ(lab_->exec("dom0", {"xenoprof-lab-guest", "guest1"}).status, 0);
  EXPECT_TRUE(lab_->answers("guest1"));
}

TEST_F(Lab, UnknownThingsAreNamed) {
  EXPECT_THAT(run({"exec", "--name", lab_->name(), "guest9", "--", "true"}).output,
              HasSubstr("it has dom0, guest1"));
  EXPECT_THAT(run({"exec", "--name", "never-made", "dom0", "--", "true"}).output,
              HasSubstr("no lab 'never-made' is up"));
  EXPECT_THAT(run({"up", "vax"}).output, HasSubstr("vax"));
  EXPECT_THAT(run({"up", "linux", "--name", "../x"}).output, HasSubstr("'../x' is no name"));
  EXPECT_THAT(run({"up", "xen", "--name", lab_->name()}).output, HasSubstr("is already up"));
}

// A second lab beside the first, with a PATH that has no apt: a warm cache asks for nothing.
TEST_F(Lab, TwoLabsRunAtOnceAndAWarmOneFetchesNothing) {
  const std::string name = fmt::format("test-second-{}", getpid());
  const fs::path programs = lab_->scratch() / "no-apt";
  fs::create_directories(programs);
  for (const char* program : {"apt-get", "apt-config"}) {
    LabMachine::write(programs / program,
                      "#!/bin/sh\ntouch \"$(dirname \"$0\")/called\"\nexit 1\n");
    fs::permissions(programs / program, fs::perms::owner_all);
  }
  const auto up = run({"up", "linux", "--name", name},
                      {{"PATH", programs.string() + ":" + std::getenv("PATH")}});
  EXPECT_EQ(up.status, 0) << up.output;
  EXPECT_FALSE(fs::exists(programs / "called"));
  EXPECT_EQ(run({"exec", "--name", name, "linux", "--", "hostname"}).output, "linux\n");
  EXPECT_EQ(lab_->exec("dom0", {"hostname"}).out, "dom0\n");
  EXPECT_THAT(run({"status"}).output, HasSubstr(name));
  EXPECT_EQ(machines_of(name), 1);

  // As after a crash: the state is lost, the machine is not.
  const auto folder = lab::lab_folder(name);
  ASSERT_TRUE(folder.has_value());
  fs::remove(folder->state_file());
  EXPECT_THAT(run({"status"}).output, HasSubstr(name + ": left over"));
  EXPECT_EQ(run({"down", "--name", name}).status, 0);
  EXPECT_EQ(machines_of(name), 0);
  EXPECT_THAT(run({"down", "--name", name}).output, HasSubstr("was not up"));
  EXPECT_EQ(lab_->exec("dom0", {"hostname"}).out, "dom0\n");
  fs::remove_all(folder->path);
}

TEST_F(Lab, AnInterruptedUpLeavesNoMachine) {
  const std::string name = fmt::format("test-third-{}", getpid());
  const pid_t up = fork();
  if (up == 0) {
    const int null = open("/dev/null", O_RDWR);
    dup2(null, STDERR_FILENO);
    execl(kProgram.c_str(), kProgram.c_str(), "up", "linux", "--name", name.c_str(), nullptr);
    _exit(1);
  }
  for (int i = 0; i < 300 && machines_of(name) == 0; ++i)
    std::this_thread::sleep_for(50ms);
  ASSERT_EQ(machines_of(name), 1);
  kill(up, SIGINT);
  int status = 0;
  waitpid(up, &status, 0);
  EXPECT_NE(status, 0);
  EXPECT_EQ(machines_of(name), 0);
  fs::remove_all(lab::lab_folder(name)->path);
}

TEST_F(Lab, AMachineThatEndsEarlyIsReportedWithItsLog) {
  const std::string name = fmt::format("test-fourth-{}", getpid());
  // Too little memory for the images: the kernel panics, and a panic ends the machine.
  const auto up = run({"up", "linux", "--name", name, "--memory", "128"});
  EXPECT_NE(up.status, 0);
  EXPECT_THAT(up.output, HasSubstr("console.log"));
  EXPECT_EQ(machines_of(name), 0);
  fs::remove_all(lab::lab_folder(name)->path);
}

}  // namespace
}  // namespace xenoprof
