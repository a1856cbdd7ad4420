// SPDX-License-Identifier: GPL-2.0-or-later
#include "perf/stack_counter.h"

#include <algorithm>
#include <array>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

namespace xenoprof::perf {
namespace {

// Samples and callers in a batch: few enough to stay in a CPU's cache, enough for handing them over
// not to matter.
constexpr std::size_t kSamples = 1024;
constexpr std::size_t kCallers = 16 * kSamples;
constexpr std::size_t kMostWaiting = 4;

// Of a sample without a call chain.
constexpr std::uint8_t kNoCpu = 0xff;
static_assert(StackCounter::kCpus <= kNoCpu);

}  // namespace

struct StackCounter::Batch {
  struct Sample {
    SampleKey key;
    LocationId leaf = 0;
    std::uint32_t event = 0;
    std::uint32_t kept = 0;
    std::uint32_t callers_end = 0;  // its callers stand behind those of the sample before
    std::uint8_t cpu = kNoCpu;
  };
  std::vector<Sample> samples;
  std::vector<LocationId> callers;
};

class StackCounter::Counting {
 public:
  explicit Counting(Profile& profile) : profile_(profile) {}

  // In steps, each of which asks for the memory that the next one looks at.
  void count(Batch& batch) {
    find_hashes(batch);
    find_stacks(batch);
    for (const Batch::Sample& sample : batch.samples) {
      profile_.expect(sample.key);
    }
    for (const Batch::Sample& sample : batch.samples) {
      profile_.add(sample.key, sample.event);
    }
  }

 private:
  // The callers of a CPU's last sample, from the outermost on: the hash of each one's stack, and
  // the stack.
  struct LastCallers {
    std::vector<std::uint64_t> hashes;
    std::vector<StackId> stacks;
  };

  // For each sample the hashes of its new callers, then its leaf's.
  void find_hashes(const Batch& batch) {
    hashes_.clear();
    const auto next = [this](std::uint64_t caller, LocationId location) {
      hashes_.push_back(Profile::hash_of(caller, location));
      profile_.expect_frame(hashes_.back());
      return hashes_.back();
    };
    std::size_t caller = 0;
    for (const Batch::Sample& sample : batch.samples) {
      std::uint64_t hash = 0;
      if (sample.cpu != kNoCpu) {
        std::vector<std::uint64_t>& last = last_callers_[sample.cpu].hashes;
        last.resize(sample.kept);
        hash = last.empty() ? 0 : last.back();
        for (; caller < sample.callers_end; ++caller) {
          hash = next(hash, batch.callers[caller]);
          last.push_back(hash);
        }
      }
      next(hash, sample.leaf);
    }
  }

  void find_stacks(Batch& batch) {
    auto hash = hashes_.begin();
    std::size_t caller = 0;
    for (Batch::Sample& sample : batch.samples) {
      StackId stack = 0;
      if (sample.cpu != kNoCpu) {
        std::vector<StackId>& last = last_callers_[sample.cpu].stacks;
        last.resize(sample.kept);
        stack = last.empty() ? 0 : last.back();
        for (; caller < sample.callers_end; ++caller) {
          stack = profile_.add_frame(stack, batch.callers[caller], *hash++);
          last.push_back(stack);
        }
      }
      sample.key.stack = profile_.add_frame(stack, sample.leaf, *hash++);
    }
  }

  Profile& profile_;
  std::array<LastCallers, kCpus> last_callers_;
  std::vector<std::uint64_t> hashes_;  // of the batch at hand
};

class StackCounter::Thread {
 public:
  explicit Thread(Counting& counting) : counting_(counting), thread_([this] { run(); }) {}
  ~Thread() {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  // Takes the batch and gives an empty one for it.
  void take(Batch& batch) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return waiting_.size() < kMostWaiting; });
    waiting_.push_back(std::exchange(batch, std::exchange(spare_, {})));
    changed_.notify_all();
  }

  void finish() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return waiting_.empty(); });
  }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return !waiting_.empty() || ending_; });
      if (waiting_.empty()) {
        return;
      }
      // It stays among those that wait until it has been counted; more may come behind it.
      Batch& batch = waiting_.front();
      lock.unlock();
      counting_.count(batch);
      batch.samples.clear();
      batch.callers.clear();
      lock.lock();
      spare_ = std::move(batch);
      waiting_.pop_front();
      changed_.notify_all();
    }
  }

  Counting& counting_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Batch> waiting_;
  Batch spare_;  // empty, with the memory of one that was counted
  bool ending_ = false;
  std::thread thread_;  // the last: it uses all the others
};

StackCounter::StackCounter(std::vector<Event> events, Where where)
    : profile_(std::make_unique<Profile>(std::move(events))),
      counting_(std::make_unique<Counting>(*profile_)),
      batch_(std::make_unique<Batch>()),
      thread_(where == Where::kInThread ? std::make_unique<Thread>(*counting_) : nullptr) {}
StackCounter::StackCounter(StackCounter&&) noexcept = default;
StackCounter& StackCounter::operator=(StackCounter&& other) noexcept {
  std::swap(profile_, other.profile_);
  std::swap(counting_, other.counting_);
  std::swap(batch_, other.batch_);
  std::swap(thread_, other.thread_);
  return *this;
}
StackCounter::~StackCounter() = default;

void StackCounter::add(const SampleKey& key, std::size_t event, LocationId leaf) {
  add(key, event, leaf, kNoCpu, 0, {});
}

void StackCounter::add(const SampleKey& key, std::size_t event, LocationId leaf, std::size_t cpu,
                       std::size_t kept, std::span<const LocationId> callers) {
  auto& all = batch_->callers;
  all.insert(all.end(), callers.begin(), callers.end());
  batch_->samples.push_back({.key = key,
                             .leaf = leaf,
                             .event = static_cast<std::uint32_t>(event),
                             .kept = static_cast<std::uint32_t>(kept),
                             .callers_end = static_cast<std::uint32_t>(all.size()),
                             .cpu = static_cast<std::uint8_t>(cpu)});
  if (batch_->samples.size() >= kSamples || all.size() >= kCallers) {
    pass_on();
  }
}

void StackCounter::pass_on() {
  if (thread_ != nullptr) {
    thread_->take(*batch_);
    return;
  }
  counting_->count(*batch_);
  batch_->samples.clear();
  batch_->callers.clear();
}

Profile& StackCounter::profile() {
  pass_on();
  if (thread_ != nullptr) {
    thread_->finish();
  }
  return *profile_;
}

}  // namespace xenoprof::perf
