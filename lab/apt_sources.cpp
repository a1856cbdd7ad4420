// SPDX-License-Identifier: GPL-2.0-or-later
#include "apt_sources.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <fstream>
#include <optional>
#include <sstream>

namespace xenoprof::lab {
namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

std::string trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos)
    return "";
  return std::string(text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1));
}

std::vector<std::string> words(std::string_view text) {
  std::istringstream stream{std::string(text)};
  std::vector<std::string> all;
  for (std::string word; stream >> word;)
    all.push_back(word);
  return all;
}

using Fields = std::vector<std::pair<std::string, std::string>>;

std::optional<AptSource> source_of_fields(const Fields& fields) {
  AptSource source;
  bool binary = false;
  for (const auto& [name, value] : fields) {
    const std::string key = lower(name);
    if (key == "types")
      binary = std::ranges::count(words(value), "deb") > 0;
    else if (key == "uris")
      source.uris = words(value);
    else if (key == "suites")
      source.suites = words(value);
    else if (key == "components")
      source.components = words(value);
    else if (key == "enabled" && (lower(value) == "no" || lower(value) == "false"))
      return std::nullopt;
    else if (key != "enabled" && key != "x-repolib-name")
      source.options.emplace_back(name, value);
  }
  if (!binary || source.uris.empty() || source.suites.empty())
    return std::nullopt;
  return source;
}

// One-line option names and their deb822 fields, sources.list(5).
std::string deb822_name(std::string_view option) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 11> kNames = {{
      {"arch", "Architectures"},
      {"lang", "Languages"},
      {"target", "Targets"},
      {"signed-by", "Signed-By"},
      {"trusted", "Trusted"},
      {"pdiffs", "PDiffs"},
      {"by-hash", "By-Hash"},
      {"allow-insecure", "Allow-Insecure"},
      {"check-valid-until", "Check-Valid-Until"},
      {"valid-until-max", "Valid-Until-Max"},
      {"check-date", "Check-Date"},
  }};
  const std::string name = lower(option);
  for (const auto& [one_line, deb822] : kNames)
    if (name == one_line)
      return std::string(deb822);
  return std::string(option);
}

Fields parse_options(std::string_view text) {
  Fields options;
  for (const std::string& word : words(text)) {
    const auto equals = word.find('=');
    if (equals == std::string::npos)
      continue;
    std::string value = word.substr(equals + 1);
    std::ranges::replace(value, ',', ' ');
    options.emplace_back(deb822_name(word.substr(0, equals)), value);
  }
  return options;
}

std::string read_file(const std::filesystem::path& file) {
  std::ifstream stream(file);
  return {std::istreambuf_iterator<char>(stream), {}};
}

bool belongs_to(std::string_view suite, std::string_view codename) {
  return suite == codename || suite.starts_with(std::string(codename) + "-") ||
         suite.starts_with(std::string(codename) + "/");
}

// The suites of `wanted` that stand where these of `codename` do. What else a release may have,
// such as proposed updates, the other one need not have, and apt fails on a suite that is missing.
std::vector<std::string> same_suites_of(std::string_view wanted, std::string_view codename,
                                        const std::vector<std::string>& suites) {
  constexpr std::array<std::string_view, 3> kParts = {"", "-updates", "-security"};
  std::vector<std::string> all;
  for (const std::string_view part : kParts)
    if (std::ranges::count(suites, std::string(codename).append(part)) > 0)
      all.push_back(std::string(wanted).append(part));
  return all;
}

std::string joined(const std::vector<std::string>& all) {
  std::string text;
  for (const std::string& word : all)
    text += (text.empty() ? "" : " ") + word;
  return text;
}

}  // namespace

std::vector<AptSource> parse_deb822_sources(std::string_view text) {
  std::vector<AptSource> sources;
  Fields fields;
  const auto end_stanza = [&] {
    if (auto source = source_of_fields(fields))
      sources.push_back(std::move(*source));
    fields.clear();
  };
  std::istringstream stream{std::string(text)};
  for (std::string line; std::getline(stream, line);) {
    if (line.starts_with('#'))
      continue;
    if (trimmed(line).empty()) {
      end_stanza();
    } else if (line[0] == ' ' || line[0] == '\t') {
      if (!fields.empty())
        fields.back().second += "\n" + line;
    } else if (const auto colon = line.find(':'); colon != std::string::npos) {
      fields.emplace_back(trimmed(line.substr(0, colon)), trimmed(line.substr(colon + 1)));
    }
  }
  end_stanza();
  return sources;
}

std::vector<AptSource> parse_one_line_sources(std::string_view text) {
  std::vector<AptSource> sources;
  std::istringstream stream{std::string(text)};
  for (std::string line; std::getline(stream, line);) {
    line = trimmed(line.substr(0, line.find('#')));
    if (!line.starts_with("deb ") && !line.starts_with("deb\t") && !line.starts_with("deb["))
      continue;
    std::string rest = trimmed(line.substr(3));
    AptSource source;
    if (rest.starts_with('[')) {
      const auto end = rest.find(']');
      if (end == std::string::npos)
        continue;
      source.options = parse_options(rest.substr(1, end - 1));
      rest = rest.substr(end + 1);
    }
    std::vector<std::string> parts = words(rest);
    if (parts.size() < 2)
      continue;
    source.uris = {parts[0]};
    source.suites = {parts[1]};
    source.components.assign(parts.begin() + 2, parts.end());
    sources.push_back(std::move(source));
  }
  return sources;
}

Result<std::vector<AptSource>> distribution_sources(const std::vector<AptSource>& sources,
                                                    std::string_view codename,
                                                    std::string_view wanted) {
  const std::string backports = std::string(wanted) + "-backports";
  std::vector<AptSource> chosen;
  std::optional<AptSource> release;
  for (AptSource source : sources) {
    std::erase_if(source.suites,
                  [&](const std::string& suite) { return !belongs_to(suite, codename); });
    if (wanted != codename)
      source.suites = same_suites_of(wanted, codename, source.suites);
    if (std::ranges::count(source.suites, wanted) > 0 && !release)
      release = source;
    // The derived stanza takes its place.
    std::erase(source.suites, backports);
    if (!source.suites.empty())
      chosen.push_back(std::move(source));
  }
  if (!release)
    return fail("this machine's apt sources do not have the release {}; add it to /etc/apt",
                codename);
  release->suites = {backports};
  release->components = {"main"};
  chosen.push_back(std::move(*release));
  return chosen;
}

std::string to_deb822(const std::vector<AptSource>& sources) {
  std::string text;
  for (const AptSource& source : sources) {
    text += "Types: deb\n";
    text += "URIs: " + joined(source.uris) + "\n";
    text += "Suites: " + joined(source.suites) + "\n";
    if (!source.components.empty())
      text += "Components: " + joined(source.components) + "\n";
    for (const auto& [name, value] : source.options)
      text += fmt::format("{}:{}{}\n", name, value.starts_with('\n') ? "" : " ", value);
    text += "\n";
  }
  return text;
}

std::vector<AptSource> read_apt_sources(const std::filesystem::path& folder) {
  std::vector<AptSource> sources = parse_one_line_sources(read_file(folder / "sources.list"));
  std::vector<std::filesystem::path> files;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "sources.list.d", error))
    files.push_back(entry.path());
  std::ranges::sort(files);
  for (const auto& file : files) {
    std::vector<AptSource> more;
    if (file.extension() == ".sources")
      more = parse_deb822_sources(read_file(file));
    else if (file.extension() == ".list")
      more = parse_one_line_sources(read_file(file));
    sources.insert(sources.end(), more.begin(), more.end());
  }
  return sources;
}

}  // namespace xenoprof::lab
