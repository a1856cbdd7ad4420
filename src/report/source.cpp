// SPDX-License-Identifier: GPL-2.0-or-later
#include "report/source.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <string_view>
#include <system_error>

#include "model/text.h"
#include "perf/data_reader.h"
#include "perf/interpret.h"
#include "pprof/pprof.h"
#include "report/inlined_frames.h"
#include "symbols/jit_symbols.h"
#include "symbols/resolve.h"

namespace xenoprof {
namespace {

// What has no build-id gets its names by its path alone.
std::optional<std::string> unidentified(const Profile& profile) {
  std::size_t files = 0;
  bool kernel = false;
  for (const Image& image : profile.images()) {
    const std::string_view name = profile.text(image.name);
    kernel |= image.build_id == 0 && name == kKernelImage;
    files += image.build_id == 0 && name.starts_with('/') && !jit_process(name) ? 1 : 0;
  }
  if (!kernel && files == 0) {
    return std::nullopt;
  }
  return fmt::format("Recorded without build-id: {}{}{}. Names are those of what is here now.",
                     kernel ? "the kernel" : "", kernel && files != 0 ? ", " : "",
                     files == 0 ? "" : fmt::format("{} file{}", files, files == 1 ? "" : "s"));
}

// "PERFILE2", or its reverse where a big-endian machine recorded.
bool is_perf_data(const std::filesystem::path& path) {
  std::array<char, 8> magic = {};
  std::ifstream(path, std::ios::binary).read(magic.data(), magic.size());
  const std::string_view text(magic.data(), magic.size());
  return text == "PERFILE2" || text == "2ELIFREP";
}

Result<Recorded> read_perf_data(const std::filesystem::path& path, Parts parts,
                                const ReadProgress& progress) {
  auto reader = perf::DataReader::open(path);
  if (!reader) {
    return std::unexpected(reader.error());
  }
  perf::Interpreter interpreter(reader->layout(), perf::Interpreter::Kind::kOwn,
                                {.chains = parts.stacks, .threads = parts.threads},
                                perf::StackCounter::Where::kInThread);
  interpreter.set_build_ids(reader->build_ids());  // a pipe tells them at its end alone
  SymbolSources symbols{.lines = parts.lines || parts.inlined_frames};
  auto kernel = read_kernel_ahead(symbols);
  std::error_code error;
  const std::uintmax_t size = std::filesystem::file_size(path, error);  // none: a pipe
  constexpr std::uint64_t kOften = 1 << 14;
  for (std::uint64_t records = 0;; ++records) {
    if (progress && !error && records % kOften == 0) {
      progress(static_cast<double>(reader->bytes_read()) / static_cast<double>(size));
    }
    const auto record = reader->next();
    if (!record) {
      return std::unexpected(record.error());
    }
    if (!*record) {
      break;
    }
    interpreter.add(**record);
  }
  interpreter.set_build_ids(reader->build_ids());
  const auto by_path_alone = unidentified(interpreter.profile());
  Recorded recorded{std::move(interpreter.profile()), {}, reader->notes()};
  for (std::string& note : interpreter.notes()) {
    recorded.notes.push_back(std::move(note));
  }
  symbols.loaded_at = interpreter.loaded_at();
  for (std::string& note : resolve(recorded.profile, symbols, std::move(kernel))) {
    recorded.notes.push_back(std::move(note));
  }
  if (by_path_alone) {
    recorded.notes.push_back(*by_path_alone);
  }
  return recorded;
}

Result<Recorded> read_pprof(const std::filesystem::path& path, const ReadProgress& progress,
                            std::optional<SessionRecord> session = {}) {
  auto stored = pprof::read(path, progress);
  if (!stored) {
    return std::unexpected(stored.error());
  }
  Recorded recorded{std::move(stored->profile), std::move(session), {}};
  if (!stored->left_out.empty()) {
    recorded.notes.push_back(
        fmt::format("Left out, as they are not numbers of samples: {}.",
                    printable(fmt::format("{}", fmt::join(stored->left_out, ", ")))));
  }
  return recorded;
}

Result<Recorded> read_whatever(const std::filesystem::path& source, Parts parts,
                               const ReadProgress& progress) {
  std::error_code error;
  const auto status = std::filesystem::status(source, error);
  if (!std::filesystem::exists(status)) {
    return fail(
        "{} does not exist; `xenoprof record` makes a session, by default in "
        "xenoprof.session.",
        source.string());
  }
  if (!std::filesystem::is_directory(status)) {
    // A pipe can be read once: perf's own form is the one for pipes.
    return !std::filesystem::is_regular_file(status) || is_perf_data(source)
               ? read_perf_data(source, parts, progress)
               : read_pprof(source, progress);
  }
  if (!std::filesystem::exists(source / kProfileFile, error)) {
    return fail("{} is not a session: there is no {} in it.", source.string(), kProfileFile);
  }
  auto session = read_session(source / kSessionFile);
  if (!session) {
    return std::unexpected(session.error());
  }
  return read_pprof(source / kProfileFile, progress, *std::move(session));
}

}  // namespace

Parts parts_of(bool stacks, const std::vector<FilterTerm>& filter,
               const std::vector<Column>& columns) {
  const auto looks_at = [&](Column column) {
    return std::ranges::find(columns, column) != columns.end() ||
           std::ranges::find(filter, column, &FilterTerm::column) != filter.end();
  };
  return {.stacks = stacks,
          .threads = looks_at(Column::kPid) || looks_at(Column::kTid) || looks_at(Column::kVcpu),
          .lines = looks_at(Column::kLine)};
}

Result<Recorded> read_source(const std::filesystem::path& source, Parts parts,
                             const ReadProgress& progress) {
  auto recorded = read_whatever(source, parts, progress);
  if (recorded && parts.inlined_frames) {
    recorded->profile = with_inlined_frames(recorded->profile);
  }
  return recorded;
}

}  // namespace xenoprof
