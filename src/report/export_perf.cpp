// SPDX-License-Identifier: GPL-2.0-or-later
#include <fcntl.h>
#include <linux/perf_event.h>
#include <sys/mman.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <set>
#include <tuple>
#include <unordered_map>

#include "files/new_file.h"
#include "perf/data_file.h"
#include "report/column.h"
#include "report/export.h"

namespace xenoprof {
namespace {

// Linux's PID_MAX_LIMIT (include/linux/threads.h, 6.1).
constexpr std::int32_t kPidsOfDomain = std::int32_t{1} << 22;
constexpr std::size_t kMostDomains = 511;
constexpr std::uint64_t kKernelOfDomain = std::uint64_t{8} << 30;

// Where images stand in each process: no real mapping is there, so that the addresses of unknown
// code stay what they were.
constexpr std::uint64_t kFirstImage = 0x600000000000u;
constexpr std::uint64_t kRoomOfImage = std::uint64_t{16} << 30;
constexpr std::uint64_t kMostImages = 1024;
constexpr std::uint64_t kPage = 4096;
// Sampled addresses farther apart are not of one function, whatever their name: each domain may
// have it.
constexpr std::uint64_t kLargestGap = std::uint64_t{64} << 10;
constexpr std::uint64_t kLongestFunction = std::uint64_t{1} << 30;
// A record has at most 64 KiB; of a deeper stack the innermost frames are kept.
constexpr std::size_t kLongestChain = 8000;
// Each sample is a record of its own there, and a profile may claim any number.
constexpr std::uint64_t kMostSamples = 100'000'000;

class PerfExport {
 public:
  PerfExport(const Profile& profile, perf::DataWriter writer, const perf::Layout& layout)
      : profile_(profile), cells_(profile), writer_(std::move(writer)), builder_(layout) {}

  Result<void> run();

 private:
  struct Process {
    std::map<ImageId, std::uint64_t> base_of;  // where its images stand
  };

  void put(perf::Bytes record) {
    if (good_) {
      good_ = writer_.write(record);
    }
  }
  Result<void> number_domains();
  std::uint64_t domain_index(StringId domain) const { return domains_.at(domain); }
  bool is_kernel(LocationId location) const { return cells_.mode_of(location) != Mode::kUser; }
  void name_kernels();
  std::uint64_t kernel_address(StringId domain, LocationId location) const;
  std::string path_of(StringId domain, const Image& image) const;
  void map_images(const SampleKey& key, std::int32_t pid);
  std::uint64_t address(const SampleKey& key, std::int32_t pid, LocationId location) const;
  void put_sample(const Sample& sample, std::int32_t pid, std::int32_t tid);
  perf::Features features() const;

  const Profile& profile_;
  Cells cells_;
  perf::DataWriter writer_;
  perf::RecordBuilder builder_;
  Result<void> good_;
  std::unordered_map<StringId, std::uint64_t> domains_;
  std::unordered_map<std::int32_t, Process> processes_;
  std::map<std::string, StringId> build_ids_;  // by the path in the file
  std::uint64_t time_ = 0;
  std::vector<std::uint64_t> chain_;
};

Result<void> PerfExport::number_domains() {
  for (const Sample& sample : profile_.samples()) {
    domains_.try_emplace(sample.key.domain, domains_.size());
  }
  if (domains_.size() > kMostDomains) {
    return fail("a perf.data can have {} domains, this profile has {}", kMostDomains,
                domains_.size());
  }
  return {};
}

// The first domain's moves as well: perf may have the kernel of its own machine there.
std::uint64_t PerfExport::kernel_address(StringId domain, LocationId location) const {
  const std::uint64_t address = profile_.locations()[location].address;
  return cells_.mode_of(location) == Mode::kHypervisor
             ? address
             : address - (domain_index(domain) + 1) * kKernelOfDomain;
}

// perf takes a symbol record outside of all mappings for a piece of code of its own. One for each
// run of sampled addresses in a function: where the function begins and ends is not known here.
void PerfExport::name_kernels() {
  // See xen_function_records(): keeps perf away from this machine's /proc/kcore.
  put(builder_.kernel_mmap(perf::kXenStart, kPage, 0, "[xen]"));
  std::map<std::uint64_t, StringId> symbols;
  std::set<std::pair<StringId, StackId>> seen;
  for (const Sample& sample : profile_.samples()) {
    if (!seen.emplace(sample.key.domain, sample.key.stack).second) {
      continue;
    }
    for (const LocationId location : profile_.stack(sample)) {
      if (is_kernel(location)) {
        symbols.emplace(kernel_address(sample.key.domain, location),
                        profile_.locations()[location].symbol);
      }
    }
  }
  for (auto first = symbols.begin(); first != symbols.end();) {
    auto end = first;
    std::uint64_t last = first->first;
    for (; end != symbols.end() && end->second == first->second &&
           end->first - last <= kLargestGap && end->first - first->first < kLongestFunction;
         ++end) {
      last = end->first;
    }
    // A caller stands in the file with the address after its call.
    const std::uint64_t limit = end == symbols.end() ? last + 2 : std::min(last + 2, end->first);
    if (first->second != 0) {
      put(builder_.ksymbol({.address = first->first,
                            .length = static_cast<std::uint32_t>(limit - first->first),
                            .removed = false,
                            .name = profile_.text(first->second)}));
    }
    first = end;
  }
}

// Two domains may have different files of one name: perf must not take one for the other.
std::string PerfExport::path_of(StringId domain, const Image& image) const {
  const std::string path(profile_.text(image.name));
  const auto known = build_ids_.find(path);
  const bool same =
      known == build_ids_.end() || (image.build_id != 0 && known->second == image.build_id);
  return same && (image.build_id != 0 || domain_index(domain) == 0)
             ? path
             : fmt::format("{}:{}", profile_.text(domain), path);
}

void PerfExport::map_images(const SampleKey& key, std::int32_t pid) {
  auto& base_of = processes_[pid].base_of;
  for (const LocationId location : profile_.stack(key.stack)) {
    const ImageId id = profile_.locations()[location].image;
    const Image& image = profile_.images()[id];
    if (is_kernel(location) || base_of.contains(id) || base_of.size() >= kMostImages ||
        !profile_.text(image.name).starts_with('/')) {
      continue;
    }
    const std::uint64_t base = kFirstImage + base_of.size() * kRoomOfImage;
    base_of.emplace(id, base);
    const std::string path = path_of(key.domain, image);
    if (image.build_id != 0) {
      build_ids_.emplace(path, image.build_id);
    }
    put(builder_.mmap(time_, pid, pid, base, kRoomOfImage, 0, {}, PROT_READ | PROT_EXEC, path));
  }
}

std::uint64_t PerfExport::address(const SampleKey& key, std::int32_t pid,
                                  LocationId location) const {
  if (is_kernel(location)) {
    return kernel_address(key.domain, location);
  }
  const Location& at = profile_.locations()[location];
  const auto& base_of = processes_.at(pid).base_of;
  const auto base = base_of.find(at.image);
  return base != base_of.end() && at.address < kRoomOfImage ? base->second + at.address
                                                            : at.address;
}

void PerfExport::put_sample(const Sample& sample, std::int32_t pid, std::int32_t tid) {
  chain_.clear();
  std::uint64_t leaf = 0;
  bool kernel = false;
  for (const LocationId location : profile_.stack(sample)) {
    if (chain_.size() >= kLongestChain) {
      break;
    }
    const std::uint64_t ip = address(sample.key, pid, location);
    if (chain_.empty() || kernel != is_kernel(location)) {
      kernel = is_kernel(location);
      chain_.push_back(kernel ? PERF_CONTEXT_KERNEL : PERF_CONTEXT_USER);
      leaf = chain_.size() == 1 ? ip : leaf;
      chain_.push_back(ip);
    } else {
      chain_.push_back(ip + 1);  // the return address
    }
  }
  const Mode mode = cells_.mode_of(profile_.frames()[sample.key.stack].location);
  for (std::size_t event = 0; event < sample.samples.size(); ++event) {
    for (std::uint64_t i = 0; i < sample.samples[event]; ++i) {
      put(builder_.sample(++time_, event, mode, leaf, pid, tid, sample.key.vcpu, chain_));
    }
  }
}

perf::Features PerfExport::features() const {
  perf::Features features;
  features.command_line = {"xenoprof", "export"};
  for (const auto& [path, build_id] : build_ids_) {
    perf::BuildId one{.path = path, .id = {}, .kernel = false};
    const std::string_view hex = profile_.text(build_id);
    for (std::size_t at = 0; at + 1 < hex.size() && one.id.size() < 20; at += 2) {
      unsigned byte = 0;
      std::from_chars(hex.data() + at, hex.data() + at + 2, byte, 16);
      one.id.push_back(static_cast<std::byte>(byte));
    }
    features.build_ids.push_back(std::move(one));
  }
  for (const Sample& sample : profile_.samples()) {
    features.cpus = std::max(features.cpus, sample.key.vcpu + 1);
  }
  return features;
}

Result<void> PerfExport::run() {
  if (auto numbered = number_domains(); !numbered) {
    return numbered;
  }
  name_kernels();
  std::vector<std::uint32_t> order;
  const auto samples = profile_.samples();
  for (std::uint32_t i = 0; i < samples.size(); ++i) {
    order.push_back(i);
  }
  // Thread by thread, so that each is named once under each of its names.
  const auto key_of = [&](std::uint32_t i) {
    const SampleKey& key = samples[static_cast<std::ptrdiff_t>(i)].key;
    return std::tuple(domain_index(key.domain), key.pid, key.tid, key.process);
  };
  std::ranges::stable_sort(order, {}, key_of);
  std::optional<decltype(key_of(0))> named;
  for (const std::uint32_t i : order) {
    const Sample sample = samples[static_cast<std::ptrdiff_t>(i)];
    const SampleKey& key = sample.key;
    const auto shift = static_cast<std::int32_t>(domain_index(key.domain)) * kPidsOfDomain;
    const std::int32_t pid = std::clamp(key.pid, 0, kPidsOfDomain - 1) + shift;
    const std::int32_t tid = std::clamp(key.tid, 0, kPidsOfDomain - 1) + shift;
    if (named != key_of(i)) {
      named = key_of(i);
      const std::string_view domain = profile_.text(key.domain);
      put(builder_.comm(
          time_, pid, tid,
          fmt::format("{}{}{}", domain, domain.empty() ? "" : "/", profile_.text(key.process)),
          false));
    }
    map_images(key, pid);
    put_sample(sample, pid, tid);
  }
  if (!good_) {
    return good_;
  }
  return writer_.finish(features());
}

}  // namespace

Result<void> write_perf_data(const Profile& profile, const std::filesystem::path& path) {
  perf::Layout layout{.events = profile.events(), .call_chains = false};
  for (const Frame& frame : profile.frames()) {
    layout.call_chains |= frame.caller != 0;
  }
  std::uint64_t samples = 0;
  for (const Sample& sample : profile.samples()) {
    for (const std::uint64_t more : sample.samples) {
      if (more > kMostSamples - samples) {
        return fail("a perf.data has a record for each sample, and this profile has more than {}",
                    kMostSamples);
      }
      samples += more;
    }
  }
  auto file = NewFile::make(path, Readers::kAsUsual);
  if (!file) {
    return std::unexpected(file.error());
  }
  FileDescriptor again(::fcntl(file->descriptor(), F_DUPFD_CLOEXEC, 0));
  auto writer = perf::DataWriter::create(std::move(again), path, layout);
  if (!writer) {
    return std::unexpected(writer.error());
  }
  const auto done = PerfExport(profile, *std::move(writer), layout).run();
  return done ? file->commit() : done;
}

}  // namespace xenoprof
