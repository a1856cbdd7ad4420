// SPDX-License-Identifier: GPL-2.0-or-later
// `xenoprof record` of this machine's own programs: when it begins and ends.
#include <gtest/gtest.h>
#include <unistd.h>

#include "shell.h"

namespace xenoprof {
namespace {

class Record : public ShellTest {
 protected:
  void SetUp() override {
    ShellTest::SetUp();
    need_perf_record("-e cpu-clock");
  }
};

// Its parent never asks after it.
TEST_F(Record, EndsWithTheProcessAlsoWhileThatIsAZombie) {
  const auto [text, good] =
      run("sh -c 'sleep 1 & echo $! >$T/pid; exec sleep 30' & parent=$!; "
          "until [ -s $T/pid ]; do sleep 0.01; done; "
          "timeout 10 $B/xenoprof record --no-progress -e cpu-clock -o $T/session -p $(cat $T/pid) "
          "2>&1; ended=$?; kill $parent; exit $ended");
  EXPECT_TRUE(good) << text;
}

TEST_F(Record, SaysThatShortThreadsHaveNoSamples) {
  const auto [text, good] =
      run("cd $T; $B/xenoprof record --no-progress -e cpu-clock:5000000 -o s -- sh -c "
          "'i=0; while [ $i -lt 1000 ]; do /bin/true; i=$((i+1)); done' 2>/dev/null; "
          "cat s/session.json");
  EXPECT_NE(text.find("each thread begins with a whole count"), std::string::npos) << text;
}

// A clock counts all modes and samples some; its timer may come late.
TEST_F(Record, DoesNotSayThatOfOneThread) {
  for (const char* event : {"cpu-clock:u", "cpu-clock:20000"}) {
    const auto [text, good] =
        run(std::string("cd $T; $B/xenoprof record --no-progress -o s -e ") + event +
            " -- dd if=/dev/zero of=/dev/null bs=64k count=40000 2>/dev/null; cat s/session.json");
    EXPECT_NE(text.find("notes"), std::string::npos) << text;
    EXPECT_EQ(text.find("whole count"), std::string::npos) << text;
  }
}

TEST_F(Record, AFileThatIsReplacedMeanwhileGivesNoNames) {
  const auto [text, good] =
      run("cd $T; cp $B/busy one; $B/xenoprof record --no-progress -e cpu-clock -o s -- "
          "sh -c './one spend 300; rm one; cp $B/callers one' 2>/dev/null; "
          "cat s/session.json; $B/xenoprof report s --format csv --sort image,symbol");
  EXPECT_TRUE(good);
  EXPECT_NE(text.find("it is not the file that ran: replaced since"), std::string::npos) << text;
  EXPECT_NE(text.find("/one,0x"), std::string::npos) << text;
}

TEST_F(Record, AnEventThatIsAskedForTwiceIsRefused) {
  const auto [text, good] =
      run("$B/xenoprof record -o $T/s -e cpu-clock:u:1000000,cpu-clock:u:1000000 -- true 2>&1");
  EXPECT_FALSE(good);
  EXPECT_NE(text.find("is asked for twice"), std::string::npos) << text;
  EXPECT_TRUE(
      run("$B/xenoprof record -o $T/s -e cpu-clock:1000000,cpu-clock:2000000 -- true").second);
}

TEST_F(Record, AProcessThatIsNamedTwiceIsRecordedOnce) {
  const auto [text, good] =
      run("cd $T; $B/busy spend 1500 & $B/xenoprof record --no-progress -e cpu-clock:1000000 -o s "
          "-p $!,$! 2>/dev/null; $B/xenoprof report s --format csv --sort process | tail -n 1");
  EXPECT_TRUE(good);
  EXPECT_LT(std::atoi(text.substr(text.rfind(',') + 1).c_str()), 1700) << text;
}

// Threads come and go while it looks at them one by one.
TEST_F(Record, BeginsWhileThreadsEnd) {
  const auto [text, good] =
      run("$B/busy short-threads 60000 & program=$!; status=0; for i in 1 2 3 4 5 6; do "
          "$B/xenoprof record --no-progress -e cpu-clock -o $T/session$i --for 0.1s -p $program "
          "2>&1 || "
          "status=1; done; kill $program; exit $status");
  EXPECT_TRUE(good) << text;
}

TEST_F(Record, WhatCannotBeRunLeavesTheEarlierSessionsAlone) {
  const auto [text, good] =
      run("cd $T; for name in one two; do $B/xenoprof record --no-progress -e cpu-clock -o s -- "
          "$B/busy spend 50 2>/dev/null; echo $name >s/mark; done; "
          "$B/xenoprof record --no-progress -e cpu-clock -o s -- /not/there 2>&1; echo $?; "
          "$B/xenoprof record --no-progress -e cpu-clock -o s -p 99999999 2>/dev/null; echo $?; "
          "cat s/mark s.old/mark; ls -d s*");
  EXPECT_TRUE(good);
  EXPECT_EQ(text,
            "xenoprof: /not/there cannot be run: No such file or directory\n1\n1\ntwo\none\ns\n"
            "s.old\n");
}

TEST_F(Record, WhatPerfWritesIntoAPipeIsRead) {
  const auto [text, good] =
      run("perf record -q -e cpu-clock -o - $B/busy spend 200 2>/dev/null | "
          "$B/xenoprof report --no-progress /dev/stdin 2>&1");
  EXPECT_TRUE(good) << text;
  EXPECT_NE(text.find("::turn"), std::string::npos) << text;
}

TEST_F(Record, OneThatWasKilledWhileItBeganTakesNothingAway) {
  // As such a one leaves it.
  const auto [text, good] = run(
      "cd $T; mkdir s.xenoprof-before s s.old; "
      "for name in session.json profile.pb.gz; do touch s.xenoprof-before/$name s.old/$name; done; "
      "touch s/.reserve; "
      "echo good >s.xenoprof-before/mark; echo older >s.old/mark; "
      "$B/xenoprof record --no-progress -e cpu-clock -o s -- $B/busy spend 50 2>/dev/null; echo "
      "$?; "
      "cat s.old/mark; ls -d s*; ls s");
  EXPECT_TRUE(good);
  EXPECT_EQ(text, "0\ngood\ns\ns.old\nhost.perf.data\nprofile.pb.gz\nsession.json\n");
}

TEST_F(Record, WhatIsNoSessionIsInTheWayAndStays) {
  const auto [text, good] =
      run("cd $T; echo mine >file; ln -s nowhere link; mkdir folder empty; "
          "echo mine >folder/session.json; "
          "for name in file link folder; do for again in 1 2; do "
          "$B/xenoprof record --no-progress -e cpu-clock -o $name -- $B/busy spend 50 2>&1; done; "
          "done; $B/xenoprof record -e cpu-clock -o empty -- /not/there 2>/dev/null; "
          "cat file folder/session.json; readlink link; ls -d f* l* e*");
  EXPECT_TRUE(good);
  EXPECT_EQ(text,
            "xenoprof: cannot make the folder file: something else is there\n"
            "xenoprof: cannot make the folder file: something else is there\n"
            "xenoprof: cannot make the folder link: something else is there\n"
            "xenoprof: cannot make the folder link: something else is there\n"
            "xenoprof: folder is there and is no session: choose another place with -o\n"
            "xenoprof: folder is there and is no session: choose another place with -o\n"
            "mine\nmine\nnowhere\nempty\nfile\nfolder\nlink\n");
}

TEST_F(Record, WhereAnotherSessionRecordsIsNoPlaceForThis) {
  const auto [text, good] =
      run("cd $T; $B/xenoprof record --no-progress -e cpu-clock -o s -- sh -c "
          "'touch begun; until [ -e end ]; do sleep 0.01; done' 2>/dev/null & "
          "cd $T; for i in $(seq 500); do [ -e begun ] || sleep 0.01; done; "
          "$B/xenoprof record -e cpu-clock -o s -- $B/busy spend 50 2>&1; echo $?; touch end; "
          "wait $!; ls -d s*; ls s; "
          "$B/xenoprof report s | head -n 1 | grep -o 'touch begun'");
  EXPECT_TRUE(good);
  EXPECT_EQ(text,
            "xenoprof: another session is recording into s: choose another place with -o\n1\n"
            "s\nhost.perf.data\nprofile.pb.gz\nsession.json\ntouch begun\n");
}

TEST_F(Record, OfTwoThatBeginAtOnceOneHasTheFolder) {
  const auto [text, good] =
      run("cd $T; for round in $(seq 5); do rm -f status*; for one in 1 2; do "
          "{ $B/xenoprof record --no-progress -e cpu-clock -o s -- sh -c 'for i in $(seq 200); do "
          "[ -e $0 ] && break; sleep 0.02; done' status$((3 - one)) >log$one 2>&1; "
          "echo $? >status$one; } & done; wait; cat status1 status2 | sort | tr -d '\\n'; "
          "[ $(cat log? | grep -c 'another session is recording into s') = 1 ] && "
          "[ -e s/profile.pb.gz ] && [ -e s/session.json ] && [ ! -e s.xenoprof-before ] || echo "
          "mixed; "
          "done; ls -d s s.*");
  EXPECT_TRUE(good);
  std::string whole;
  for (int round = 0; round < 5; ++round) {
    whole += "01";
  }
  EXPECT_EQ(text, whole + "s\ns.old\n");
}

TEST_F(Record, WhatASessionCouldNotFinishIsASessionStill) {
  const auto [text, good] =
      run("cd $T; mkdir s.xenoprof-outdated; touch s.xenoprof-outdated/.reserve "
          "s.xenoprof-outdated/host.perf.data; "
          "for round in 1 2 3; do $B/xenoprof record --no-progress -e cpu-clock -o s -- $B/busy "
          "spend 20 2>/dev/null; echo $?; done; ls -d s s.*; rm s/profile.pb.gz; touch s/.reserve; "
          "$B/xenoprof record --no-progress -e cpu-clock -o s -- $B/busy spend 20 2>/dev/null; "
          "echo $?; ls -A s.old");
  EXPECT_TRUE(good);
  EXPECT_EQ(text, "0\n0\n0\ns\ns.old\n0\n.reserve\nhost.perf.data\nsession.json\n");
}

TEST_F(Record, WhatALinkLeadsToIsNotRemoved) {
  const auto [text, good] =
      run("cd $T; $B/xenoprof record --no-progress -e cpu-clock -o kept -- $B/busy spend 20 "
          "2>/dev/null; ln -s kept s.old; for round in 1 2 3; do $B/xenoprof record --no-progress "
          "-e cpu-clock -o s -- $B/busy spend 20 2>/dev/null; echo $?; done; ls -A kept");
  EXPECT_TRUE(good);
  EXPECT_EQ(text, "0\n0\n0\nhost.perf.data\nprofile.pb.gz\nsession.json\n");
}

// The default name, in a folder of another user's who put it there before.
TEST_F(Record, AFolderThatAnotherUserPlantedIsRefusedAndItsLinksLeadNowhere) {
  if (::geteuid() != 0) {
    GTEST_SKIP() << "needs root: nobody else can become another user";
  }
  const auto [text, good] = run(
      "cd $T; chmod 755 .; echo untouched >victim; echo untouched >victim2; mkdir shared; "
      "chmod 777 shared; cd shared; "
      "as_other() { setpriv --reuid=65534 --regid=65534 --clear-groups sh -c \"$1\"; }; "
      "plant='ln -s ../../victim session.json; ln -s ../../victim2 profile.pb.gz; "
      "ln -s ../../victim2 profile.pb.gz.part; ln -s ../../victim2 host.perf.data'; "
      // It is there, and open to all; it comes as soon as the session begins; it is a link.
      "as_other 'mkdir xenoprof.session; chmod 777 xenoprof.session'; "
      "as_other \"i=0; while [ \\$i -lt 20 -a ! -e xenoprof.session/.reserve ]; do sleep 0.01; "
      "i=\\$((i+1)); done; cd xenoprof.session; $plant\" & sleep 0.1; "
      "$B/xenoprof record --no-progress -a -e cpu-clock:10000000 --for 1s 2>&1; echo $?; wait; "
      "ls -A xenoprof.session | tr '\\n' ' '; echo; "
      "as_other 'rm -r xenoprof.session; mkdir other; ln -s ../.. xenoprof.session'; "
      "$B/xenoprof record --no-progress -a -e cpu-clock:10000000 --for 1s 2>&1; echo $?; "
      // Nor is what it puts in the place of an open one followed.
      "rm xenoprof.session; as_other \"i=0; while [ \\$i -lt 500 -a ! -d xenoprof.session ]; do "
      "sleep 0.01; i=\\$((i+1)); done; sleep 0.3; mkdir evil; cd evil; $plant; cd ..; "
      "mv -T xenoprof.session away; mv -T evil xenoprof.session\" & "
      "$B/xenoprof record --no-progress -a -e cpu-clock:10000000 --for 1s >/dev/null 2>&1; "
      "echo $?; wait; ls away; cat ../victim ../victim2");
  EXPECT_TRUE(good);
  EXPECT_EQ(text,
            "xenoprof: cannot use the folder xenoprof.session: it belongs to user 65534, who can "
            "change what is written there; name another folder\n1\n"
            "host.perf.data profile.pb.gz profile.pb.gz.part session.json \n"
            "xenoprof: cannot use the folder xenoprof.session: it is a link that user 65534 made; "
            "name the folder that it leads to, or another one\n1\n"
            "0\nhost.perf.data\nprofile.pb.gz\nsession.json\nuntouched\nuntouched\n");
}

TEST_F(Record, GoesOnAfterAHangUpUnderNohup) {
  const auto [text, good] =
      run("cd $T; nohup $B/xenoprof record --no-progress -e cpu-clock -o s -- sh -c "
          "'kill -HUP $PPID; sleep 0.3; touch whole' >/dev/null 2>&1; ls -d s* w*");
  EXPECT_TRUE(good);
  EXPECT_EQ(text, "s\nwhole\n");
}

TEST_F(Record, NeedsNobodyToComplainTo) {
  const auto [text, good] =
      run("cd $T; $B/xenoprof record -e cpu-clock -o closed -- $B/busy spend 50 2>&-; echo $?; "
          "$B/xenoprof record -e cpu-clock -o full -- $B/busy spend 50 2>/dev/full; echo $?; "
          "$B/xenoprof record -e cpu-clock -o none -- /not/there 2>&-; echo $?; "
          "$B/xenoprof report closed | grep -c 'one each'; ls -d c* f*");
  EXPECT_TRUE(good);
  EXPECT_EQ(text, "0\n0\n1\n1\nclosed\nfull\n");
}

TEST_F(Record, AThreadMayNameItsProcess) {
  const auto [text, good] =
      run("$B/busy threads 2000 & program=$!; sleep 0.2; "
          "$B/xenoprof record --no-progress -e cpu-clock -o $T/s "
          "-p $(ls /proc/$program/task | tail -n 1) --for 0.3s 2>&1; ended=$?; "
          "kill $program; exit $ended");
  EXPECT_TRUE(good) << text;
}

TEST_F(Record, AFileThatCannotBeMadeAnewStaysAsItWas) {
  const auto [text, good] = run(
      "cd $T; $B/xenoprof record --no-progress -e cpu-clock -o s -- $B/busy spend 50 2>/dev/null; "
      "echo whole >out; $B/xenoprof export -f folded -e typo -o out s 2>/dev/null; echo $?; "
      "$B/xenoprof flame --domain typo -o out s 2>/dev/null; echo $?; cat out");
  EXPECT_TRUE(good);
  EXPECT_EQ(text, "1\n1\nwhole\n");
}

TEST_F(Record, AnExportThatFailsLeavesNoFile) {
  const auto [text, good] = run(
      "cd $T; $B/xenoprof record --no-progress -e cpu-clock -o s -- $B/busy spend 50 2>/dev/null; "
      "mkdir out; cd out; for format in pprof folded perf speedscope; do "
      "(ulimit -f 0; trap '' XFSZ; $B/xenoprof export -f $format -o file ../s 2>/dev/null); "
      "echo $?; done; ls -A; "
      "$B/xenoprof export -f folded -o /dev/stdout ../s | grep -q busy; echo $?; "
      "$B/xenoprof export -f folded -o /dev/stdout ../s >file; grep -q busy file; echo $?; "
      "$B/xenoprof flame -o /dev/null ../s; $B/xenoprof work ../s MiB=1; echo $?; ls -A; ls -A "
      "../s");
  EXPECT_TRUE(good);
  EXPECT_EQ(text,
            "1\n1\n1\n1\n0\n0\n/dev/null: a flame graph for any browser\n0\nfile\n"
            "host.perf.data\nprofile.pb.gz\nsession.json\n");
}

}  // namespace
}  // namespace xenoprof
