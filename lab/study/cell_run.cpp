// SPDX-License-Identifier: GPL-2.0-or-later
#include "study/cell_run.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <chrono>
#include <cmath>
#include <future>
#include <memory>
#include <regex>
#include <span>

#include "copy.h"
#include "files/folder.h"
#include "interrupt.h"
#include "report/session_file.h"

namespace xenoprof::lab {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr std::size_t kCounters = 4;
constexpr double kWarmUp = 0.25;  // of a run's amount
constexpr auto kSetUpLimit = 60s;
constexpr auto kLoadLimit = 300s;
constexpr auto kStartLimit = 60s;
// Of a whole recording: the agents name their samples at its end, on emulated processors.
constexpr auto kRecordLimit = kStartLimit + kLoadLimit + 120s;
constexpr const char* kSession = "/tmp/study.session";  // in the recorder
constexpr std::string_view kStarted = "started";

constexpr int kExitNotWhole = 3;  // of `xenoprof record`: kept, and its notes say what is missing

std::string last_line(std::string_view text) {
  while (!text.empty() && text.back() == '\n')
    text.remove_suffix(1);
  return std::string(text.substr(text.rfind('\n') + 1));
}

// The end of an output of many lines, as one.
std::string tail_of(std::string_view text) {
  constexpr std::size_t kCharacters = 200;
  std::string tail;
  for (const char c : text.substr(text.size() - std::min(text.size(), kCharacters))) {
    const bool space = std::isspace(static_cast<unsigned char>(c)) != 0;
    if (!space || (!tail.empty() && tail.back() != ' '))
      tail += space ? ' ' : c;
  }
  return tail;
}

// `what` names the command for the user.
Result<std::string> run_in(const Endpoint& domain, std::string_view what,
                           const std::string& command, std::chrono::milliseconds limit) {
  const auto run = capture_in_domain(domain, {"sh", "-c", command}, limit);
  if (!run)
    return fail("{}: {}", what, run.error().message);
  if (const int status = run->status.shell_status(); status != 0)
    return fail("{} in domain {} ended with status {}: {}", what, domain.domain, status,
                last_line(run->error.empty() ? run->output : run->error));
  return run->output;
}

// What the load says it did.
Result<double> work_in(const std::string& output, const Workload& workload) {
  std::smatch match;
  double number = 0;
  if (std::regex_search(output, match, std::regex(workload.done))) {
    const std::string text = match[1];
    const char* end = text.data() + text.size();
    if (std::from_chars(text.data(), end, number).ptr == end && number > 0)
      return number / workload.done_per_unit;
  }
  return fail("what the load of {} printed does not match its `done` ({}) and ends with: {}",
              workload.name, workload.done, tail_of(output));
}

// `xenoprof record` in a domain, from the moment that it samples until it is told to end.
class Recording {
 public:
  static Result<std::unique_ptr<Recording>> start(const Endpoint& domain,
                                                  std::span<const StudyEvent> events) {
    std::unique_ptr<Recording> recording(new Recording);
    std::vector<std::string> command = {"xenoprof", "record", "--no-progress", "-a"};
    for (const StudyEvent& event : events)
      command.insert(command.end(), {"-e", fmt::format("{}:{}", event.select, event.count)});
    // The command is run once the events are counted, and ends with its input.
    command.insert(command.end(), {"-o", kSession, "--", "sh", "-c",
                                   fmt::format("echo {}; read end; true", kStarted)});
    if (pipe2(recording->input_.data(), O_CLOEXEC) != 0 ||
        pipe2(recording->output_.data(), O_CLOEXEC) != 0)
      return fail("cannot make a pipe");
    recording->error_ = memfd_create("error", MFD_CLOEXEC);
    recording->status_ = std::async(std::launch::async, [domain, command, raw = recording.get()] {
      ExecOptions options;
      options.limit = kRecordLimit;
      auto status =
          exec_in_domain(domain, command, {raw->input_[0], raw->output_[1], raw->error_}, options);
      close_end(raw->output_[1]);
      return status;
    });
    if (auto started = recording->wait_for_start(); !started) {
      // It would wait on, and so would we.
      [[maybe_unused]] const auto ended =
          run_in(domain, "killall", "killall xenoprof", kSetUpLimit);
      return std::unexpected(started.error());
    }
    return recording;
  }

  ~Recording() {
    close_end(input_[1]);
    if (status_.valid())
      status_.wait();
    for (int* end : {input_.data(), output_.data(), output_.data() + 1, &error_})
      close_end(*end);
  }
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

  // Once the domain's files are written.
  Result<void> end() {
    close_end(input_[1]);
    const auto status = status_.get();
    if (!status)
      return std::unexpected(status.error());
    if (const int code = status->shell_status(); code != 0 && code != kExitNotWhole)
      return fail("`xenoprof record` ended with status {}: {}", code, last_line(errors()));
    return {};
  }

 private:
  Recording() = default;

  static void close_end(int& fd) {
    if (fd >= 0)
      close(fd);
    fd = -1;
  }

  Result<void> wait_for_start() {
    std::string text;
    const auto deadline = std::chrono::steady_clock::now() + kStartLimit;
    while (text.find(kStarted) == std::string::npos) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
          deadline - std::chrono::steady_clock::now());
      pollfd waiting{output_[0], POLLIN, 0};
      if (left.count() <= 0)
        return fail("`xenoprof record` did not begin within {} s", kStartLimit.count());
      if (poll(&waiting, 1, static_cast<int>(left.count())) <= 0)
        continue;
      std::array<char, 256> bytes;
      const ssize_t n = read(output_[0], bytes.data(), bytes.size());
      if (n <= 0) {
        const auto status = status_.get();
        return fail("`xenoprof record` did not begin: {}",
                    status ? last_line(errors()) : status.error().message);
      }
      text.append(bytes.data(), static_cast<std::size_t>(n));
    }
    return {};
  }

  std::string errors() const {
    std::string text(4096, '\0');
    const ssize_t n = pread(error_, text.data(), text.size(), 0);
    text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return text;
  }

  std::array<int, 2> input_{-1, -1};
  std::array<int, 2> output_{-1, -1};
  int error_ = -1;
  std::future<Result<ExitStatus>> status_;
};

class CellRun {
 public:
  CellRun(const Study& study, const Cell& cell, bool quick, const CellPlace& place)
      : cell_(cell),
        workload_(study.workloads[cell.workload]),
        amount_(quick ? workload_.quick_amount : workload_.amount),
        place_(place) {}

  Result<void> set_up() const {
    if (!workload_.server.empty())
      if (auto done = run_in(place_.server, "`server`", fill(workload_.server), kSetUpLimit); !done)
        return std::unexpected(done.error());
    const double amount = std::max(1.0, std::ceil(amount_ * kWarmUp));
    auto warm = run_load(amount);
    return warm ? Result<void>{} : std::unexpected(warm.error());
  }

  void finish() const {
    // What it leaves behind is gone with the machine; the figures are there.
    if (!workload_.finish.empty()) [[maybe_unused]]
      const auto done = run_in(place_.server, "`finish`", fill(workload_.finish), kSetUpLimit);
  }

  Result<Run> sample(const std::vector<StudyEvent>& events, std::size_t number) const {
    Run run;
    run.session = fmt::format("run-{}", number);
    std::error_code error;
    const fs::path session = place_.folder / run.session;
    fs::remove_all(session, error);
    if (auto removed =
            run_in(place_.recorder, "rm", fmt::format("rm -rf {}", kSession), kSetUpLimit);
        !removed)
      return std::unexpected(removed.error());
    auto recording = Recording::start(place_.recorder, events);
    if (!recording)
      return std::unexpected(recording.error());
    const auto begin = std::chrono::steady_clock::now();
    const auto output = run_load(amount_);
    run.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    const auto ended = (*recording)->end();
    if (!output)
      return std::unexpected(output.error());
    if (!ended)
      return std::unexpected(ended.error());
    const auto work = work_in(*output, workload_);
    if (!work)
      return std::unexpected(work.error());
    run.work = *work;
    if (auto copied = copy_out(place_.recorder, kSession, session); !copied)
      return std::unexpected(copied.error());
    if (auto put_down = put_down_work(session, run.work); !put_down)
      return std::unexpected(put_down.error());
    auto counts = count_events(session, events);
    if (!counts)
      return std::unexpected(counts.error());
    run.events = std::move(*counts);
    return run;
  }

 private:
  std::string fill(const std::string& command) const { return fill_in(command, cell_, amount_); }

  Result<std::string> run_load(double amount) const {
    return run_in(workload_.load_in_server ? place_.server : place_.peer, "`load`",
                  fill_in(workload_.load, cell_, amount), kLoadLimit);
  }

  // For the views: what a cost is compared by.
  Result<void> put_down_work(const fs::path& session, double work) const {
    auto record = read_session(session / kSessionFile);
    if (!record)
      return std::unexpected(record.error());
    record->work[workload_.unit] = work;
    const auto folder = Folder::open(session);
    return folder ? folder->write(kSessionFile, to_json(*record)) : std::unexpected(folder.error());
  }

  const Cell& cell_;
  const Workload& workload_;
  double amount_;
  const CellPlace& place_;
};

// The largest error of an event's figure; none as long as one is not known.
std::optional<double> largest_error(const std::vector<Run>& runs,
                                    const std::vector<StudyEvent>& events) {
  double largest = 0;
  for (const StudyEvent& event : events) {
    const Figure figure = figure_of(runs, event.name);
    if (!figure.error)
      return std::nullopt;
    largest = std::max(largest, *figure.error);
  }
  return largest;
}

}  // namespace

CellResult run_cell(const Study& study, const Cell& cell, bool quick, const CellPlace& place,
                    const std::function<void(std::string_view)>& tell) {
  CellResult result;
  const Repetition& repetition = quick ? study.quick : study.full;
  const CellRun run(study, cell, quick, place);
  tell("warm-up");
  if (auto ready = run.set_up(); !ready) {
    result.failure = ready.error().message;
    return result;
  }
  const auto all = events_of(study, cell);
  const std::size_t all_passes = (all.size() + kCounters - 1) / kCounters;
  const std::size_t passes =
      repetition.passes == 0 ? all_passes : std::min<std::size_t>(repetition.passes, all_passes);
  for (std::size_t pass = 0; pass < passes; ++pass) {
    const auto first = all.begin() + static_cast<std::ptrdiff_t>(pass * kCounters);
    const std::size_t left = all.size() - pass * kCounters;
    const std::vector<StudyEvent> events(
        first, first + static_cast<std::ptrdiff_t>(std::min(left, kCounters)));
    std::optional<double> error;
    for (unsigned i = 0; i < repetition.most; ++i) {
      if (i >= repetition.least && error && *error <= repetition.error)
        break;
      if (interrupted()) {
        result.failure = "interrupted";
        return result;
      }
      tell(fmt::format("run {}{}{}", i + 1, passes > 1 ? fmt::format(" of pass {}", pass + 1) : "",
                       error ? fmt::format(", ±{:.1f} % so far", *error * 100) : ""));
      auto sampled = run.sample(events, result.runs.size() + 1);
      if (!sampled) {
        result.failure = sampled.error().message;
        return result;
      }
      result.runs.push_back(std::move(*sampled));
      error = largest_error(result.runs, events);
    }
  }
  run.finish();
  return result;
}

}  // namespace xenoprof::lab
