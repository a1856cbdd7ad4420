// SPDX-License-Identifier: GPL-2.0-or-later
#include "report/annotation.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <ranges>
#include <set>
#include <system_error>
#include <utility>

#include "model/text.h"
#include "report/column.h"
#include "report/rows.h"
#include "symbols/image_code.h"
#include "symbols/instructions.h"

namespace xenoprof {
namespace {

constexpr auto kLinesTime = std::chrono::seconds(20);
constexpr std::uintmax_t kMaxSource = std::uintmax_t{16} << 20;  // bytes

void add(Counts& sum, const Counts& more) {
  sum.resize(std::max(sum.size(), more.size()));
  for (std::size_t i = 0; i < more.size(); ++i) {
    sum[i] += more[i];
  }
}

// The function as asked for, or those that end in it.
std::set<StringId> symbols_called(const Profile& profile, const std::string& asked) {
  std::set<StringId> exact;
  std::set<StringId> ending;
  for (const Location& location : profile.locations()) {
    const std::string_view name = profile.text(location.symbol);
    if (location.symbol != 0 && name == asked) {
      exact.insert(location.symbol);
    } else if (location.symbol != 0 && name.ends_with("::" + asked)) {
      ending.insert(location.symbol);
    }
  }
  return exact.empty() ? ending : exact;
}

std::string list_of(const std::set<std::string_view>& names) {
  constexpr std::size_t kNamed = 5;
  std::string list;
  for (const std::string_view name : names | std::views::take(kNamed)) {
    list += (list.empty() ? "" : ", ") + printable(name);
  }
  return names.size() > kNamed ? list + ", ..." : list;
}

std::unexpected<Error> no_such_symbol(const Profile& profile, const std::string& asked) {
  std::set<std::string_view> callers;
  std::set<std::string_view> similar;
  for (const Location& location : profile.locations()) {
    const std::string_view symbol = profile.text(location.symbol);
    if (symbol.find(asked) != std::string_view::npos) {
      similar.insert(symbol);
    }
    for (const Line& line : profile.lines(location)) {
      const std::string_view name = profile.text(line.function);
      if (name == asked || name.ends_with("::" + asked)) {
        callers.insert(symbol);
      }
    }
  }
  if (!callers.empty()) {
    return fail("{} is inlined: its samples are in {}.", asked, list_of(callers));
  }
  if (!similar.empty()) {
    return fail("No sample fell into a function {}; some fell into {}.", asked, list_of(similar));
  }
  return fail("No sample fell into a function {}; `xenoprof report` names those that have some.",
              asked);
}

// One name in one image.
struct Sampled {
  ImageId image = 0;
  StringId symbol = 0;
  Counts samples;
  std::map<LocationId, Counts> places;
};

class Annotator {
 public:
  Annotator(const Profile& profile, const AnnotateOptions& options)
      : profile_(profile), options_(options) {}

  Result<Annotation> run();

 private:
  Result<Sampled> collect();
  bool is_of_image(const Location& location) const {
    const std::string_view name = profile_.text(profile_.images()[location.image].name);
    return options_.image.empty() || name == options_.image || file_name(name) == options_.image;
  }
  void use_code(const ImageCode& code, const Sampled& sampled);
  void use_addresses(const Sampled& sampled);
  std::vector<SourceLine> lines_of(LocationId location) const;
  std::vector<NamedAddress> functions_of(ImageId image) const;
  AnnotatedFunction disassembled(const ImageCode& code, const Symbol& symbol,
                                 const std::map<std::uint64_t, Counts>& places);
  void add_files(AnnotatedFunction& function,
                 std::optional<std::filesystem::file_time_type> program);
  void add_source(AnnotatedFile& file, std::uint32_t first, std::uint32_t last,
                  std::filesystem::file_time_type program);
  void note(std::string sentence) {
    if (std::ranges::find(result_.notes, sentence) == result_.notes.end()) {
      result_.notes.push_back(std::move(sentence));
    }
  }

  const Profile& profile_;
  const AnnotateOptions& options_;
  Annotation result_;
};

Result<Sampled> Annotator::collect() {
  const std::set<StringId> symbols = symbols_called(profile_, options_.symbol);
  if (symbols.empty()) {
    return no_such_symbol(profile_, options_.symbol);
  }
  const Cells cells(profile_);
  auto filter = Filter::make(cells, options_.filter);
  if (!filter) {
    return std::unexpected(filter.error());
  }
  result_.totals.resize(profile_.events().size());
  std::map<std::pair<ImageId, StringId>, Sampled> found;
  for (const Sample& sample : profile_.samples()) {
    if (!filter->passes(sample.key)) {
      continue;
    }
    const Counts counts(sample.samples.begin(), sample.samples.end());
    add(result_.totals, counts);
    const LocationId id = profile_.frames()[sample.key.stack].location;
    const Location& leaf = profile_.locations()[id];
    if (symbols.contains(leaf.symbol) && is_of_image(leaf)) {
      Sampled& sampled = found[{leaf.image, leaf.symbol}];
      sampled.image = leaf.image;
      sampled.symbol = leaf.symbol;
      add(sampled.samples, counts);
      add(sampled.places[id], counts);
    }
  }
  if (found.empty()) {
    return fail(
        "{} has no samples of its own{}{}; `xenoprof report --children` tells what it calls.",
        options_.symbol, options_.image.empty() ? "" : " in " + options_.image,
        options_.filter.empty() ? "" : " that pass the filter");
  }
  auto most = std::ranges::max_element(
      found, {}, [](const auto& entry) -> const Counts& { return entry.second.samples; });
  for (const auto& [key, other] : found) {
    if (key != most->first) {
      note(fmt::format("Not shown: {} in {}, {} samples of {}; --image and a whole name choose.",
                       printable(profile_.text(other.symbol)),
                       printable(profile_.text(profile_.images()[other.image].name)),
                       with_separators(other.samples[0]), result_.events[0]));
    }
  }
  return std::move(most->second);
}

std::vector<SourceLine> Annotator::lines_of(LocationId location) const {
  std::vector<SourceLine> lines;
  for (const Line& line : profile_.lines(profile_.locations()[location])) {
    lines.push_back({std::string(profile_.text(line.function)),
                     std::string(profile_.text(line.file)), line.line});
  }
  return lines;
}

std::vector<NamedAddress> Annotator::functions_of(ImageId image) const {
  std::vector<NamedAddress> functions;
  for (const Location& location : profile_.locations()) {
    if (location.image == image && location.symbol != 0) {
      functions.push_back({location.address, profile_.text(location.symbol)});
    }
  }
  return functions;
}

void Annotator::use_addresses(const Sampled& sampled) {
  AnnotatedFunction function;
  function.samples = sampled.samples;
  for (const auto& [id, samples] : sampled.places) {
    function.instructions.push_back({profile_.locations()[id].address, "", samples, lines_of(id)});
  }
  std::ranges::sort(function.instructions, {}, &AnnotatedInstruction::address);
  add_files(function, std::nullopt);
  result_.functions.push_back(std::move(function));
}

AnnotatedFunction Annotator::disassembled(const ImageCode& code, const Symbol& symbol,
                                          const std::map<std::uint64_t, Counts>& places) {
  AnnotatedFunction function;
  const std::uint64_t shift = code.virtual_address(symbol.start) - symbol.start;
  std::vector<std::uint64_t> addresses;
  for (Instruction& instruction : disassemble(code.bytes(symbol), symbol.start + shift)) {
    addresses.push_back(instruction.address - shift);
    function.instructions.push_back(
        {instruction.address, std::move(instruction.text), Counts(result_.events.size()), {}});
  }
  for (const auto& [address, samples] : places) {
    add(function.samples, samples);
    // In the middle of an instruction: that of the one it is in.
    const auto after = std::ranges::upper_bound(addresses, address);
    if (after == addresses.begin()) {
      function.instructions.insert(function.instructions.begin(),
                                   {address + shift, "", samples, {}});
      addresses.insert(addresses.begin(), address);
    } else {
      add(function.instructions[static_cast<std::size_t>(after - addresses.begin() - 1)].samples,
          samples);
    }
  }
  SourceLines lines = code.lines(addresses, kLinesTime);
  if (lines.late || lines.failed) {
    note(lines.late ? "Source lines are missing: reading them takes too long."
                    : "Source lines are missing: the debug information is damaged.");
  }
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    function.instructions[i].lines = std::move(lines.of[i]);
  }
  return function;
}

void Annotator::use_code(const ImageCode& code, const Sampled& sampled) {
  struct Places {
    Symbol symbol;
    std::map<std::uint64_t, Counts> samples;
  };
  std::map<std::uint64_t, Places> functions;  // by start
  for (const auto& [id, samples] : sampled.places) {
    const std::uint64_t address = profile_.locations()[id].address;
    const auto symbol = code.function_at(address, profile_.text(sampled.symbol));
    if (!symbol) {
      note(fmt::format("Addresses only: {} has no {} there (any more).", result_.image,
                       printable(result_.symbol)));
      return use_addresses(sampled);
    }
    Places& places = functions[symbol->start];
    places.symbol = {symbol->start, symbol->end, {}};
    add(places.samples[address], samples);
  }
  for (const auto& [start, places] : functions) {
    AnnotatedFunction function = disassembled(code, places.symbol, places.samples);
    add_files(function, code.written());
    result_.functions.push_back(std::move(function));
  }
  std::ranges::stable_sort(result_.functions, std::greater(), &AnnotatedFunction::samples);
  const AnnotatedFunction& first = result_.functions.front();
  if (first.files.empty()) {
    note(fmt::format("No source: there is no debug information of {} here.", result_.image));
  }
}

void Annotator::add_source(AnnotatedFile& file, std::uint32_t first, std::uint32_t last,
                           std::filesystem::file_time_type program) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(file.path, error) ||
      std::filesystem::file_size(file.path, error) > kMaxSource) {
    note(fmt::format("Without its text, because it is not here: {}.", printable(file.path)));
    return;
  }
  const auto written = std::filesystem::last_write_time(file.path, error);
  if (!error && written > program) {
    note(fmt::format("Its lines may have moved, because it is newer than the program: {}.",
                     printable(file.path)));
  }
  std::map<std::uint32_t, AnnotatedLine> lines;
  for (AnnotatedLine& line : file.lines) {
    first = std::min(first, line.number);
    last = std::max(last, line.number);
    lines.emplace(line.number, std::move(line));
  }
  std::ifstream source(file.path);
  std::string text;
  for (std::uint32_t number = 1; number <= last && std::getline(source, text); ++number) {
    if (number >= first) {
      AnnotatedLine& line = lines[number];
      line.number = number;
      line.samples.resize(result_.events.size());
      line.text = text;
    }
  }
  file.lines.clear();
  for (AnnotatedLine& line : std::views::values(lines)) {
    file.lines.push_back(std::move(line));
  }
}

void Annotator::add_files(AnnotatedFunction& function,
                          std::optional<std::filesystem::file_time_type> program) {
  std::map<std::string, std::map<std::uint32_t, Counts>> files;
  // Of the function itself, in its own file.
  std::string own;
  std::uint32_t first = 0;
  std::uint32_t last = 0;
  for (const AnnotatedInstruction& instruction : function.instructions) {
    if (instruction.lines.empty()) {
      continue;
    }
    const SourceLine& outermost = instruction.lines.back();
    if (outermost.line != 0 && (own.empty() || own == outermost.file)) {
      first = own.empty() ? outermost.line : std::min(first, outermost.line);
      last = std::max(last, outermost.line);
      own = outermost.file;
    }
    const SourceLine& line = instruction.lines.front();
    if (!line.file.empty() && line.line != 0 &&
        std::ranges::any_of(instruction.samples, [](std::uint64_t count) { return count != 0; })) {
      add(files[line.file][line.line], instruction.samples);
    }
  }
  for (const auto& [path, lines] : files) {
    AnnotatedFile file{path, {}, {}};
    for (const auto& [number, samples] : lines) {
      file.lines.push_back({number, std::nullopt, samples});
      add(file.samples, samples);
    }
    if (program) {
      const std::uint32_t none = file.lines.front().number;
      // The code begins with the body; the function's name stands on the line before, or there.
      add_source(file, path == own ? std::max(first, 2u) - 1 : none, path == own ? last : none,
                 *program);
    }
    function.files.push_back(std::move(file));
  }
  std::ranges::stable_sort(function.files, std::greater(), &AnnotatedFile::samples);
}

Result<Annotation> Annotator::run() {
  result_.events = event_labels(profile_.events());
  const auto sampled = collect();
  if (!sampled) {
    return std::unexpected(sampled.error());
  }
  const Image& image = profile_.images()[sampled->image];
  result_.symbol = profile_.text(sampled->symbol);
  result_.image = profile_.text(image.name);
  result_.build_id = profile_.text(image.build_id);
  result_.samples = sampled->samples;
  if (!options_.vmlinux.empty() && !result_.image.starts_with('[')) {
    return fail("-k is the file of the kernel or of Xen, and {} is in {}.", result_.symbol,
                result_.image);
  }
  if (!options_.filter.empty()) {
    note("Only " + to_string(options_.filter) + ".");
  }
  const std::vector<NamedAddress> functions = functions_of(sampled->image);
  auto code = ImageCode::open(result_.image, result_.build_id,
                              {.file = options_.vmlinux, .functions = functions, .debug = {}});
  if (code) {
    use_code(*code, *sampled);
  } else {
    note(fmt::format("Addresses only: {}.", printable(code.error().message)));
    use_addresses(*sampled);
  }
  return std::move(result_);
}

}  // namespace

Result<Annotation> make_annotation(const Profile& profile, const AnnotateOptions& options) {
  return Annotator(profile, options).run();
}

Result<std::string> annotate(const Profile& profile, const AnnotateOptions& options) {
  const auto annotation = make_annotation(profile, options);
  if (!annotation) {
    return std::unexpected(annotation.error());
  }
  return options.format == Format::kJson ? to_json(*annotation)
                                         : to_text(*annotation, options.style);
}

}  // namespace xenoprof
