// SPDX-License-Identifier: GPL-2.0-or-later
// The monitor's unix sockets are made up here; a pseudo terminal stands in for the guest's
// virtio-serial port.
#include "session/agent_channel.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <pty.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <thread>

#include "session/socket.h"
#include "session/virtio_serial.h"
#include "session/vsock.h"
#include "session/wire.pb.h"
#include "tests/unit/monitor.h"
#include "tests/unit/temporary_folder.h"

namespace xenoprof {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

// Long enough for a busy machine; nothing waits for it to pass.
constexpr auto kPlenty = 10s;

std::string read_exactly(int file, std::size_t size) {
  std::string text;
  char next = 0;
  while (text.size() < size && wait_until(file, POLLIN, Clock::now() + kPlenty) &&
         ::read(file, &next, 1) == 1) {
    text += next;
  }
  return text;
}

std::string read_exactly(Channel& channel, std::size_t size) {
  std::string text(size, '\0');
  std::size_t done = 0;
  while (done < size && wait_until(channel.fd(), POLLIN, Clock::now() + kPlenty)) {
    const auto some = channel.read_some(std::span(text).subspan(done));
    if (!some) {
      break;
    }
    done += *some;
  }
  text.resize(done);
  return text;
}

void write_all(int file, std::string_view text) {
  ASSERT_EQ(::write(file, text.data(), text.size()), static_cast<ssize_t>(text.size()));
}

// `host` is the monitor's end. It stays when a process of the host goes, as bytes under way do.
struct Port {
  Port() {
    int host_end = -1;
    int guest_end = -1;
    std::array<char, 64> name{};
    EXPECT_EQ(::openpty(&host_end, &guest_end, name.data(), nullptr, nullptr), 0);
    termios raw{};
    ::tcgetattr(guest_end, &raw);
    ::cfmakeraw(&raw);
    ::tcsetattr(guest_end, TCSANOW, &raw);
    host = FileDescriptor(host_end);
    kept = FileDescriptor(guest_end);
    device = name.data();
  }

  FileDescriptor host;
  FileDescriptor kept;  // or the end that all have closed would hang up
  std::filesystem::path device;
};

SerialPort open_port(const Port& port) {
  auto opened = SerialPort::open(port.device);
  EXPECT_TRUE(opened) << opened.error().message;
  return std::move(*opened);
}

std::unique_ptr<Channel> meet(SerialPort port) {
  const auto deadline = Clock::now() + kPlenty;
  while (wait_until(port.fd(), POLLIN, deadline)) {
    const auto met = port.meet();
    if (!met) {
      ADD_FAILURE() << met.error().message;
      break;
    }
    if (*met) {
      return std::move(port).channel();
    }
  }
  return nullptr;
}

std::string word(std::string_view kind, char digit) {
  return std::string(kind) + std::string(32, digit);
}

// Carries bytes between the monitor's only client and the port, as QEMU does, until the client
// goes.
void carry(const Monitor& monitor, const Port& port) {
  const FileDescriptor client = monitor.accept();
  std::array<pollfd, 2> ends{pollfd{.fd = client.get(), .events = POLLIN, .revents = 0},
                             pollfd{.fd = port.host.get(), .events = POLLIN, .revents = 0}};
  std::array<char, 4096> bytes{};
  for (;;) {
    ::poll(ends.data(), ends.size(), -1);
    if (ends[0].revents != 0) {
      const ssize_t size = ::recv(client.get(), bytes.data(), bytes.size(), 0);
      if (size <= 0) {
        return;
      }
      write_all(port.host.get(), {bytes.data(), static_cast<std::size_t>(size)});
    }
    if (ends[1].revents != 0) {
      const ssize_t size = ::read(port.host.get(), bytes.data(), bytes.size());
      ::send(client.get(), bytes.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0)),
             MSG_NOSIGNAL);
    }
  }
}

TEST(VsockSocket, AsksForTheAgentsPortAndLeavesTheRestToTheConversation) {
  const Monitor monitor;
  std::thread firecracker([&] {
    const FileDescriptor client = monitor.accept();
    EXPECT_EQ(read_exactly(client.get(), 12), "CONNECT 915\n");
    write_all(client.get(), "OK 1073741824\nhello");
    EXPECT_EQ(read_exactly(client.get(), 2), "hi");
  });
  const auto channel = dial_vsock_socket(monitor.path, ::getpid(), kPlenty);
  ASSERT_TRUE(channel) << channel.error().message;
  EXPECT_EQ(read_exactly(**channel, 5), "hello");
  EXPECT_EQ((*channel)->write_some(std::string_view("hi")), 2U);
  firecracker.join();
}

TEST(VsockSocket, WhatIsNoAgentIsAnError) {
  for (const std::string_view answer :
       {"", "OK", "NO 1\n", "\n", "OK 1", "HTTP/1.1 400 Bad Request\r\n"}) {
    const Monitor monitor;
    std::thread other([&] {
      const FileDescriptor client = monitor.accept();
      write_all(client.get(), answer);
    });
    EXPECT_FALSE(dial_vsock_socket(monitor.path, ::getpid(), kPlenty)) << answer;
    other.join();
  }
  const Monitor monitor;
  std::thread endless([&] {
    const FileDescriptor client = monitor.accept();
    while (::send(client.get(), "OK ", 3, MSG_NOSIGNAL) == 3) {
    }
  });
  EXPECT_FALSE(dial_vsock_socket(monitor.path, ::getpid(), kPlenty));
  endless.join();
}

TEST(Dial, GivesUpOnAMonitorThatIsSilentOrTakesNobody) {
  const Monitor silent;
  EXPECT_FALSE(dial_vsock_socket(silent.path, ::getpid(), 20ms));
  EXPECT_FALSE(dial_serial(silent.path, ::getpid(), 20ms));
  const Monitor busy(0);
  const auto first = connect_unix_socket(busy.path, ::getpid(), Clock::now() + kPlenty);
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_FALSE(dial_vsock_socket(busy.path, ::getpid(), 20ms));
  EXPECT_FALSE(dial_serial(busy.path, ::getpid(), 20ms));
}

TEST(Dial, RefusesASocketOfAnotherProcess) {
  const Monitor monitor;
  for (const auto& dialled : {dial_vsock_socket(monitor.path, ::getppid(), kPlenty),
                              dial_serial(monitor.path, ::getppid(), kPlenty)}) {
    ASSERT_FALSE(dialled);
    EXPECT_THAT(dialled.error().message, HasSubstr(std::to_string(::getpid())));
  }
}

TEST(Dial, TakesPathsLongerThanAnAddress) {
  const Monitor monitor;
  std::string way;
  for (int i = 0; i < 60; ++i) {
    way += "/.";
  }
  const std::filesystem::path path =
      monitor.path.parent_path().string() + way + "/" + monitor.path.filename().string();
  ASSERT_GT(path.string().size(), 108U);
  EXPECT_TRUE(connect_unix_socket(path, ::getpid(), Clock::now() + kPlenty));
}

TEST(Dial, WhatIsNoSocketIsAnError) {
  const TemporaryFolder folder;
  EXPECT_FALSE(dial_serial(folder / "none", ::getpid(), kPlenty));
  EXPECT_FALSE(dial_serial(folder.file("file", "text"), ::getpid(), kPlenty));
  EXPECT_FALSE(dial_serial(folder.path(), ::getpid(), kPlenty));
}

TEST(Dial, AMachineWithNoWayToItsAgentIsTold) {
  const auto dialled = dial_agent({.name = "web"});
  ASSERT_FALSE(dialled);
  EXPECT_THAT(dialled.error().message, HasSubstr("org.xenoprof.agent.0"));
}

TEST(Vsock, ProgramsOfTheSameMachineAreTurnedAway) {
  const auto listener = listen_vsock();
  if (!listener || !*listener) {
    GTEST_SKIP() << "no vsock here";
  }
  if (!dial_vsock(VMADDR_CID_LOCAL, 50ms)) {
    GTEST_SKIP() << "no loopback of vsock here";
  }
  ASSERT_TRUE(wait_until(listener->get(), POLLIN, Clock::now() + kPlenty));
  EXPECT_EQ(accept_vsock(*listener), nullptr);
}

TEST(SerialPort, IsFoundByItsName) {
  const TemporaryFolder root;
  EXPECT_FALSE(find_agent_port(root.path()));
  for (const auto& [port, name] : {std::pair("vport1p1", "org.qemu.guest_agent.0"),
                                   std::pair("vport2p3", "org.xenoprof.agent.0")}) {
    const std::filesystem::path folder = std::filesystem::path("sys/class/virtio-ports") / port;
    std::filesystem::create_directories(root.path() / folder);
    root.file((folder / "name").string(), std::string(name) + "\n");
  }
  EXPECT_EQ(find_agent_port(root.path()), root / "dev/vport2p3");
}

// A host dials the agent behind `guest_end`, and each hears what the other says.
void meet_and_talk(const Monitor& monitor, const Port& port, SerialPort guest_end) {
  std::thread qemu([&] { carry(monitor, port); });
  std::thread guest([&] {
    const auto channel = meet(std::move(guest_end));
    ASSERT_TRUE(channel);
    EXPECT_EQ(read_exactly(*channel, 5), "hello");
    EXPECT_EQ(channel->write_some(std::string_view("hi")), 2U);
  });
  {
    const auto channel = dial_serial(monitor.path, ::getpid(), kPlenty);
    ASSERT_TRUE(channel) << channel.error().message;
    EXPECT_EQ((*channel)->write_some(std::string_view("hello")), 5U);
    EXPECT_EQ(read_exactly(**channel, 2), "hi");
    guest.join();
  }
  qemu.join();
}

TEST(SerialPort, HostAndGuestMeetAndTalk) {
  const Monitor monitor;
  const Port port;
  meet_and_talk(monitor, port, open_port(port));
}

TEST(SerialPort, BytesOfABrokenConversationConfuseNeitherEnd) {
  const Monitor monitor;
  const Port port;
  SerialPort guest_end = open_port(port);
  // To the guest: the rest of a message, a host that dialled and went, one that even had its word.
  write_all(port.host.get(), "half a message" + word("xp-dial:", '1') + word("xp-dial:", '2') +
                                 word("xp-talk:", '1') + "xp-dial:short");
  EXPECT_EQ(guest_end.meet(), false);
  // To the host: its answers, and a part of a message, lie there still.
  write_all(guest_end.fd(), "more of a message");
  meet_and_talk(monitor, port, std::move(guest_end));
}

TEST(SerialPort, ARepeatedWordIsAnsweredOnce) {
  const Port port;
  SerialPort guest = open_port(port);
  write_all(port.host.get(), word("xp-dial:", 'a') + word("xp-dial:", 'a'));
  EXPECT_EQ(guest.meet(), false);
  write_all(port.host.get(),
            word("xp-dial:", 'a') + word("xp-talk:", 'b') + word("xp-talk:", 'a') + "mine");
  EXPECT_EQ(guest.meet(), true);
  EXPECT_EQ(read_exactly(port.host.get(), 40), word("xp-here:", 'a'));
  const auto channel = std::move(guest).channel();
  EXPECT_EQ(channel->write_some(std::string_view("first")), 5U);
  EXPECT_EQ(read_exactly(port.host.get(), 5), "first");
  EXPECT_EQ(read_exactly(*channel, 4), "mine");
}

TEST(SerialPort, AnAgentThatMissedTheHostsEndBreaksOffAndMeetsTheNext) {
  const Monitor monitor;
  const Port port;
  SerialPort first = open_port(port);
  // Its host went within a message, which therefore has room for what the next one says.
  write_all(port.host.get(), word("xp-dial:", 'a') + word("xp-talk:", 'a') +
                                 std::string("\x00\x20\x00\x00 half", 9));
  ASSERT_EQ(first.meet(), true);
  std::thread qemu([&] { carry(monitor, port); });
  std::thread guest([&] {
    {
      Connection old(std::move(first).channel(), 16 * 1024);
      for (;;) {
        old.wait(kPlenty);
        if (!old.receive()) {
          break;
        }
      }
    }
    EXPECT_TRUE(meet(open_port(port)));
  });
  const auto channel = dial_serial(monitor.path, ::getpid(), kPlenty);
  EXPECT_TRUE(channel) << channel.error().message;
  guest.join();
  if (channel) {
    ::shutdown((*channel)->fd(), SHUT_RDWR);
  }
  qemu.join();
}

TEST(SerialPort, AGuestThatFloodsIsGivenUp) {
  const Monitor monitor;
  std::thread flood([&] {
    const FileDescriptor client = monitor.accept();
    const std::string garbage = word("xp-here:", 'f') + "xp-here:" + std::string(1000, '\0');
    while (::send(client.get(), garbage.data(), garbage.size(), MSG_NOSIGNAL) > 0) {
    }
  });
  EXPECT_FALSE(dial_serial(monitor.path, ::getpid(), 50ms));
  flood.join();
}

}  // namespace
}  // namespace xenoprof
