// SPDX-License-Identifier: GPL-2.0-or-later
// Whatever the agent in a guest of KVM says: no crash, no hang, no memory that its words do not
// justify (-rss_limit_mb); the account of samples adds up, and what is kept can be read.
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <thread>

#include "perf/clock_relation.h"
#include "perf/records.h"
#include "pprof/gzip.h"
#include "pprof/pprof.h"
#include "session/kvm_guests.h"
#include "session/participant.h"
#include "session/socket.h"
#include "session/wire.pb.h"
#include "tests/unit/guest_sample.h"
#include "tests/unit/kvm_host.h"
#include "tests/unit/monitor.h"

namespace {

using namespace std::chrono_literals;
using namespace xenoprof;

// Bits of an input's first byte; the rest are messages as they come off a channel.
constexpr unsigned kGuestSampling = 1;
constexpr unsigned kUnpackedProfiles = 2;  // to be gzip'd here: no mutation keeps its checksum
constexpr unsigned kImpatient = 4;         // says all at once; else an answer waits for a question

constexpr unsigned kBothSampling = 8;  // without kGuestSampling

constexpr std::size_t kLengthSize = 4;
constexpr std::int32_t kThread = 4100;  // of the vCPU
constexpr std::uint64_t kTaken = 5;     // samples of each event, as the host takes them

const perf::Layout kLayout{.events = {{"instructions", 1000}, {"branches", 500}},
                           .call_chains = false,
                           .countings = {{}, {}}};

class Host {
 public:
  Host() {
    const std::string socket = "socket=" + monitor.path.string();
    machine_.process(::getpid(), "cloud-hypervisor", {"cloud-hypervisor", "--vsock", socket});
    machine_.thread(::getpid(), kThread, "vcpu0");
    machine_.vcpu(std::to_string(::getpid()) + "-9", 0, kThread);
  }
  const std::filesystem::path& root() const { return machine_.root.path(); }
  const Folder& files() const { return files_; }

  Monitor monitor;

 private:
  KvmHost machine_;
  TemporaryFolder output_;
  Folder files_ = *Folder::open(output_.path());
};

void write_all(const FileDescriptor& socket, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t size = ::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (size <= 0) {
      return;
    }
    bytes.remove_prefix(static_cast<std::size_t>(size));
  }
}

std::uint32_t length_of(std::string_view message) {
  std::uint32_t length = 0;
  for (std::size_t i = 0; i < kLengthSize; ++i) {
    length |= std::uint32_t{static_cast<unsigned char>(message[i])} << (8 * i);
  }
  return length;
}

std::string framed(const std::string& message) {
  std::string bytes;
  for (std::size_t i = 0; i < kLengthSize; ++i) {
    bytes += static_cast<char>(message.size() >> (8 * i) & 0xff);
  }
  return bytes + message;
}

bool is_answer(const wire::FromParticipant& message) {
  return message.has_introduction() || message.has_prepared() || message.has_armed() ||
         message.has_finished();
}

// Says what the input holds.
void play_agent(const Host& host, unsigned options, std::string_view input) {
  FileDescriptor socket = host.monitor.accept();
  char next = 0;
  while (next != '\n' && ::read(socket.get(), &next, 1) == 1) {
  }
  write_all(socket, "OK 1\n");
  const int copy = ::dup(socket.get());
  Connection heard(socket_channel(FileDescriptor(copy)), kLargestToParticipant);
  const auto await_question = [&] {
    for (;;) {
      const auto message = heard.receive();
      wire::ToParticipant question;
      if (!message) {
        return false;
      }
      if (message->has_value() && question.ParseFromString(**message) && !question.has_samples()) {
        return true;
      }
      if (!message->has_value()) {
        heard.wait(1s);
      }
    }
  };
  while (!input.empty()) {
    const std::size_t length =
        input.size() < kLengthSize ? input.size() : kLengthSize + length_of(input);
    const std::string_view bytes = input.substr(0, length);
    input.remove_prefix(bytes.size());
    wire::FromParticipant message;
    if (bytes.size() < kLengthSize || bytes.size() < length ||
        !message.ParseFromArray(bytes.data() + kLengthSize,
                                static_cast<int>(bytes.size() - kLengthSize))) {
      write_all(socket, bytes);
      continue;
    }
    if ((options & kImpatient) == 0 && is_answer(message) && !await_question()) {
      return;
    }
    if ((options & kUnpackedProfiles) != 0 && message.has_finished()) {
      std::string& profile = *message.mutable_finished()->mutable_profile();
      profile = pprof::gzip(profile);
      write_all(socket, framed(message.SerializeAsString()));
    } else {
      write_all(socket, bytes);
    }
  }
}

// Records of the host's perf: samples of the guest's code.
void take_samples(KvmGuests& guests, DomainData& data) {
  for (std::uint64_t i = 0; i < kTaken; ++i) {
    for (std::size_t event = 0; event < kLayout.events.size(); ++event) {
      const auto record =
          guest_sample(kLayout, perf::raw_clock(), event, 0xffffffff81000000, ::getpid(), kThread);
      data.add_own(record);
      guests.take(record);
    }
  }
}

void require(bool promise) {
  if (!promise) {
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Host host;
  if (size == 0) {
    return 0;
  }
  const unsigned options = data[0];
  const std::string_view input(reinterpret_cast<const char*>(data + 1), size - 1);
  std::thread agent([&] { play_agent(host, options, input); });

  const bool guest_sampling = (options & kGuestSampling) != 0;
  auto guests =
      KvmGuests::find({.sampling = guest_sampling                   ? GuestSampling::kByGuest
                                   : (options & kBothSampling) != 0 ? GuestSampling::kByBoth
                                                                    : GuestSampling::kByHost},
                      host.root(), {.step = 1s, .finish = 1s, .sign_of_life = 1s});
  require(guests && guests->any());
  auto records = DomainData::create(&host.files(), "host", kLayout, false);
  require(records.has_value());
  require(guests->begin(kLayout, &host.files(), false, [] { return false; }).has_value());
  if (!guest_sampling) {
    take_samples(*guests, *records);
  }
  guests->pump(perf::raw_clock());
  guests->end();
  Profile merged(kLayout.events);
  SessionRecord record;
  guests->conclude(*records, Profile(kLayout.events), merged, record);
  {
    // Lets the agent know that it is over.
    const KvmGuests over = std::move(*guests);
  }
  agent.join();

  require(record.domains.size() == 1);
  for (std::size_t event = 0; event < record.domains[0].events.size(); ++event) {
    const EventTotals& totals = record.domains[0].events[event];
    std::uint64_t sum = totals.delivered;
    for (const auto& [cause, samples] : totals.lost) {
      require(samples <= totals.taken);
      sum += samples;
    }
    require(totals.taken == sum);
    const bool known = event < merged.events().size();  // the guest's own come with its profile
    require((known ? merged.total(event) : 0) == totals.delivered);
    require(guest_sampling || event >= kLayout.events.size() || totals.taken == kTaken);
  }
  require(pprof::decode(pprof::encode(merged), pprof::kFileLimits).has_value());
  return 0;
}
