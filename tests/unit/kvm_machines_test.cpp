// SPDX-License-Identifier: GPL-2.0-or-later
#include "hypervisor/kvm_machines.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <initializer_list>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hypervisor/monitor_options.h"
#include "tests/unit/kvm_host.h"

namespace xenoprof {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

MonitorOptions parse(std::initializer_list<std::string_view> arguments) {
  return parse_monitor_options({arguments.begin(), arguments.size()});
}

std::vector<KvmMachine> list(const KvmHost& host) {
  auto machines = list_kvm_machines(host.root.path());
  EXPECT_TRUE(machines) << machines.error().message;
  return machines.value_or(std::vector<KvmMachine>());
}

std::vector<std::string> names(const std::vector<KvmMachine>& machines) {
  std::vector<std::string> result;
  for (const KvmMachine& machine : machines) {
    result.push_back(machine.name);
  }
  return result;
}

TEST(MonitorOptions, QemuNamesTheMachineInEachOfItsWays) {
  EXPECT_EQ(parse({"qemu", "-name", "web"}).name, "web");
  EXPECT_EQ(parse({"qemu", "--name", "web,process=web1,debug-threads=on"}).name, "web");
  EXPECT_EQ(parse({"qemu", "-S", "-name", "debug-threads=on,guest=we,,b"}).name, "we,b");
  EXPECT_EQ(parse({"qemu", "-name", "a,,b=c"}).name, "a,b=c");
  EXPECT_EQ(parse({"qemu", "-m", "1024"}).name, "");
}

TEST(MonitorOptions, QemuPutsTheAgentsPortOnASocket) {
  const MonitorOptions options =
      parse({"qemu", "-device", "vhost-vsock-pci,id=v0,guest-cid=5", "-device", "virtio-serial-pci",
             "-chardev", "socket,id=mon,path=/run/mon,server=on,wait=off", "-device",
             "virtserialport,chardev=other,name=org.qemu.guest_agent.0", "-device",
             "virtserialport,chardev=agent,name=org.xenoprof.agent.0", "-chardev",
             "socket,id=agent,path=/run/a,,b.agent,server,nowait"});
  EXPECT_EQ(options.vsock, 5);
  EXPECT_EQ(options.serial, "/run/a,b.agent");
  EXPECT_FALSE(options.serial_fd);
}

TEST(MonitorOptions, APortThatDialsByItselfCannotBeDialled) {
  for (const std::string_view channel :
       {"socket,id=agent,path=/run/a", "socket,id=agent,path=/run/a,server=off",
        "pty,id=agent,path=/run/a,server=on", "socket,id=another,path=/run/a,server=on"}) {
    EXPECT_EQ(parse({"qemu", "-chardev", channel, "-device",
                     "virtserialport,chardev=agent,name=org.xenoprof.agent.0"})
                  .serial,
              "")
        << channel;
  }
}

TEST(MonitorOptions, LibvirtWritesDevicesInJsonAndHandsDownSockets) {
  const MonitorOptions options = parse(
      {"/usr/bin/qemu-system-x86_64", "-name", "guest=web,debug-threads=on", "-S", "-chardev",
       "socket,id=charchannel0,fd=35,server=on,wait=off", "-device",
       R"({"driver":"virtserialport","bus":"virtio-serial0.0","nr":1,"chardev":"charchannel0","id":"channel0","name":"org.xenoprof.agent.0"})",
       "-device", R"({"driver":"vhost-vsock-pci","id":"vsock0","guest-cid":4,"vhostfd":"34"})"});
  EXPECT_EQ(options.name, "web");
  EXPECT_EQ(options.vsock, 4);
  EXPECT_EQ(options.serial, "");
  EXPECT_EQ(options.serial_fd, 35);
}

TEST(MonitorOptions, TheOthersHaveTheirOwn) {
  const MonitorOptions cloud =
      parse({"cloud-hypervisor", "--cpus", "boot=2", "--vsock", "cid=3,socket=/run/ch.vsock"});
  EXPECT_EQ(cloud.vsock_socket, "/run/ch.vsock");
  EXPECT_FALSE(cloud.vsock);  // the identifier is the socket's own, not the host's
  EXPECT_EQ(parse({"crosvm", "run", "--cid", "7", "--name=web"}).vsock, 7);
  EXPECT_EQ(parse({"crosvm", "run", "--vsock=cid=8"}).vsock, 8);
  EXPECT_EQ(parse({"crosvm", "run", "--name=web", "--vsock", "9"}).name, "web");
  const MonitorOptions fire = parse({"firecracker", "--id", "web", "--api-sock", "/run/api"});
  EXPECT_EQ(fire.name, "web");
  EXPECT_EQ(fire.api_socket, "/run/api");
}

TEST(MonitorOptions, GarbageIsNothing) {
  const std::string deep(100'000, '[');
  for (const std::string_view text :
       {std::string_view(""), std::string_view(","), std::string_view(",,"), std::string_view("="),
        std::string_view("{"), std::string_view("{}"), std::string_view("{\"driver\":{}}"),
        std::string_view("{\"driver\":"), std::string_view(deep), std::string_view("\xff\0\x80", 3),
        std::string_view("vhost-vsock-pci,guest-cid=2"),
        std::string_view("vhost-vsock-pci,guest-cid=4294967295"),
        std::string_view("vhost-vsock-pci,guest-cid=-5"),
        std::string_view("vhost-vsock-pci,guest-cid=99999999999999999999"),
        std::string_view("virtserialport,name=org.xenoprof.agent.0")}) {
    for (const std::string_view option : {"-device", "-chardev", "--vsock", "--cid", "-", "--"}) {
      const MonitorOptions options = parse({"qemu", option, text});
      EXPECT_FALSE(options.vsock) << option << ' ' << text;
      EXPECT_EQ(options.serial, "");
      EXPECT_EQ(options.vsock_socket, "");
    }
  }
  EXPECT_EQ(parse({}).name, "");
  EXPECT_EQ(parse({"qemu", "-name"}).name, "");
}

TEST(KvmMachines, AHostWithoutKvmHasNone) {
  const TemporaryFolder root;
  const auto machines = list_kvm_machines(root.path());
  ASSERT_TRUE(machines);
  EXPECT_THAT(*machines, IsEmpty());
}

TEST(KvmMachines, KvmTellsThreadsWhateverTheirNames) {
  const KvmHost host;
  host.process(400, "monitor", {"/opt/monitor"});
  host.thread(400, 401, "maker");
  host.thread(400, 410, "a");
  host.thread(400, 411, "b");
  host.thread(400, 412, "c");
  // Numbers are APIC identifiers, and 10 comes after 4.
  host.vcpu("401-12", 0, 410);
  host.vcpu("401-12", 10, 411);
  host.vcpu("401-12", 4, 412);
  host.write("sys/kernel/debug/kvm/exits", "7\n");
  const auto machines = list(host);
  ASSERT_THAT(machines, SizeIs(1));
  EXPECT_EQ(machines[0].name, "monitor");
  EXPECT_EQ(machines[0].process, 400);
  EXPECT_EQ(machines[0].folder, "401-12");
  EXPECT_THAT(machines[0].vcpus, ElementsAre(KvmVcpu{410, 0}, KvmVcpu{412, 4}, KvmVcpu{411, 10}));
  EXPECT_FALSE(machines[0].vsock);
  EXPECT_EQ(machines[0].serial, "");
}

TEST(KvmMachines, TheThreadThatMadeTheMachineMayHaveEnded) {
  const KvmHost host;
  host.process(400, "monitor", {"monitor"});
  host.thread(400, 410, "a");
  host.vcpu("399-12", 0, 410);
  // Somebody else's by now.
  host.process(399, "sleep", {"sleep"});
  EXPECT_THAT(names(list(host)), ElementsAre("monitor"));
}

// KVM keeps one that QEMU unplugged, with the thread that it had, and tells one before it runs.
TEST(KvmMachines, AVcpuWithoutAThreadDoesNotHideTheOthers) {
  const KvmHost host;
  host.process(400, "monitor", {"monitor"});
  host.thread(400, 410, "a");
  host.thread(400, 412, "c");
  host.vcpu("400-12", 0, 410);
  host.vcpu("400-12", 2, 411);
  host.vcpu("400-12", 4, 412);
  host.vcpu("400-12", 6, 0);
  const auto machines = list(host);
  ASSERT_THAT(machines, SizeIs(1));
  EXPECT_THAT(machines[0].vcpus, ElementsAre(KvmVcpu{410, 0}, KvmVcpu{412, 4}));
}

TEST(KvmMachines, OlderKernelsTellNumbersAloneAndMonitorsTheThreads) {
  const KvmHost host;
  host.process(400, "qemu-system-x86", {"qemu-system-x86_64", "-name", "web"});
  host.thread(400, 410, "CPU 0/KVM");
  host.thread(400, 412, "CPU 10/KVM");
  host.thread(400, 411, "CPU 2/KVM");
  host.thread(400, 413, "vnc_worker");
  for (const int number : {0, 4, 6}) {  // three cores a socket
    host.vcpu("400-12", number, std::nullopt);
  }
  const auto machines = list(host);
  ASSERT_THAT(machines, SizeIs(1));
  EXPECT_THAT(machines[0].vcpus, ElementsAre(KvmVcpu{410, 0}, KvmVcpu{411, 4}, KvmVcpu{412, 6}));
}

TEST(KvmMachines, WithoutDebugfsFilesAndNamesOfThreadsTell) {
  const KvmHost host;
  const auto monitor = [&](int process, std::string_view name, std::string_view thread) {
    host.process(process, name, {name});
    host.file(process, 3, "/dev/kvm");
    host.file(process, 4, "anon_inode:kvm-vm");
    host.thread(process, process + 1, thread);
  };
  monitor(100, "cloud-hypervisor", "vcpu3");
  monitor(200, "firecracker", "fc_vcpu 1");
  monitor(300, "crosvm", "crosvm_vcpu2");
  monitor(400, "qemu-system-x86_64", "CPU 5/KVM");
  monitor(500, "probe", "worker");  // of no vCPU
  host.process(600, "sh", {"sh"});
  host.file(600, 0, "/dev/null");
  host.thread(600, 601, "CPU 0/KVM");
  const auto machines = list(host);
  EXPECT_THAT(names(machines),
              ElementsAre("cloud-hypervisor", "firecracker", "crosvm", "qemu-system-x86_64"));
  for (std::size_t i = 0; i < machines.size(); ++i) {
    constexpr std::array<unsigned, 4> kNumbers{3, 1, 2, 5};
    EXPECT_THAT(machines[i].vcpus, ElementsAre(KvmVcpu{machines[i].process + 1, kNumbers.at(i)}));
    EXPECT_EQ(machines[i].folder, "");
  }
}

TEST(KvmMachines, TwoOfANameAreToldByTheirProcesses) {
  const KvmHost host;
  host.machine(100, {"qemu", "-name", "web"});
  host.machine(200, {"qemu", "-name", "db"});
  host.machine(300, {"qemu", "-name", "web"});
  host.machine(400, {"qemu", "-name", "web-300"});
  EXPECT_THAT(names(list(host)), ElementsAre("web-100", "db", "web-300", "web-300-400-2"));
}

// A sample tells its process alone: neither guest's agent may get the other's.
TEST(KvmMachines, SeveralInOneProcessAreOneWithoutAnAgent) {
  const KvmHost host;
  host.machine(100, {"qemu", "-name", "web", "-device", "vhost-vsock-pci,guest-cid=5"});
  host.thread(100, 102, "CPU 1/KVM");
  host.vcpu("100-12", 0, 102);
  const auto machines = list_kvm_machines(host.root.path());
  ASSERT_TRUE(machines);
  ASSERT_EQ(machines->size(), 1u);
  EXPECT_EQ((*machines)[0].vcpus.size(), 2u);
  EXPECT_EQ((*machines)[0].folder, "");
  EXPECT_FALSE((*machines)[0].vsock);
}

TEST(KvmMachines, NamesAreFitForFilesAndNotTheHosts) {
  const KvmHost host;
  host.machine(100, {"qemu", "-name", "../../etc/passwd"});
  host.machine(200, {"qemu", "-name", "host"});
  host.machine(300, {"qemu", "-name", "a\x1b[2Jb"});
  host.machine(400, {"qemu", "-name", std::string(5000, 'x')});
  host.machine(500, {"", "-m", "1"});
  host.machine(600, {"qemu", "-name", "a,,b=c"});
  EXPECT_THAT(names(list(host)), ElementsAre("_._.._etc_passwd", "host-200", "a?[2Jb",
                                             std::string(40, 'x'), "machine", "a_b_c"));
}

TEST(KvmMachines, AnIdentifierThatTwoClaimIsNobodys) {
  const KvmHost host;
  host.machine(100, {"qemu", "-device", "vhost-vsock-pci,guest-cid=3"});
  host.machine(200, {"qemu", "-device", "vhost-vsock-pci,guest-cid=4"});
  host.machine(300, {"fake", "-device", "vhost-vsock-pci,guest-cid=3"});
  const auto machines = list(host);
  ASSERT_THAT(machines, SizeIs(3));
  EXPECT_FALSE(machines[0].vsock);
  EXPECT_EQ(machines[1].vsock, 4);
  EXPECT_FALSE(machines[2].vsock);
}

TEST(KvmMachines, ASocketThatLibvirtOpenedIsFoundByItsNumber) {
  const KvmHost host;
  host.machine(100, {"qemu", "-chardev", "socket,id=c,fd=35,server=on,wait=off", "-device",
                     "virtserialport,chardev=c,name=org.xenoprof.agent.0"});
  host.file(100, 34, "socket:[776]");
  host.file(100, 35, "socket:[777]");
  host.write("proc/100/net/unix",
             "Num       RefCount Protocol Flags    Type St Inode Path\n"
             "0000000000000000: 00000002 00000000 00010000 0001 01   776 /run/monitor\n"
             "0000000000000000: 00000002 00000000 00000000 0001 03   777\n"
             "garbage\n\n \n"
             "0000000000000000: 00000002 00000000 00010000 0001 01   777 /run/lib virt/agent\n");
  const auto machines = list(host);
  ASSERT_THAT(machines, SizeIs(1));
  EXPECT_EQ(machines[0].serial, "/run/lib virt/agent");
}

TEST(KvmMachines, FirecrackersOtherSocketIsTheGuestsVsock) {
  const KvmHost host;
  const auto firecracker = [&](int id, int api, int vsock) {
    host.process(id, "firecracker", {"/firecracker", "--id", "web"});
    host.thread(id, id + 1, "fc_vcpu 0");
    host.vcpu(fmt::format("{}-9", id), 0, id + 1);
    host.file(id, api, "socket:[50]");
    host.file(id, vsock, "socket:[60]");
    // 70 is another process's.
    host.write(fmt::format("proc/{}/net/unix", id),
               "Num       RefCount Protocol Flags    Type St Inode Path\n"
               "0000000000000000: 00000002 00000000 00010000 0001 01 70 /run/other\n"
               "0000000000000000: 00000002 00000000 00010000 0001 01 60 /v.sock\n"
               "0000000000000000: 00000002 00000000 00010000 0001 01 50 /run/firecracker.socket\n");
    // In a jail, which has paths of its own.
    host.link(fmt::format("proc/{}/root", id), "/srv/jailer/web/root");
  };
  firecracker(100, 5, 6);
  firecracker(200, 6, 5);
  const auto machines = list(host);
  EXPECT_THAT(names(machines), ElementsAre("web-100", "web-200"));
  for (const KvmMachine& machine : machines) {
    EXPECT_EQ(machine.vsock_socket,
              host.root / fmt::format("proc/{}/root/v.sock", machine.process));
  }
}

TEST(KvmMachines, PathsAreThoseOfTheMonitor) {
  const KvmHost host;
  host.machine(100, {"cloud-hypervisor", "--vsock", "cid=3,socket=ch.vsock"});
  host.machine(200, {"cloud-hypervisor", "--vsock", "cid=3,socket=/run/ch.vsock"});
  host.machine(300, {"cloud-hypervisor", "--vsock", "cid=3,socket=/run/ch.vsock"});
  host.link("proc/self/ns/mnt", "mnt:[1]");
  host.link("proc/200/ns/mnt", "mnt:[1]");
  host.link("proc/200/root", "/");
  host.link("proc/300/ns/mnt", "mnt:[2]");
  host.link("proc/300/root", "/");
  const auto machines = list(host);
  ASSERT_THAT(machines, SizeIs(3));
  EXPECT_EQ(machines[0].vsock_socket, host.root / "proc/100/cwd/ch.vsock");
  EXPECT_EQ(machines[1].vsock_socket, "/run/ch.vsock");
  EXPECT_EQ(machines[2].vsock_socket, host.root / "proc/300/root/run/ch.vsock");
}

TEST(KvmMachines, TheKernelsWorkersBelongToTheMachineOfTheirNumber) {
  const KvmHost host;
  host.machine(100, {"qemu"});
  host.machine(200, {"qemu", "-name", "web"});
  host.thread(200, 205, "worker");
  host.thread(20, 20, "vhost-200", 2);
  host.thread(21, 21, "vhost-205", 2);  // of a thread of the monitor
  host.thread(22, 22, "kvm-pit/200", 2);
  host.thread(23, 23, "kvm-nx-lpage-recovery-100", 2);
  host.thread(24, 24, "vhost-999", 2);
  host.thread(900, 900, "vhost-200", 1);  // a process that only says so
  const auto machines = list(host);
  ASSERT_THAT(machines, SizeIs(2));
  EXPECT_THAT(machines[0].workers, ElementsAre(23));
  EXPECT_THAT(machines[1].workers, ::testing::UnorderedElementsAre(20, 21, 22));
}

TEST(KvmMachines, WhereNothingMayBeReadTheErrorSaysWhatItTakes) {
  const KvmHost host;
  host.process(100, "qemu", {"qemu"});
  host.file(100, 4, "anon_inode:kvm-vm");
  const fs::path files = host.root / "proc/100/fd";
  fs::permissions(files, fs::perms::none);
  // Root may read everything.
  constexpr uid_t kNobody = 65534;
  const uid_t user = ::geteuid();
  if (user == 0) {
    fs::permissions(host.root.path(), fs::perms::all);
    ASSERT_EQ(::seteuid(kNobody), 0);
  }
  const auto machines = list_kvm_machines(host.root.path());
  ASSERT_EQ(::seteuid(user), 0);
  fs::permissions(files, fs::perms::owner_all);
  ASSERT_FALSE(machines);
  EXPECT_THAT(machines.error().message, HasSubstr("CAP_DAC_READ_SEARCH"));
}

TEST(KvmMachines, GarbageInProcAndDebugfsIsNoMachine) {
  const KvmHost host;
  host.vcpu("not-a-number", 0, 1);
  host.vcpu("400-12", 0, 410);  // ended
  host.vcpu("-5-1", 0, 3);
  host.write("sys/kernel/debug/kvm/500-1/vcpu0/pid", "nonsense");
  host.write("sys/kernel/debug/kvm/500-1/vcpu99999999999999999999/pid", "1");
  host.write("proc/500/status", "Tgid:\nTgid:\t\n");
  host.write("proc/500/cmdline", std::string(1'000'000, '\0'));
  EXPECT_THAT(list(host), IsEmpty());
}

TEST(TscRelation, ScalesAndWrapsAsTheHardwareDoes) {
  EXPECT_EQ((TscRelation{.offset = -1000}.guest(5000)), 4000);
  EXPECT_EQ((TscRelation{.offset = -1000}.guest(500)),
            std::numeric_limits<std::uint64_t>::max() - 499);
  // 1.5 with the 48 bits of Intel's; the product has more than 64 bits.
  const TscRelation scaled{.offset = 7, .ratio = std::uint64_t{3} << 47, .fraction_bits = 48};
  EXPECT_EQ(scaled.guest(2'000'000'000'000'000), 3'000'000'000'000'007);
}

TEST(TscRelation, IsReadFromDebugfs) {
  const KvmHost host;
  host.machine(100, {"qemu", "-name", "web"});
  const auto machines = list(host);
  ASSERT_THAT(machines, SizeIs(1));
  auto relation = tsc_relation(machines[0], 0, host.root.path());
  ASSERT_TRUE(relation) << relation.error().message;
  EXPECT_EQ(relation->guest(5000), 4000);
  const fs::path vcpu = "sys/kernel/debug/kvm/100-9/vcpu0";
  host.write(vcpu / "tsc-scaling-ratio", "8589934592\n");
  host.write(vcpu / "tsc-scaling-ratio-frac-bits", "32\n");
  relation = tsc_relation(machines[0], 0, host.root.path());
  ASSERT_TRUE(relation) << relation.error().message;
  EXPECT_EQ(relation->guest(5000), 9000);
  host.write(vcpu / "tsc-scaling-ratio-frac-bits", "64\n");
  EXPECT_FALSE(tsc_relation(machines[0], 0, host.root.path()));
}

TEST(TscRelation, OfAVcpuThatIsGoneOrHiddenIsAnError) {
  const KvmHost host;
  host.machine(100, {"qemu", "-name", "web"});
  auto machines = list(host);
  ASSERT_THAT(machines, SizeIs(1));
  EXPECT_FALSE(tsc_relation(machines[0], 1, host.root.path()));
  machines[0].folder.clear();
  const auto relation = tsc_relation(machines[0], 0, host.root.path());
  ASSERT_FALSE(relation);
  EXPECT_THAT(relation.error().message, HasSubstr("web"));
}

}  // namespace
}  // namespace xenoprof
