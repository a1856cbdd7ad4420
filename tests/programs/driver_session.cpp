// SPDX-License-Identifier: GPL-2.0-or-later
// One domain's part in a session, straight on the driver: runs it, counts the tracepoint's samples
// and prints both accounts, for the tests to compare. Static, for the lab's domains.
//
//   driver_session initiate --active 0,1 [--passive 2] --counter c0:100000 ... --until FILE
//   driver_session participate --until FILE
//
// The session lasts until FILE is there: how much work falls into it must not depend on how fast
// the machine is.
//
// Output, a line each:
//   armed / started / stopped
//   samples pid=12 domain=32752 vcpu=0 mode=2 event=0 exact=0 count=34
//   pc pid=12 mode=2 ip=ffff82d040201234 count=3          (with --pcs, own samples)
//   received samples=34 lost=0
//   totals domain=32752 vcpu=0 hypervisor=1 kernel=2 user=3 lost=0 emitted=6 rejected=0 broken=0

#include <fcntl.h>
#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "../../driver/xenoprof.h"

namespace {

constexpr std::size_t kRingPages = 1024;
constexpr auto kLongest = std::chrono::minutes(3);
const std::string kTracing = "/sys/kernel/tracing";

[[noreturn]] void die(const std::string& what) {
  std::fprintf(stderr, "driver_session: %s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(1);
}

std::string read_file(const std::string& path) {
  std::string text;
  std::FILE* file = std::fopen(path.c_str(), "r");
  if (!file)
    die(path);
  std::array<char, 4096> bytes;
  while (std::feof(file) == 0 && std::ferror(file) == 0)
    text.append(bytes.data(), std::fread(bytes.data(), 1, bytes.size(), file));
  std::fclose(file);
  return text;
}

// Where the tracepoint's fields lie in a raw record.
struct Fields {
  std::size_t ip, domain, vcpu, mode, event, exact;

  static Fields read() {
    const std::string format = read_file(kTracing + "/events/xenoprof/sample/format");
    const auto offset = [&](const std::string& name) {
      const auto field = format.find(" " + name + ";\toffset:");
      if (field == std::string::npos)
        die("the tracepoint has no field " + name);
      return static_cast<std::size_t>(
          std::atoi(format.c_str() + format.find("offset:", field) + 7));
    };
    return {offset("ip"),   offset("domain"), offset("vcpu"),
            offset("mode"), offset("event"),  offset("exact")};
  }
};

template <typename T>
T load(const std::uint8_t* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

class Listener {
 public:
  Listener() {
    perf_event_attr attributes{};
    attributes.size = sizeof attributes;
    attributes.type = PERF_TYPE_TRACEPOINT;
    attributes.config = std::stoull(read_file(kTracing + "/events/xenoprof/sample/id"));
    attributes.sample_period = 1;
    attributes.sample_type = PERF_SAMPLE_TID | PERF_SAMPLE_RAW;
    attributes.disabled = 0;
    for (int cpu = 0; cpu < sysconf(_SC_NPROCESSORS_ONLN); ++cpu) {
      const int fd = static_cast<int>(
          syscall(SYS_perf_event_open, &attributes, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC));
      if (fd < 0)
        die("perf_event_open");
      void* ring =
          mmap(nullptr, (1 + kRingPages) * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
      if (ring == MAP_FAILED)
        die("mmap of the perf ring");
      rings_.push_back(static_cast<std::uint8_t*>(ring));
    }
  }

  void drain() {
    for (std::uint8_t* ring : rings_) {
      auto* page = reinterpret_cast<perf_event_mmap_page*>(ring);
      const std::uint8_t* data = ring + 4096;
      const std::uint64_t head = __atomic_load_n(&page->data_head, __ATOMIC_ACQUIRE);
      std::uint64_t tail = page->data_tail;
      while (tail < head) {
        std::array<std::uint8_t, 256> record{};
        perf_event_header header;
        copy(data, tail, &header, sizeof header);
        copy(data, tail, record.data(), std::min<std::size_t>(header.size, record.size()));
        take(header, record.data() + sizeof header);
        tail += header.size;
      }
      __atomic_store_n(&page->data_tail, tail, __ATOMIC_RELEASE);
    }
  }

  void print(bool pcs) const {
    for (const auto& [key, count] : samples_) {
      const auto& [pid, domain, vcpu, mode, event, exact] = key;
      std::printf("samples pid=%d domain=%u vcpu=%u mode=%u event=%u exact=%u count=%lu\n", pid,
                  domain, vcpu, mode, event, exact, count);
    }
    if (pcs)
      for (const auto& [key, count] : pcs_) {
        const auto& [pid, mode, ip] = key;
        std::printf("pc pid=%d mode=%u ip=%lx count=%lu\n", pid, mode, ip, count);
      }
    std::printf("received samples=%lu lost=%lu\n", received_, lost_);
  }

 private:
  static void copy(const std::uint8_t* data, std::uint64_t at, void* to, std::size_t size) {
    constexpr std::size_t kSize = kRingPages * 4096;
    const std::size_t begin = at % kSize;
    const std::size_t first = std::min(size, kSize - begin);
    std::memcpy(to, data + begin, first);
    std::memcpy(static_cast<std::uint8_t*>(to) + first, data, size - first);
  }

  void take(const perf_event_header& header, const std::uint8_t* body) {
    if (header.type == PERF_RECORD_LOST) {
      lost_ += load<std::uint64_t>(body + 8);
      return;
    }
    if (header.type != PERF_RECORD_SAMPLE)
      return;
    const int pid = load<int>(body);
    const std::uint8_t* raw = body + 12;  // pid, tid, size of the raw data
    const unsigned domain = load<std::uint16_t>(raw + fields_.domain);
    const unsigned mode = raw[fields_.mode];
    ++samples_[{pid, domain, load<std::uint16_t>(raw + fields_.vcpu), mode, raw[fields_.event],
                raw[fields_.exact]}];
    if (domain == XENOPROF_DOMAIN_SELF)
      ++pcs_[{pid, mode, load<std::uint64_t>(raw + fields_.ip)}];
    ++received_;
  }

  Fields fields_ = Fields::read();
  std::vector<std::uint8_t*> rings_;
  std::map<std::tuple<int, unsigned, unsigned, unsigned, unsigned, unsigned>, std::uint64_t>
      samples_;
  std::map<std::tuple<int, unsigned, std::uint64_t>, std::uint64_t> pcs_;
  std::uint64_t received_ = 0;
  std::uint64_t lost_ = 0;
};

struct Options {
  bool initiate = false;
  bool pcs = false;
  std::string until;
  unsigned long passive_samples = 0;
  std::vector<unsigned> active, passive;
  std::vector<xenoprof_counter> counters;
};

std::vector<unsigned> parse_domains(const char* text) {
  std::vector<unsigned> domains;
  for (char* end = nullptr; *text; text = *end ? end + 1 : end)
    domains.push_back(static_cast<unsigned>(std::strtoul(text, &end, 10)));
  return domains;
}

Options parse(int argc, char** argv) {
  Options options;
  options.initiate = argc > 1 && !std::strcmp(argv[1], "initiate");
  for (int i = 2; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--pcs") {
      options.pcs = true;
      continue;
    }
    if (++i == argc)
      break;
    if (name == "--until")
      options.until = argv[i];
    else if (name == "--active")
      options.active = parse_domains(argv[i]);
    else if (name == "--passive")
      options.passive = parse_domains(argv[i]);
    else if (name == "--passive-samples")
      options.passive_samples = std::strtoul(argv[i], nullptr, 10);
    else if (name == "--counter") {
      xenoprof_counter counter{};
      char* end = nullptr;
      counter.event = static_cast<unsigned>(std::strtoul(argv[i], &end, 16));
      counter.count = std::strtoull(end + 1, nullptr, 10);
      counter.user = counter.kernel = counter.hypervisor = 1;
      options.counters.push_back(counter);
    }
  }
  return options;
}

void print_totals(int device, unsigned domain) {
  xenoprof_totals totals{};
  do {
    totals.domain = static_cast<std::uint16_t>(domain);
    if (ioctl(device, XENOPROF_TOTALS, &totals))
      die("TOTALS");
    std::uint64_t emitted = 0;
    for (const auto count : totals.emitted)
      emitted += count;
    std::printf(
        "totals domain=%u vcpu=%u hypervisor=%llu kernel=%llu user=%llu lost=%llu emitted=%lu "
        "rejected=%llu broken=%u\n",
        domain, totals.vcpu, totals.hypervisor, totals.kernel, totals.user, totals.lost, emitted,
        totals.rejected, totals.broken);
  } while (++totals.vcpu < totals.vcpus);
}

void say(const char* what) {
  std::puts(what);
  std::fflush(stdout);
}

// An ioctl that may have to wait for other domains.
void insist(int device, unsigned long request, int transient, const char* name) {
  for (int tries = 0; ioctl(device, request); ++tries) {
    if (errno != transient || tries == 600)
      die(name);
    usleep(100'000);
  }
}

void configure(int device, const Options& options) {
  xenoprof_domains domains{};
  domains.num_active = static_cast<unsigned>(options.active.size());
  domains.num_passive = static_cast<unsigned>(options.passive.size());
  std::copy_n(options.active.begin(), options.active.size(), domains.active);
  std::copy_n(options.passive.begin(), options.passive.size(), domains.passive);
  domains.passive_samples = static_cast<unsigned>(options.passive_samples);
  if (ioctl(device, XENOPROF_SET_DOMAINS, &domains))
    die("SET_DOMAINS");
  xenoprof_counters counters{};
  counters.num = static_cast<unsigned>(options.counters.size());
  std::copy_n(options.counters.begin(), options.counters.size(), counters.counter);
  if (ioctl(device, XENOPROF_SET_COUNTERS, &counters))
    die("SET_COUNTERS");
}

void listen_until(Listener& listener, const std::string& file) {
  const auto end = std::chrono::steady_clock::now() + kLongest;
  while (access(file.c_str(), F_OK) != 0 && std::chrono::steady_clock::now() < end) {
    usleep(20'000);
    listener.drain();
  }
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  if (options.active.size() > XENOPROF_MAX_DOMAINS ||
      options.passive.size() > XENOPROF_MAX_DOMAINS ||
      options.counters.size() > XENOPROF_MAX_COUNTERS)
    return 2;
  const int device = open(XENOPROF_DEVICE, O_RDWR | O_CLOEXEC);
  if (device < 0)
    die(XENOPROF_DEVICE);
  xenoprof_info info{};
  if (ioctl(device, XENOPROF_INFO, &info))
    die("INFO");
  std::printf("info cpu=%s counters=%u initiator=%u vcpus=%u\n", info.cpu_type, info.num_counters,
              info.initiator, info.vcpus);

  Listener listener;
  if (options.initiate) {
    configure(device, options);
    say("configured");
  }
  insist(device, XENOPROF_ARM, options.initiate ? 0 : EPERM, "ARM");
  say("armed");
  if (options.initiate) {
    insist(device, XENOPROF_START, EAGAIN, "START");
    say("started");
  }
  listen_until(listener, options.until);
  if (options.initiate) {
    if (ioctl(device, XENOPROF_STOP))
      die("STOP");
    say("stopped");
  }
  if (ioctl(device, XENOPROF_DISARM))
    die("DISARM");
  listener.drain();
  listener.print(options.pcs);
  print_totals(device, XENOPROF_DOMAIN_SELF);
  for (const unsigned domain : options.passive)
    print_totals(device, domain);
  return 0;
}
